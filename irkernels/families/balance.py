"""Balanced factors: all that gradient flow conserves (bonds.py) is zero, and the product is left as it was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Generator, Tensor

from irkernels.families.bonds import Bond, bonds
from irkernels.families.initialisers import haar_frame
from irkernels.families.structure import Structure

_SWEEPS = 2000  # a bound that only factors of very different sizes come near
_TOLERANCE = 1e-14  # of the largest squared norm of an operand


def unbalancedness(structure: Structure, factors: list[Tensor]) -> Tensor:
    """The largest absolute value of a conserved difference over all bonds, 0 where balanced: a scalar, or [trials]."""
    worst = factors[0].new_zeros(factors[0].shape[: factors[0].dim() - len(structure.terms[0])])
    for bond in bonds(structure):
        for difference in differences(structure, factors, bond):
            worst = torch.maximum(worst, difference.abs().reshape(*worst.shape, -1).amax(-1))
    return worst


def differences(structure: Structure, factors: list[Tensor], bond: Bond) -> Iterator[Tensor]:
    """What gradient flow conserves at the bond: a matrix [.., q, q], or for each further owner [.., extents]."""
    if bond.is_matrix:
        left, right = (_unfold(structure, factors, bond, owner)[0] for owner in bond.owners)
        yield left.mT @ left - right.mT @ right
        return
    norms = [_slice_norms(structure, factors, bond, owner).square() for owner in bond.owners]
    yield from (norm - norms[0] for norm in norms[1:])


def balanced(structure: Structure, factors: list[Tensor], generator: Generator | None) -> list[Tensor]:
    """Factors of the same product with every conserved difference zero; hidden frames are uniformly rotated."""
    with one_thread():
        return _balanced(structure, list(factors), generator)


def _balanced(structure: Structure, factors: list[Tensor], generator: Generator | None) -> list[Tensor]:
    all_bonds = bonds(structure)
    for _ in range(_SWEEPS):
        for bond in all_bonds:
            (_split if bond.is_matrix else _even_out)(structure, factors, bond)
        largest = max(factor.square().sum() for factor in factors)
        if unbalancedness(structure, factors) <= _TOLERANCE * largest:
            break
    for bond in all_bonds:
        if bond.is_matrix:
            _rotate(structure, factors, bond, generator)
    return factors


@contextmanager
def one_thread() -> Iterator[None]:
    """Many small factorisations: threads would only wait for each other, and bits would depend on their number."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _unfold(structure: Structure, factors: list[Tensor], bond: Bond, owner: int) -> tuple[Tensor, list[int], list[int]]:
    """An operand as [trials, batch.., rest, bond], with the permutation and the shape on the way."""
    term = structure.terms[owner]
    rest = "".join(letter for letter in term if letter not in bond.batch + bond.letters)
    order = [term.index(letter) for letter in bond.batch + rest + bond.letters]
    lead = factors[owner].dim() - len(term)
    moved = factors[owner].permute(*range(lead), *(lead + axis for axis in order))
    kept = moved.shape[: lead + len(bond.batch)]
    columns = [structure.extents[letter] for letter in bond.letters]
    return moved.reshape(*kept, -1, torch.Size(columns).numel()), order, list(moved.shape)


def _fold(factors: list[Tensor], owner: int, matrix: Tensor, order: list[int], shape: list[int]) -> None:
    """The inverse of _unfold, for one trial."""
    back = sorted(range(len(order)), key=order.__getitem__)
    factors[owner] = matrix.reshape(shape).permute(back).contiguous()


def _split(structure: Structure, factors: list[Tensor], bond: Bond) -> None:
    """A B = U S V^T becomes (U S^{1/2}) (S^{1/2} V^T)."""
    first, second = bond.owners
    left, left_order, left_shape = _unfold(structure, factors, bond, first)
    right, right_order, right_shape = _unfold(structure, factors, bond, second)
    frame, upper = torch.linalg.qr(left)
    other_frame, other_upper = torch.linalg.qr(right)
    U, s, Vh = torch.linalg.svd(upper @ other_upper.mT, full_matrices=False)
    pad = (0, left.shape[-1] - s.shape[-1])  # what the product has no rank for
    root = s.sqrt().unsqueeze(-2)
    _fold(factors, first, torch.nn.functional.pad(frame @ (U * root), pad), left_order, left_shape)
    _fold(factors, second, torch.nn.functional.pad(other_frame @ (Vh.mT * root), pad), right_order, right_shape)


def _rotate(structure: Structure, factors: list[Tensor], bond: Bond, generator: Generator | None) -> None:
    """A Q and Q^T B with a uniform orthogonal Q."""
    left, left_order, left_shape = _unfold(structure, factors, bond, bond.owners[0])
    right, right_order, right_shape = _unfold(structure, factors, bond, bond.owners[1])
    size = left.shape[-1]
    count = left.shape[:-2].numel()
    Q = torch.stack([haar_frame(size, size, generator) for _ in range(count)]).reshape(*left.shape[:-2], size, size)
    _fold(factors, bond.owners[0], left @ Q, left_order, left_shape)
    _fold(factors, bond.owners[1], right @ Q, right_order, right_shape)


def _even_out(structure: Structure, factors: list[Tensor], bond: Bond) -> None:
    """Slices of every owner get the geometric mean of their norms; where one is zero, all are."""
    norms = [_slice_norms(structure, factors, bond, owner) for owner in bond.owners]
    mean = torch.stack(norms).log().mean(0).exp()
    for owner, norm in zip(bond.owners, norms):
        scale = torch.where(norm > 0, mean / norm, 0.0)
        factors[owner] = factors[owner] * _along(structure.terms[owner], bond.letters, scale)


def _slice_norms(structure: Structure, factors: list[Tensor], bond: Bond, owner: int) -> Tensor:
    """[trials, *bond extents]: the norm of the operand's slice at each value of the bond's letters."""
    term = structure.terms[owner]
    lead = factors[owner].dim() - len(term)
    rest = [lead + axis for axis, letter in enumerate(term) if letter not in bond.letters]
    norms = factors[owner].square().sum(rest).sqrt() if rest else factors[owner].abs()
    kept = [letter for letter in term if letter in bond.letters]
    return norms.permute([*range(lead), *(lead + kept.index(letter) for letter in bond.letters)])


def _along(term: str, letters: str, values: Tensor) -> Tensor:
    """values over `letters` spread for an operand of this term."""
    kept = [letter for letter in term if letter in letters]
    values = values.permute([letters.index(letter) for letter in kept])
    return values.reshape([values.shape[kept.index(letter)] if letter in kept else 1 for letter in term])
