"""Listed entries from gathered rows, for orders so high that no tensor of the contraction tree can be formed.

Each operand's output letters are replaced by one letter, the entry: y_n = P(rows of the factors at entry n).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from irkernels.grammar import PATH_MARK, explicit, fresh_letters, without_path
from irkernels.observed import Coordinates


def gathered(equation: str, operands: tuple[Tensor, ...], at: Coordinates) -> tuple[str, tuple[Tensor, ...]]:
    """The dense product over entries, `...` first, and its operands [nnz, rest]; differentiable in the operands."""
    left, _, output = explicit(equation).partition("->")
    output, mark, path = output.partition(PATH_MARK)
    (entry,) = fresh_letters(equation, 1)
    listed = set(output) - {"."}
    terms, rows = [], []
    for term, operand, place in zip(left.split(","), operands, _places(equation, operands, at)):
        if place is None:
            terms.append(term)
            rows.append(operand)
            continue
        rows.append(operand.permute(place.axes)[place.index])
        terms.append(entry + "".join(letter for letter in term if letter not in listed))
    return f"{','.join(terms)}->{'...' if '...' in output else ''}{entry}{mark}{path}", tuple(rows)


def scattered(
    equation: str, operands: tuple[Tensor, ...], at: Coordinates, rows: Sequence[Tensor | None]
) -> tuple[Tensor | None, ...]:
    """The pullback of gathering: gradients of the operands from those of their rows (None where None)."""
    return tuple(
        row if row is None or place is None else _scatter(operand, row, place)
        for operand, row, place in zip(operands, rows, _places(equation, operands, at))
    )


@dataclass(frozen=True)
class _Place:
    """Where an operand is read: its axes with the listed ones first, and the index of these."""

    axes: tuple[int, ...]
    index: tuple[Tensor, ...]


def _places(equation: str, operands: tuple[Tensor, ...], at: Coordinates) -> Iterator[_Place | None]:
    """One for each operand, made when asked for; None for an operand without a letter of the output."""
    left, _, output = explicit(without_path(equation)).partition("->")
    columns = dict(zip(output.replace("...", ""), at.at.unbind(1)))
    for term, operand in zip(left.split(","), operands):
        before, dots, after = term.partition("...")
        spread = operand.dim() - len(before) - len(after) if dots else 0
        axes = [*before, *["..."] * spread, *after]
        listed = [axis for axis, letter in enumerate(axes) if letter in columns]
        kept = [axis for axis, letter in enumerate(axes) if letter not in columns]
        # an axis of extent 1 broadcasts: whatever the coordinate, it is read at 0
        index = tuple(torch.clamp(columns[axes[axis]], max=operand.shape[axis] - 1) for axis in listed)
        yield _Place((*listed, *kept), index) if listed else None


def _scatter(operand: Tensor, row: Tensor, place: _Place) -> Tensor:
    gradient = row.new_zeros(operand.shape)
    gradient.permute(place.axes).index_put_(place.index, row, accumulate=True)
    return gradient
