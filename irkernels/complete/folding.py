"""A tensor as a matrix: some axes become rows, the others columns."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from irkernels.io import DataError


@dataclass(frozen=True)
class Unfolding:
    """The matrix whose rows run over the axes `rows` and whose columns run over the others, both in ascending order."""

    tensor_shape: tuple[int, ...]
    rows: tuple[int, ...]

    @property
    def columns(self) -> tuple[int, ...]:
        return tuple(axis for axis in range(len(self.tensor_shape)) if axis not in self.rows)

    @property
    def shape(self) -> tuple[int, int]:
        extents = self.tensor_shape
        return math.prod(extents[axis] for axis in self.rows), math.prod(extents[axis] for axis in self.columns)

    def positions(self, at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rows and columns [nnz] of tensor coordinates [nnz, order]."""
        return self._flat(at, self.rows), self._flat(at, self.columns)

    def refold(self, matrix: np.ndarray) -> np.ndarray:
        """The tensor of which `matrix` is the unfolding."""
        axes = self.rows + self.columns
        return matrix.reshape([self.tensor_shape[axis] for axis in axes]).transpose(np.argsort(axes))

    def __str__(self) -> str:
        return "|".join(",".join(map(str, axes)) for axes in (self.rows, self.columns))

    def _flat(self, at: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
        return np.ravel_multi_index(tuple(at[:, axis] for axis in axes), [self.tensor_shape[axis] for axis in axes])


def natural(shape: tuple[int, ...], at: np.ndarray) -> Unfolding:
    """The unfolding with the fewest entries in rows or columns of which nothing is known; of those, the squarest.

    No low-rank completion says anything of an empty row: data missing in blocks should be cut across the block.
    """
    others = range(1, len(shape))
    choices = [Unfolding(shape, (0, *more)) for count in range(len(shape) - 1) for more in combinations(others, count)]
    return min(
        choices,
        key=lambda unfolding: (_hopeless(unfolding, at), abs(math.log(unfolding.shape[0] / unfolding.shape[1]))),
    )


def _hopeless(unfolding: Unfolding, at: np.ndarray) -> int:
    """How many entries lie in a row or column without any known entry."""
    rows, columns = unfolding.shape
    seen_rows, seen_columns = (len(np.unique(positions)) for positions in unfolding.positions(at))
    return rows * columns - seen_rows * seen_columns


def chosen(shape: tuple[int, ...], at: np.ndarray, text: str | None) -> Unfolding:
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
    return Unfolding(shape, rows)
