"""Shared by the functions of this package: equations whose letters do not broadcast, modes counted from either end."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from irkernels.functional import einsum
from irkernels.reference.operands import check_kind


def contraction(equation: str, operands: Sequence[Tensor]) -> Tensor:
    """irkernels.einsum where sizes of one letter must be equal: a factor with one column among others is an error."""
    tensors = all(isinstance(operand, Tensor) for operand in operands)  # einsum refuses others
    if tensors and any(1 in operand.shape for operand in operands):
        _check_equal(equation, operands)
    return einsum(equation, *operands)


def mode_of(name: str, mode: Any, count: int, what: str) -> int:
    """A mode counted from 0; negative ones count from the end."""
    if isinstance(mode, (bool, Tensor)) or not hasattr(mode, "__index__"):
        raise TypeError(f"{name} must be an integer, got {mode!r}")
    number = operator.index(mode)
    if not -count <= number < count:
        raise ValueError(f"{name} is {number}, but there are {count} {what} (numbers are {-count} to {count - 1})")
    return number % count


def left_out(name: str, position: Any, count: int, what: str) -> int | None:
    """The position of what a product is to leave out; None where it is None or negative, which names nothing."""
    if position is None or mode_of(name, position, count, what) != operator.index(position):
        return None
    return operator.index(position)


def check_dimensions(position: int, operand: Any, dimensions: int, what: str) -> None:
    """Raises TypeError (not a tensor) and ValueError (its dimensions)."""
    check_kind(position, operand)
    if operand.dim() != dimensions:
        raise ValueError(
            f"operand {position} of shape {list(operand.shape)} has {operand.dim()} dimensions, but {what} has"
            f" {dimensions}"
        )


def _check_equal(equation: str, operands: Sequence[Tensor]) -> None:
    """Only sizes of 1 are looked at: einsum itself compares the others."""
    known: dict[str, tuple[int, int]] = {}
    for position, (term, operand) in enumerate(zip(equation.split("->")[0].split(","), operands)):
        for letter, size in zip(term, operand.shape):
            owner, before = known.setdefault(letter, (position, size))
            if size != before and 1 in (size, before):
                raise ValueError(
                    f"operand {position} of shape {list(operand.shape)} has size {size} for the letter {letter!r} of"
                    f" {equation}, operand {owner} of shape {list(operands[owner].shape)} has {before} (must be equal)"
                )
