"""An einsum equation read against its operands: terms, output letters, extents. The syntax is torch.einsum's."""

from __future__ import annotations

import string
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

ELLIPSIS = "..."
_DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


@dataclass(frozen=True)
class Equation:
    """`terms[p]` are operand p's letters in axis order and `output` the output's, one of them perhaps `...`."""

    terms: tuple[tuple[str, ...], ...]
    output: tuple[str, ...]
    extents: dict[str, int]  # letter -> extent, size-1 axes broadcast
    dense: tuple[int, ...]  # extents behind the output's `...`, () if it has none

    @property
    def letters(self) -> tuple[str, ...]:
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
    """The equation bound to its operands.

    Raises TypeError (equation not a string; operand not a tensor, of another kind or mixed dtype) and ValueError
    (malformed, unbound or repeated output letters, number of operands or dimensions, extents, devices).
    """
    terms, output = _split(equation)
    if len(terms) != len(operands):
        raise ValueError(f"the equation has {len(terms)} operands, but {len(operands)} were given")
    check_operands(operands)
    extents: dict[str, int] = {}
    owner: dict[str, int] = {}
    dense: tuple[int, ...] = ()
    for position, (term, operand) in enumerate(zip(terms, operands)):
        named, spread = _axes(position, term, operand)
        for letter, extent in named.items():
            known = extents.get(letter, 1)
            if 1 not in (known, extent) and known != extent:
                raise ValueError(
                    f"letter {letter!r} has extent {extent} in operand {position},"
                    f" but {known} in operand {owner[letter]}"
                )
            if letter not in extents or known == 1:
                extents[letter], owner[letter] = extent, position
        try:
            dense = tuple(torch.broadcast_shapes(dense, spread))
        except RuntimeError:
            raise ValueError(
                f"`...` of operand {position} is {spread}, which does not broadcast with {dense}"
            ) from None
    output = _implicit(terms) if output is None else output
    for letter in output:
        if letter != ELLIPSIS and letter not in extents:
            raise ValueError(f"output letter {letter!r} of {equation!r} is in no operand")
    return Equation(terms, output, extents, dense if ELLIPSIS in output else ())


def _split(equation: str) -> tuple[tuple[tuple[str, ...], ...], tuple[str, ...] | None]:
    if not isinstance(equation, str):
        raise TypeError(f"equation must be a string, got {type(equation).__name__}")
    left, arrow, right = equation.partition("->")
    terms = tuple(_letters(equation, term) for term in left.split(","))
    if not arrow:
        return terms, None
    output = _letters(equation, right)
    for letter in output:
        if output.count(letter) > 1:
            raise ValueError(f"output letter {letter!r} of {equation!r} is repeated")
    return terms, output


def _letters(equation: str, term: str) -> tuple[str, ...]:
    before, dots, after = term.partition(ELLIPSIS)
    named = before.replace(" ", "") + after.replace(" ", "")
    for letter in named:
        if letter not in string.ascii_letters:
            raise ValueError(
                f"malformed equation {equation!r}: {letter!r} in term {term.strip()!r}; a term is letters a-z, A-Z"
                " and at most one `...`, terms are separated by commas, `->` precedes the output"
            )
    split = len(before.replace(" ", ""))
    return (*named[:split], *((ELLIPSIS,) if dots else ()), *named[split:])


def _implicit(terms: tuple[tuple[str, ...], ...]) -> tuple[str, ...]:
    everywhere = [letter for term in terms for letter in term]
    once = sorted(letter for letter in set(everywhere) - {ELLIPSIS} if everywhere.count(letter) == 1)
    return (*((ELLIPSIS,) if ELLIPSIS in everywhere else ()), *once)


def check_operands(operands: tuple[Any, ...]) -> None:
    """Tensors of one supported dtype and one device, or an error that names the operand."""
    for position, operand in enumerate(operands):
        if not isinstance(operand, Tensor):
            raise TypeError(f"operand {position} must be a torch.Tensor, got {type(operand).__name__}")
        if operand.dtype not in _DTYPES:
            raise TypeError(
                f"operand {position} is {operand.dtype}; supported are float16, bfloat16, float32 and float64"
            )
        if operand.dtype != operands[0].dtype:
            raise TypeError(f"operand {position} is {operand.dtype}, but operand 0 is {operands[0].dtype}")
        if operand.device != operands[0].device:
            raise ValueError(f"operand {position} is on {operand.device}, but operand 0 is on {operands[0].device}")


def _axes(position: int, term: tuple[str, ...], operand: Tensor) -> tuple[dict[str, int], tuple[int, ...]]:
    """The extents of a term's letters, and those behind its `...`."""
    spread = operand.dim() - sum(letter != ELLIPSIS for letter in term)
    if spread < 0 or (spread > 0 and ELLIPSIS not in term):
        raise ValueError(
            f"operand {position} has {operand.dim()} dimensions {tuple(operand.shape)}, but its term {''.join(term)!r}"
            f" names {operand.dim() - spread}"
        )
    first = term.index(ELLIPSIS) if ELLIPSIS in term else len(term)
    shape = tuple(operand.shape)
    named: dict[str, int] = {}
    for letter, extent in zip(term[:first] + term[first + 1 :], shape[:first] + shape[first + spread :]):
        if named.setdefault(letter, extent) != extent:
            raise ValueError(
                f"letter {letter!r} repeats in operand {position} with extents {named[letter]} and {extent}"
            )
    return named, shape[first : first + spread]
