"""The symmetries of a product, by the letters that its operands share.

Two operands with a summed letter of their own: A X and X^{-1} B have the same product for any invertible X, and
A^T A - B B^T is conserved by gradient flow, as in a matrix chain.  Any others (a component of CP, a local component of
a hierarchical product, a coordinate of a Hadamard chain): slices may be scaled by numbers whose product is one, and
differences of their squared norms are conserved.  So are those of whole operands (the bond of no letter).
"""

from __future__ import annotations

from dataclasses import dataclass

from irkernels.families.structure import Structure


@dataclass(frozen=True)
class Bond:
    owners: tuple[int, ...]
    letters: str
    batch: str  # of a matrix bond: further letters of its two owners, with an X for each of their values
    is_matrix: bool


def bonds(structure: Structure) -> list[Bond]:
    """All bonds, that of no letter last."""
    owners = {
        letter: tuple(position for position, term in enumerate(structure.terms) if letter in term)
        for letter in structure.extents
    }
    fixed = structure.output + "".join(structure.constants)  # letters that others see: slices scale, but do not mix
    found = []
    for group in dict.fromkeys(each for each in owners.values() if len(each) > 1):
        common = [letter for letter, own in owners.items() if set(group) <= set(own)]
        mixed = [letter for letter in common if owners[letter] == group and letter not in fixed]
        if len(group) == 2 and mixed:
            batch = "".join(letter for letter in common if letter not in mixed)
            found.append(Bond(group, "".join(mixed), batch, is_matrix=True))
        else:
            found.append(Bond(group, "".join(common), "", is_matrix=False))
    return [*found, Bond(tuple(range(len(structure.terms))), "", "", is_matrix=False)]
