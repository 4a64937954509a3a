"""A fit with its time, and the same run in eager PyTorch: some steps are timed, the rest is said to take as long for each."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from irkernels.nn import Product
from irkernels.observed import Observed
from irkernels.reference.losses import observed_loss
from irkernels.training import Trajectory, fit

_WARM_UP = 20


@dataclass(frozen=True)
class Eager:
    """Seconds that `steps` steps would take, from `timed` of them."""

    timed: int
    steps: int
    seconds: float

    def summary(self) -> dict:
        return {"steps timed": self.timed, "steps": self.steps, "seconds, extrapolated": round(self.seconds, 1)}


@dataclass(frozen=True)
class Timed:
    """A fit, the seconds that it took, and what eager PyTorch would take."""

    run: Trajectory
    seconds: float
    eager: Eager


def fit_beside_eager(
    model: Product, observed: Observed, optimizer: Callable[[Iterable[Tensor]], Optimizer], timed: int, **options: Any
) -> Timed:
    """irk.fit of the model with these options; beside it, from the same start, at most `timed` eager steps.

    optimizer: parameters -> optimizer.
    """
    begin = Product(model.equation, *model.factors, trials=model.trials)
    start = time.perf_counter()
    run = fit(model, observed, optimizer(model.parameters()), **options)
    seconds, taken = time.perf_counter() - start, steps_taken(run)
    loss = {name: options[name] for name in ("loss", "delta") if name in options}
    return Timed(run, seconds, extrapolated(begin, observed, optimizer, taken, min(timed, taken), **loss))


def steps_taken(run: Trajectory) -> int:
    """Of the trial that ran longest."""
    return int(torch.as_tensor(run.stopped_at).max())


def extrapolated(
    model: Product,
    observed: Observed,
    optimizer: Callable[[list[Tensor]], Optimizer],
    steps: int,
    timed: int,
    loss: str = "mse",
    delta: float = 1.0,
) -> Eager:
    """All trials at once by torch.einsum, indexing, backward and the optimizer's own step, from the model's factors.

    optimizer: parameters -> optimizer.  The model is left as it is.
    """
    factors = [f.detach().clone().requires_grad_() for f in model.factors]
    stepper = optimizer(factors)
    places = (..., *observed.at.T)

    def take(count: int) -> float:
        start = time.perf_counter()
        for _ in range(count):
            stepper.zero_grad()
            predictions = torch.einsum(model.verb_equation, *factors)[places]
            observed_loss(predictions, observed.values, observed.weights, loss, delta).sum().backward()
            stepper.step()
        return time.perf_counter() - start

    take(_WARM_UP)
    return Eager(timed, steps, take(timed) / timed * steps)
