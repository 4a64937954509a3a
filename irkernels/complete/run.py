"""From an incomplete array to completions by chains of several depths, with classical ones beside them."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from irkernels.complete.baselines import Completion, column_mean, global_mean, hard_impute, row_mean, soft_impute
from irkernels.complete.chain import ChainFit, ChainSettings, default_init_scales, default_lr, fit_chain
from irkernels.complete.entries import Entries, Split, split
from irkernels.complete.unfolding import Unfolding, chosen
from irkernels.io import DataError, IncompleteArray

LARGEST = 2**28  # entries of a completed array: 2 GiB in double precision, several times that at work
_WIDEST = (
    64  # inner size of a chain by default: more than the rank that a completion can use, and a step stays affordable
)


@dataclass(frozen=True)
class Options:
    """What a user may choose; None means that the data decide (see `irkernels complete --help`)."""

    depths: tuple[int, ...] = (2, 3)
    steps: int = 5000
    patience: int = 1000
    heldout: float = 0.2
    validation: float = 0.1
    seed: int = 0
    unfold: str | None = None
    hidden: int | None = None
    init_scales: tuple[float, ...] | None = None
    lr: float | None = None
    dtype: torch.dtype = torch.float32


@dataclass(frozen=True)
class Completed:
    """All completions of one array. Every matrix is in the data's units; `best` is chosen by the validation entries."""

    array: IncompleteArray
    unfolding: Unfolding
    parts: Split
    hidden: int
    baselines: dict[str, Completion]
    fits: list[ChainFit]
    seconds: float

    @property
    def best(self) -> ChainFit:
        return min(self.fits, key=lambda fit: self.parts.validation.rmse(fit.matrix))

    @property
    def best_baseline(self) -> str:
        """The baseline with the smallest held-out error: the hardest one to beat, whatever validation says."""
        return min(self.baselines, key=lambda name: self.parts.heldout.rmse(self.baselines[name].matrix))

    def prediction(self) -> np.ndarray:
        """The chosen chain's value at every entry, in the array's own shape."""
        return self.unfolding.refold(self.best.matrix)

    def heldout_mask(self) -> np.ndarray:
        mask = np.zeros(self.array.shape, dtype=bool)
        mask[tuple(self.array.at[self.parts.heldout_at].T)] = True
        return mask

    def completed(self) -> np.ndarray:
        """Known entries as they are, the chain's values elsewhere; where all are known, the held-out are filled."""
        known = self.array.dense()
        hidden = np.isnan(known)
        if not hidden.any():
            hidden = self.heldout_mask()
        filled = np.where(hidden, self.prediction(), known)
        return filled.clip(0, 255) if self.array.image else filled


def complete(
    array: IncompleteArray, options: Options = Options(), progress: Callable[[str], None] = lambda text: None
) -> Completed:
    """Complete `array` by deep matrix chains.

    Tensors are unfolded to a matrix. The known entries are split into train (fitted, and centred and scaled by its own
    mean and standard deviation), validation (chooses depth, trial, stopping step, and the baselines' rank and
    lambda) and held-out (reported, never used). Raises DataError where the data or the options cannot be used.
    """
    start = time.perf_counter()
    unfolding = chosen(array.shape, array.at, options.unfold)
    shape = unfolding.shape
    if shape[0] * shape[1] > LARGEST:
        raise DataError(
            f"{array.source}: the completed array would have {shape[0] * shape[1]:,} entries; "
            f"the largest is {LARGEST:,}"
        )
    if min(shape) < 2:
        raise DataError(
            f"{array.source}: unfolded to {shape[0]} x {shape[1]}; a completion needs at least two rows and two columns"
        )
    parts = split(
        Entries(*unfolding.positions(array.at), array.values), options.heldout, options.validation, options.seed
    )
    hidden = min(*shape, _WIDEST) if options.hidden is None else options.hidden
    settings = ChainSettings(
        hidden=hidden,
        steps=options.steps,
        patience=options.patience,
        lr=default_lr(shape) if options.lr is None else options.lr,
        init_scales=default_init_scales(shape) if options.init_scales is None else options.init_scales,
        seed=options.seed,
        dtype=options.dtype,
    )
    baselines = {}
    for name, method in _BASELINES.items():
        progress(f"baseline: {name.replace('_', '-')}")
        baselines[name] = method(shape, parts, options.seed)
    fits: list[ChainFit] = []
    for depth in options.depths:
        fits.append(fit_chain(shape, parts, depth, settings, progress))
        if fits[-1].interrupted:
            break
    return Completed(array, unfolding, parts, hidden, baselines, fits, time.perf_counter() - start)


_BASELINES: dict[str, Callable[[tuple[int, int], Split, int], Completion]] = {
    "global_mean": lambda shape, parts, seed: global_mean(shape, parts.train),
    "row_mean": lambda shape, parts, seed: row_mean(shape, parts.train),
    "column_mean": lambda shape, parts, seed: column_mean(shape, parts.train),
    "hard_impute": lambda shape, parts, seed: hard_impute(shape, parts.train, parts.validation, seed),
    "soft_impute": lambda shape, parts, seed: soft_impute(shape, parts.train, parts.validation, seed),
}
