"""An einsum equation read against its operands: terms, output letters, extents.

The grammar is torch.einsum's and opt_einsum's: a letter is any character but blanks, control characters and , . - >
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from irkernels.grammar import check_characters, explicit, without_blanks, without_path
from irkernels.reference.operands import check_operands
from irkernels.remembered import remembered

ELLIPSIS = "..."
Term = tuple[str, ...]


@dataclass(frozen=True)
class Equation:
    """`terms[p]` are operand p's letters in axis order and `output` the output's, one of them perhaps `...`."""

    terms: tuple[Term, ...]
    output: Term
    extents: dict[str, int]  # letter -> extent, size-1 axes broadcast
    broadcast: tuple[int, ...]  # extents behind `...`, () if no operand has one

    @property
    def dense(self) -> tuple[int, ...]:
        """Extents behind the output's `...`, () if it has none."""
        return self.broadcast if ELLIPSIS in self.output else ()

    @property
    def letters(self) -> Term:
        """The output's letters: one column of coordinates each."""
        return tuple(letter for letter in self.output if letter != ELLIPSIS)

    @property
    def shape(self) -> tuple[int, ...]:
        """The extents that coordinates live in."""
        return tuple(self.extents[letter] for letter in self.letters)

    @property
    def output_shape(self) -> tuple[int, ...]:
        shape: tuple[int, ...] = ()
        for letter in self.output:
            shape += self.dense if letter == ELLIPSIS else (self.extents[letter],)
        return shape


def read_equation(equation: str, operands: tuple[Tensor, ...]) -> Equation:
    """The equation bound to its operands; a path that it carries is left aside.

    Raises TypeError (equation not a string; operand not a tensor, of another kind or mixed dtype) and ValueError
    (malformed, unbound or repeated output letters, number of operands or dimensions, extents, devices).
    """
    if not isinstance(equation, str):
        raise TypeError(f"equation must be a string, got {type(equation).__name__}")
    terms, output = _split(equation)
    if len(terms) != len(operands):
        raise ValueError(
            f"the equation {without_path(equation)!r} names {len(terms)} operands, but {len(operands)} were given"
            " (one term for each, separated by commas)"
        )
    check_operands(operands)
    extents: dict[str, int] = {}
    owner: dict[str, int] = {}
    dots_owner: dict[int, int] = {}
    broadcast: tuple[int, ...] = ()
    for position, (term, operand) in enumerate(zip(terms, operands)):
        named, spread = _axes(position, term, operand)
        for letter, extent in named.items():
            known = extents.get(letter, 1)
            if 1 not in (known, extent) and known != extent:
                sides = (position, extent), (owner[letter], known)
                raise ValueError(_mismatch(f"the letter {letter!r}", operands, *sides))
            if letter not in extents or known == 1:
                extents[letter], owner[letter] = extent, position
        broadcast = join_axes(operands, position, spread, broadcast, dots_owner)
    for letter in output:
        if letter != ELLIPSIS and letter not in extents:
            raise ValueError(
                f"the output has the letter {letter!r}, which no operand has (its letters must stand in some operand)"
            )
    return Equation(terms, output, extents, broadcast)


def join_axes(
    operands: tuple[Tensor, ...], position: int, spread: tuple[int, ...], known: tuple[int, ...], owner: dict[int, int]
) -> tuple[int, ...]:
    """The extents behind `...` so far, joined by those of one more operand; owner: axis from the right -> operand."""
    for axis, extent in zip(range(-len(spread), 0), spread):
        before = known[axis] if -axis <= len(known) else 1
        if 1 not in (before, extent) and before != extent:
            raise ValueError(_mismatch(f"axis {axis} of '...'", operands, (position, extent), (owner[axis], before)))
        if before == 1:
            owner[axis] = position
    return tuple(torch.broadcast_shapes(known, spread)) if spread else known


@remembered
def _split(equation: str) -> tuple[tuple[Term, ...], Term]:
    equation = without_path(equation)
    check_characters(equation)
    left, _, right = explicit(equation).partition("->")
    terms = tuple(
        _letters(f"operand {position} in the equation {equation!r}", term)
        for position, term in enumerate(left.split(","))
    )
    output = _letters(f"output of the equation {equation!r}", right)
    for letter in output:
        if output.count(letter) > 1:
            raise ValueError(f"the output repeats the letter {letter!r} (each letter may stand there once)")
    return terms, output


def _letters(where: str, term: str) -> Term:
    before, dots, after = without_blanks(term).partition(ELLIPSIS)
    for letter in before + after:
        if letter in ",.->":
            raise ValueError(f"{where}: found {letter!r} where a letter was expected (a term is letters and one '...')")
        if ord(letter) < 0x20 or ord(letter) == 0x7F:
            raise ValueError(f"{where}: control character {ord(letter)} is no letter")
    return (*before, *((ELLIPSIS,) if dots else ()), *after)


def _mismatch(letter: str, operands: tuple[Tensor, ...], found: tuple[int, int], known: tuple[int, int]) -> str:
    """A letter of two extents, each given as (operand, extent)."""
    sides = [(p, list(operands[p].shape), extent) for p, extent in (found, known)]
    return (
        "operand {} of shape {} has size {} for {letter}, operand {} of shape {} has {} (sizes of one letter must be"
        " equal or 1)"
    ).format(*sides[0], *sides[1], letter=letter)


def _axes(position: int, term: Term, operand: Tensor) -> tuple[dict[str, int], tuple[int, ...]]:
    """The extents of a term's letters, and those behind its `...`."""
    spread = operand.dim() - sum(letter != ELLIPSIS for letter in term)
    if spread < 0 or (spread > 0 and ELLIPSIS not in term):
        raise ValueError(
            f"operand {position} of shape {list(operand.shape)} has {operand.dim()} dimensions, but its letters"
            f" {''.join(term)!r} need {'at least ' if ELLIPSIS in term else ''}{operand.dim() - spread}"
            " (each dimension has a letter, or stands under '...')"
        )
    first = term.index(ELLIPSIS) if ELLIPSIS in term else len(term)
    shape = tuple(operand.shape)
    named: dict[str, int] = {}
    for letter, extent in zip(term[:first] + term[first + 1 :], shape[:first] + shape[first + spread :]):
        if named.setdefault(letter, extent) != extent:
            raise ValueError(
                f"operand {position} of shape {list(shape)} repeats the letter {letter!r} with sizes {named[letter]}"
                f" and {extent} (a diagonal needs equal sizes)"
            )
    return named, shape[first : first + spread]
