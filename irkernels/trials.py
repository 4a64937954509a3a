"""A `...` axis of the product as an axis of every operand: its trials are then independent of each other."""

from __future__ import annotations

from torch import Tensor

from irkernels.grammar import explicit


def everywhere(equation: str, operands: tuple[Tensor, ...], dense: tuple[int, ...]) -> tuple[str, tuple[Tensor, ...]]:
    """The same product with `...` (extents `dense`) first in every term and the output, and views with these axes."""
    left, _, output = explicit(equation).partition("->")
    terms = left.split(",")
    dotted = ",".join("..." + term.replace("...", "") for term in terms)
    views = tuple(_view(term, operand, dense) for term, operand in zip(terms, operands))
    return f"{dotted}->...{output.replace('...', '')}", views


def _view(term: str, operand: Tensor, dense: tuple[int, ...]) -> Tensor:
    before, dots, after = term.partition("...")
    n = operand.dim() - len(before) - len(after) if dots else 0
    moved = operand.movedim(tuple(range(len(before), len(before) + n)), tuple(range(n)))
    return moved.reshape(*[1] * (len(dense) - n), *moved.shape).expand(*dense, *moved.shape[n:])
