"""An array of which some entries are known: what every reader returns."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np


class DataError(ValueError):
    """The data cannot be read or used; the message says where (file, line, content) and what was expected."""


@dataclass(frozen=True)
class IncompleteArray:
    """Known entries of an array; everything not listed is missing.

    at      int64 [nnz, order], zero-based, each coordinate once, in lexicographic order
    values  float64 [nnz], finite
    labels  for each axis the names of its positions, or None where positions are plain numbers
    image   the entries are the pixels of a picture: values 0..255, axes rows, columns and, if coloured, channel
    notes   what a reader did that the user should know (duplicates averaged, columns ignored)
    """

    at: np.ndarray
    values: np.ndarray
    shape: tuple[int, ...]
    source: str
    labels: tuple[tuple[str, ...] | None, ...] | None = None
    image: bool = False
    notes: list[str] = field(default_factory=list)

    @property
    def known(self) -> int:
        """How many entries are known."""
        return len(self.values)

    def dense(self) -> np.ndarray:
        """The array as float64, NaN where an entry is missing."""
        array = np.full(self.shape, np.nan)
        array[tuple(self.at.T)] = self.values
        return array


def from_dense(
    array: np.ndarray, source: str, missing: np.ndarray | None = None, image: bool = False
) -> IncompleteArray:
    """Known entries of a dense array: those neither NaN nor nonzero in `missing` (of the same shape)."""
    array = np.asarray(array)
    if array.dtype.kind not in "buif":
        raise DataError(f"{source}: expected real numbers, got dtype {array.dtype}")
    array = array.astype(np.float64)
    if array.ndim < 2:
        raise DataError(f"{source}: expected an array with at least two axes, got shape {array.shape}")
    known = ~np.isnan(array)
    if missing is not None:
        if missing.shape != array.shape:
            raise DataError(f"{source}: the mask has shape {missing.shape}, the array {array.shape}")
        known &= missing == 0
    at = np.argwhere(known)
    values = array[known]
    if not len(values):
        raise DataError(f"{source}: every entry is missing (shape {array.shape})")
    if not np.isfinite(values).all():
        first = at[np.flatnonzero(~np.isfinite(values))[0]]
        raise DataError(f"{source}: entry {tuple(int(i) for i in first)} is infinite; NaN marks a missing entry")
    return IncompleteArray(at, values, array.shape, source, image=image)


def from_coordinates(
    at: np.ndarray,
    values: np.ndarray,
    shape: tuple[int, ...],
    source: str,
    labels: tuple[tuple[str, ...] | None, ...] | None = None,
    notes: list[str] | None = None,
) -> IncompleteArray:
    """Known entries of a coordinate list: NaN is missing; a coordinate listed again is averaged, with a note."""
    notes = list(notes or [])
    given = ~np.isnan(values)
    at, values = np.asarray(at, dtype=np.int64)[given], values[given]
    if not len(values):
        raise DataError(f"{source}: no known entry")
    order = np.lexsort(at.T[::-1])
    at, values = at[order], values[order]
    first = np.concatenate([[True], (at[1:] != at[:-1]).any(axis=1)])
    if not first.all():
        starts = np.flatnonzero(first)
        sizes = np.diff(np.append(starts, len(values)))
        notes.append(f"{int((sizes > 1).sum())} coordinates are listed more than once; their values are averaged")
        at, values = at[starts], np.add.reduceat(values, starts) / sizes
    return IncompleteArray(at, values, tuple(int(n) for n in shape), source, labels, notes=notes)
