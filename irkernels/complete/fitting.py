"""Models fitted to known entries from small initial factors; validation entries say when to stop.

Nothing but the family, its depth, small initialisation and early stopping regularises: Arora, Cohen, Hu, Luo, *Implicit
Regularization in Deep Matrix Factorization* (2019); Razin, Maman, Cohen, *Implicit Regularization in Tensor
Factorization* (2021). The trials of a depth differ in the scale and the draw of their initial factors; the best trial,
and its best step, are those with the smallest validation error.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from irkernels.complete.entries import Entries, Scale, Split
from irkernels.complete.folding import Folding
from irkernels.complete.models import Ranks, build
from irkernels.functional import einsum
from irkernels.nn import Product
from irkernels.observed import Coordinates, Observed
from irkernels.optim import GroupRMSprop
from irkernels.training import Progress, fit

_LOOKS = 25  # steps between looks at the validation error
_LARGE = 200_000  # entries of an array
_GAIN = 1e-4  # an error counts as better if it is smaller by this share


@dataclass(frozen=True)
class Settings:
    """How every depth is fitted. init_scales: one trial each, the scale of the product (the data have spread 1)."""

    model: str  # a row of models.MODELS
    ranks: Ranks | None
    steps: int
    patience: int  # steps without a better validation error after which a depth ends
    lr: float
    init_scales: tuple[float, ...]
    seed: int
    dtype: torch.dtype


@dataclass(frozen=True)
class Fit:
    """The best trial of one depth at its best step. curve: steps, train, validation, heldout (RMSE), each [records]."""

    depth: int
    matrix: np.ndarray  # the product, unfolded
    init_scale: float
    step: int
    steps: int
    seconds: float
    interrupted: bool  # by Ctrl-C: the steps until then stand
    curve: dict[str, np.ndarray]


def default_lr(shape: tuple[int, ...]) -> float:
    """A step length for GroupRMSprop, which moves the factors by about `lr` a step whatever the gradient.

    Data of spread 1 have as norm the square root of the number of entries, the factors of two about its square root: so
    this gets there in a few hundred steps.
    """
    step: float = math.prod(shape) ** 0.25 / 350
    return step


def default_init_scales(shape: tuple[int, ...]) -> tuple[float, ...]:
    """Three trials for a small array, where a draw matters and time does not; one for a large array."""
    return (1e-2, 1e-3, 1e-4) if math.prod(shape) < _LARGE else (1e-3,)


def fit_model(
    folding: Folding,
    unfolding: Folding,
    parts: Split,
    depth: int,
    settings: Settings,
    progress: Callable[[str], None] = lambda text: None,
) -> Fit:
    """Fit a model of that depth to parts.train. The held-out error is for the curve; it decides nothing.

    folding: what is fitted.  unfolding: the matrix that is returned.  parts: of the tensor.
    """
    start = time.perf_counter()
    shape, parts = folding.shape, parts.folded(folding)
    scale = Scale.of(parts.train)
    trials = len(settings.init_scales)
    model = build(
        settings.model,
        shape,
        settings.ranks,
        depth,
        trials=trials,
        init_scale=settings.init_scales,
        dtype=settings.dtype,
        seed=settings.seed,
    )
    train = scale.reduced(parts.train)
    observed = Observed(torch.from_numpy(train.at), torch.from_numpy(train.values).to(settings.dtype), shape)
    optimizer = GroupRMSprop(model.parameters(), lr=settings.lr)
    looked = {name: _Looked(scale.reduced(getattr(parts, name)), shape) for name in ("train", "validation", "heldout")}
    best = _Best(model, looked["validation"], settings.patience)

    def report(now: Progress) -> None:
        progress(_line(depth, now.step, best, scale))
        if best.ended is not None:
            raise KeyboardInterrupt  # how a progress callable asks `fit` to return what was reached

    record = {"train": looked["train"].rmse, "validation": best.look, "heldout": looked["heldout"].rmse}
    run = fit(model, observed, optimizer, steps=settings.steps, record=record, record_every=_LOOKS, progress=report)
    trial = int(np.argmin(best.error))
    records = len(run.steps) if best.ended is None else best.ended + 1
    return Fit(
        depth=depth,
        matrix=unfolding.fold(folding.refold(scale.restored(best.product(trial)))),
        init_scale=settings.init_scales[trial],
        step=int(run.steps[best.record[trial]]),
        steps=int(run.steps[records - 1]),
        seconds=time.perf_counter() - start,
        interrupted="interrupted" in run.reason and best.ended is None,
        curve={"steps": run.steps[:records].numpy()}
        | {name: run.metrics[name][:records, trial].double().numpy() * scale.spread for name in looked},
    )


def _line(depth: int, step: int, best: _Best, scale: Scale) -> str:
    return f"depth {depth}: step {step:,}, best validation RMSE {best.error.min() * scale.spread:.5g}"


class _Looked:
    """Entries at which all trials are compared with the data."""

    def __init__(self, entries: Entries, shape: tuple[int, ...]) -> None:
        self._coordinates = Coordinates(torch.from_numpy(entries.at), shape)
        self._values = torch.from_numpy(entries.values)

    @torch.no_grad()
    def rmse(self, model: Product) -> torch.Tensor:
        """[trials], in double precision."""
        return (model.entries(self._coordinates).double() - self._values).square().mean(-1).sqrt()


class _Best:
    """The factors of every trial at the recorded step of its smallest validation error.

    ended: the record at which no trial's error had become better for `patience` steps; later ones change nothing, so
    that the result does not depend on how soon the fit can be told to end.
    """

    def __init__(self, model: Product, validation: _Looked, patience: int) -> None:
        self._equation = model.equation
        self._kept = [factor.detach().clone() for factor in model.parameters()]
        self._validation = validation
        self._patience = patience
        self._records = 0
        self.ended: int | None = None
        self.error = np.full(model.trials or 1, np.inf)
        self.record = np.zeros(model.trials or 1, dtype=int)

    def look(self, model: Product) -> torch.Tensor:
        """The validation error [trials] of a model; its factors are kept where it is the smallest so far."""
        errors = self._validation.rmse(model)
        if self.ended is not None:
            return errors
        better = errors.numpy() < self.error * (1 - _GAIN)
        for kept, factor in zip(self._kept, model.parameters(), strict=True):
            kept[torch.from_numpy(better)] = factor.detach()[torch.from_numpy(better)]
        self.error[better], self.record[better] = errors.numpy()[better], self._records
        if _LOOKS * (self._records - self.record.max()) >= self._patience:
            self.ended = self._records
        self._records += 1
        return errors

    def product(self, trial: int) -> np.ndarray:
        """W of one trial, in double precision."""
        return einsum(self._equation, *(kept[trial].double() for kept in self._kept)).numpy()
