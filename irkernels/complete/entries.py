"""Known entries of an array, and their split into what is fitted, what chooses and what is reported."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from irkernels.complete.folding import Folding
from irkernels.io import DataError


@dataclass(frozen=True)
class Entries:
    """Known entries of an array: at [nnz, order], values [nnz]."""

    at: np.ndarray
    values: np.ndarray

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, which: np.ndarray) -> Entries:
        return Entries(self.at[which], self.values[which])

    @property
    def rows(self) -> np.ndarray:
        """Of a matrix."""
        return self.at[:, 0]

    @property
    def columns(self) -> np.ndarray:
        """Of a matrix."""
        return self.at[:, 1]

    def folded(self, folding: Folding) -> Entries:
        """The same entries where the folded array has them."""
        return Entries(folding.positions(self.at), self.values)

    def rmse(self, array: np.ndarray) -> float:
        """Root mean squared difference from `array` at these entries."""
        return float(np.sqrt(np.mean((array[tuple(self.at.T)] - self.values) ** 2)))


@dataclass(frozen=True)
class Split:
    """train: fitted.  validation: chooses depth, trial, stopping step, rank and lambda.  heldout: only reported."""

    train: Entries
    validation: Entries
    heldout: Entries
    heldout_at: np.ndarray  # positions of the held-out entries among the known ones

    def folded(self, folding: Folding) -> Split:
        """The same split where the folded array has its entries."""
        train, validation, heldout = (part.folded(folding) for part in (self.train, self.validation, self.heldout))
        return Split(train, validation, heldout, self.heldout_at)


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
        return Entries(entries.at, (entries.values - self.centre) / self.spread)

    def restored(self, array: np.ndarray) -> np.ndarray:
        return array * self.spread + self.centre
