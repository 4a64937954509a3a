"""Entries of a product at listed coordinates, W never formed.

For CP (Razin et al. 2021): `y_b = sum_r prod_n F_n[I_bn, r]`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from irkernels.observed import Coordinates, Observed
from irkernels.reference.einsum import contract
from irkernels.reference.equation import ELLIPSIS, Equation, read_equation


def entries(equation: str, *operands: Tensor, at: Any) -> Tensor:
    """W[at]: [..., nnz], the output's `...` axes first, then one value for each coordinate in the caller's order.

    operands: as for einsum.  at: integer tensor [nnz, output letters] in output order, or Coordinates, or Observed.
    Differentiable in the operands to any order.  Raises what einsum and Coordinates raise, and ValueError for
    Coordinates of another shape.
    """
    read = read_equation(equation, operands)
    coordinates = read_coordinates(at, read)
    columns = dict(zip(read.letters, coordinates.at.unbind(1)))
    if not columns:  # a scalar product is the same at each of the (empty) coordinates
        value = contract(read.terms, read.output, operands)
        return value.unsqueeze(-1).expand(*value.shape, coordinates.nnz)
    entry = read.letters[0]  # free once every operand's output letters are gathered
    gathered = [gather(entry, term, operand, columns) for term, operand in zip(read.terms, operands)]
    output = (ELLIPSIS, entry) if ELLIPSIS in read.output else (entry,)
    return contract([term for term, _ in gathered], output, [factor for _, factor in gathered])


def read_coordinates(at: Any, read: Equation) -> Coordinates:
    """`at` checked against the extents of the output's letters."""
    coordinates = at.coordinates if isinstance(at, Observed) else at
    if not isinstance(coordinates, Coordinates):
        return Coordinates(coordinates, read.shape)
    if coordinates.shape != read.shape:
        raise ValueError(
            f"the coordinates are of shape {coordinates.shape}, but the output's letters {''.join(read.letters)!r} have"
            f" sizes {read.shape} (must be equal)"
        )
    return coordinates


def gather(
    entry: str, term: tuple[str, ...], operand: Tensor, columns: dict[str, Tensor]
) -> tuple[tuple[str, ...], Tensor]:
    """A factor with its output letters replaced by one leading entry axis; unobserved rows are never touched."""
    spread = operand.dim() - sum(letter != ELLIPSIS for letter in term)
    axes = [axis for letter in term for axis in ([letter] if letter != ELLIPSIS else [ELLIPSIS] * spread)]
    sampled = [axis for axis, letter in enumerate(axes) if letter in columns]
    if not sampled:
        return term, operand
    kept = [axis for axis, letter in enumerate(axes) if letter not in columns]
    # a size-1 axis broadcasts: whatever the coordinate, it is read at 0
    rows = [torch.clamp(columns[axes[axis]], max=operand.shape[axis] - 1) for axis in sampled]
    left = tuple(letter for letter in term if letter not in columns)
    return (entry, *left), operand.permute(*sampled, *kept)[tuple(rows)]
