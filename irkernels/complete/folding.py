"""A tensor with groups of its axes run together: as a matrix, as a vector, or as it is."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations, islice

import numpy as np

from irkernels.io import DataError

_LOOKED_AT = 256  # unfoldings whose empty rows and columns are counted; an order above 9 has more


@dataclass(frozen=True)
class Folding:
    """The array whose axis k runs over the axes groups[k] of a tensor, the first of them slowest."""

    tensor_shape: tuple[int, ...]
    groups: tuple[tuple[int, ...], ...]  # every axis of the tensor once

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(math.prod(self.tensor_shape[axis] for axis in group) for group in self.groups)

    def positions(self, at: np.ndarray) -> np.ndarray:
        """Coordinates [nnz, groups] of tensor coordinates [nnz, order]."""
        return np.stack([self._flat(at, group) for group in self.groups], axis=1)

    def fold(self, tensor: np.ndarray) -> np.ndarray:
        """The tensor in the shape of this folding."""
        return tensor.transpose(self._axes).reshape(self.shape)

    def refold(self, folded: np.ndarray) -> np.ndarray:
        """The tensor of which `folded` is the folding."""
        return folded.reshape([self.tensor_shape[axis] for axis in self._axes]).transpose(np.argsort(self._axes))

    def __str__(self) -> str:
        return "|".join(",".join(map(str, group)) for group in self.groups)

    @property
    def _axes(self) -> tuple[int, ...]:
        return tuple(axis for group in self.groups for axis in group)

    def _flat(self, at: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
        return np.ravel_multi_index(tuple(at[:, axis] for axis in axes), [self.tensor_shape[axis] for axis in axes])


def unfolded(shape: tuple[int, ...], rows: tuple[int, ...]) -> Folding:
    """The matrix whose rows run over the axes `rows` and whose columns run over the others, in ascending order."""
    return Folding(shape, (rows, tuple(axis for axis in range(len(shape)) if axis not in rows)))


def unchanged(shape: tuple[int, ...]) -> Folding:
    """Every axis by itself."""
    return Folding(shape, tuple((axis,) for axis in range(len(shape))))


def flattened(shape: tuple[int, ...]) -> Folding:
    """One axis for all."""
    return Folding(shape, (tuple(range(len(shape))),))


def natural(shape: tuple[int, ...], at: np.ndarray) -> Folding:
    """The unfolding with the fewest entries in rows or columns of which nothing is known; of those, the squarest.

    No low-rank completion says anything of an empty row: data missing in blocks should be cut across the block.
    Of a tensor of high order only the unfoldings of the fewest axes are looked at, and all cuts of the axes in order.
    """
    cuts = (tuple(range(n)) for n in range(1, len(shape)))
    choices = dict.fromkeys([*islice(_subsets(len(shape)), _LOOKED_AT), *cuts])
    return min(
        (unfolded(shape, rows) for rows in choices),
        key=lambda unfolding: (_hopeless(unfolding, at), abs(math.log(unfolding.shape[0] / unfolding.shape[1]))),
    )


def _subsets(order: int) -> Iterator[tuple[int, ...]]:
    """The axes of the rows: every choice with axis 0 that leaves a column."""
    return ((0, *more) for count in range(order - 1) for more in combinations(range(1, order), count))


def _hopeless(unfolding: Folding, at: np.ndarray) -> int:
    """How many entries lie in a row or column without any known entry."""
    rows, columns = unfolding.shape
    seen_rows, seen_columns = (len(np.unique(positions)) for positions in unfolding.positions(at).T)
    return rows * columns - seen_rows * seen_columns


def chosen(shape: tuple[int, ...], at: np.ndarray, text: str | None) -> Folding:
    """The unfolding a user asks for: the axes of the rows, from 0, as in `0,2`; without it the natural one of `at`."""
    if text is None:
        return natural(shape, at)
    try:
        rows = tuple(sorted({int(axis) for axis in text.split(",")}))
    except ValueError:
        raise DataError(f"--unfold takes the axes of the rows, numbered from 0, as in 0,2; got {text!r}") from None
    if not 0 < len(rows) < len(shape) or rows[0] < 0 or rows[-1] >= len(shape):
        raise DataError(
            f"--unfold {text}: the array has the axes 0 to {len(shape) - 1}; rows and columns each need at least one"
        )
    return unfolded(shape, rows)
