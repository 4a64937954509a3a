"""From an incomplete array to completions by a model of several depths, with classical ones beside them."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from irkernels.complete.baselines import Completion, column_mean, global_mean, hard_impute, row_mean, soft_impute
from irkernels.complete.entries import Entries, Split, split
from irkernels.complete.fitting import Fit, Settings, default_init_scales, default_lr, fit_model
from irkernels.complete.folding import Folding, chosen
from irkernels.complete.models import MODELS, Ranks, check, given_or_default
from irkernels.io import DataError, IncompleteArray

LARGEST = 2**28  # entries of a completed array: 2 GiB in double precision, several times that at work


@dataclass(frozen=True)
class Options:
    """What a user may choose; None means that the data decide (see `irkernels complete --help`)."""

    model: str = "chain"
    depths: tuple[int, ...] | None = None
    ranks: tuple[int, ...] | None = None  # one for all, or a list as the family takes it
    steps: int = 5000
    patience: int = 1000
    heldout: float = 0.2
    validation: float = 0.1
    seed: int = 0
    unfold: str | None = None
    init_scales: tuple[float, ...] | None = None
    lr: float | None = None
    dtype: torch.dtype = torch.float32


@dataclass(frozen=True)
class Completed:
    """All completions of one array, each as its unfolding to a matrix, in the data's units.

    Whatever shape a model was fitted to, errors and spectra are those of one matrix; `best` is chosen by validation.
    """

    array: IncompleteArray
    unfolding: Folding
    parts: Split  # of the matrix
    model: str
    ranks: Ranks | None
    fitted: tuple[int, ...]  # the shape that the model has
    baselines: dict[str, Completion]
    fits: list[Fit]
    seconds: float

    @property
    def best(self) -> Fit:
        return min(self.fits, key=lambda fit: self.parts.validation.rmse(fit.matrix))

    @property
    def best_baseline(self) -> str:
        """The baseline with the smallest held-out error: the hardest one to beat, whatever validation says."""
        return min(self.baselines, key=lambda name: self.parts.heldout.rmse(self.baselines[name].matrix))

    def prediction(self) -> np.ndarray:
        """The chosen model's value at every entry, in the array's own shape."""
        return self.unfolding.refold(self.best.matrix)

    def heldout_mask(self) -> np.ndarray:
        mask = np.zeros(self.array.shape, dtype=bool)
        mask[tuple(self.array.at[self.parts.heldout_at].T)] = True
        return mask

    def completed(self) -> np.ndarray:
        """Known entries as they are, the model's values elsewhere; where all are known, the held-out are filled."""
        known = self.array.dense()
        hidden = np.isnan(known)
        if not hidden.any():
            hidden = self.heldout_mask()
        filled = np.where(hidden, self.prediction(), known)
        return filled.clip(0, 255) if self.array.image else filled


def complete(
    array: IncompleteArray, options: Options = Options(), progress: Callable[[str], None] = lambda text: None
) -> Completed:
    """Complete `array` by a model of options.depths.

    A chain is fitted to the array unfolded to a matrix, other families to the array itself (models.py). The known
    entries are split into train (fitted, and centred and scaled by its own mean and standard deviation), validation
    (chooses depth, trial, stopping step, and the baselines' rank and lambda) and held-out (reported, never used).
    Raises DataError where the data or the options cannot be used.
    """
    start = time.perf_counter()
    if options.model not in MODELS:
        raise DataError(f"no model {options.model!r}; there are {', '.join(MODELS)}")
    if math.prod(array.shape) > LARGEST:
        raise DataError(
            f"{array.source}: the completed array would have {math.prod(array.shape):,} entries; "
            f"the largest is {LARGEST:,}"
        )
    model, unfolding = MODELS[options.model], chosen(array.shape, array.at, options.unfold)
    if min(unfolding.shape) < 2:
        rows, columns = unfolding.shape
        raise DataError(
            f"{array.source}: unfolded to {rows} x {columns}; a completion needs at least two rows and two columns"
        )
    parts = split(Entries(array.at, array.values), options.heldout, options.validation, options.seed)
    folding = model.folding(unfolding)
    settings = Settings(
        model=options.model,
        ranks=given_or_default(options.model, folding.shape, options.ranks),
        steps=options.steps,
        patience=options.patience,
        lr=default_lr(array.shape) if options.lr is None else options.lr,
        init_scales=default_init_scales(array.shape) if options.init_scales is None else options.init_scales,
        seed=options.seed,
        dtype=options.dtype,
    )
    depths = model.depths if options.depths is None else options.depths
    for depth in depths:
        check(options.model, len(folding.shape), settings.ranks, depth)
    matrix = parts.folded(unfolding)
    baselines = {}
    for name, method in _BASELINES.items():
        progress(f"baseline: {name.replace('_', '-')}")
        baselines[name] = method(unfolding.shape, matrix, options.seed)
    fits: list[Fit] = []
    for depth in depths:
        fits.append(fit_model(folding, unfolding, parts, depth, settings, progress))
        if fits[-1].interrupted:
            break
    seconds = time.perf_counter() - start
    return Completed(array, unfolding, matrix, options.model, settings.ranks, folding.shape, baselines, fits, seconds)


_BASELINES: dict[str, Callable[[tuple[int, ...], Split, int], Completion]] = {
    "global_mean": lambda shape, parts, seed: global_mean(shape, parts.train),
    "row_mean": lambda shape, parts, seed: row_mean(shape, parts.train),
    "column_mean": lambda shape, parts, seed: column_mean(shape, parts.train),
    "hard_impute": lambda shape, parts, seed: hard_impute(shape, parts.train, parts.validation, seed),
    "soft_impute": lambda shape, parts, seed: soft_impute(shape, parts.train, parts.validation, seed),
}
