"""Known entries of the unfolded matrix, and their split into what is fitted, what chooses and what is reported."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from irkernels.io import DataError


@dataclass(frozen=True)
class Entries:
    """Known entries of a matrix: rows [nnz], columns [nnz], values [nnz]."""

    rows: np.ndarray
    columns: np.ndarray
    values: np.ndarray

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, which: np.ndarray) -> Entries:
        return Entries(self.rows[which], self.columns[which], self.values[which])

    @property
    def at(self) -> np.ndarray:
        """Coordinates [nnz, 2]."""
        return np.stack([self.rows, self.columns], axis=1)

    def rmse(self, matrix: np.ndarray) -> float:
        """Root mean squared difference from `matrix` at these entries."""
        return float(np.sqrt(np.mean((matrix[self.rows, self.columns] - self.values) ** 2)))


@dataclass(frozen=True)
class Split:
    """train: fitted.  validation: chooses depth, trial, stopping step, rank and lambda.  heldout: only reported."""

    train: Entries
    validation: Entries
    heldout: Entries
    heldout_at: np.ndarray  # positions of the held-out entries among the known ones


def split(known: Entries, heldout: float, validation: float, seed: int) -> Split:
    """Shuffle the known entries and cut: `heldout` of them are held out, `validation` of the others choose.

    Raises DataError where a part would be empty.
    """
    for name, fraction in (("heldout", heldout), ("validation", validation)):
        if not 0 < fraction < 1:
            raise DataError(f"--{name} must be between 0 and 1, got {fraction}")
    order = np.random.default_rng(seed).permutation(len(known))
    held = round(heldout * len(known))
    chosen = held + max(1, round(validation * (len(known) - held)))
    if held < 1 or chosen >= len(known):
        raise DataError(
            f"{len(known)} known entries are too few to hold out {heldout:g} and validate on {validation:g} of the rest"
        )
    parts = [np.sort(part) for part in (order[chosen:], order[held:chosen], order[:held])]
    return Split(known[parts[0]], known[parts[1]], known[parts[2]], parts[2])


@dataclass(frozen=True)
class Scale:
    """Centre and spread of the training values; everything is fitted to (value - centre) / spread."""

    centre: float
    spread: float

    @classmethod
    def of(cls, train: Entries) -> Scale:
        spread = float(train.values.std())
        return cls(float(train.values.mean()), spread if spread > 0 else 1.0)

    def reduced(self, entries: Entries) -> Entries:
        return Entries(entries.rows, entries.columns, (entries.values - self.centre) / self.spread)

    def restored(self, matrix: np.ndarray) -> np.ndarray:
        return matrix * self.spread + self.centre
