"""The same run in eager PyTorch: some of its steps are timed, the rest is said to take as long for each."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from irkernels.measurements import Measurements
from irkernels.nn import Product
from irkernels.observed import Observed
from irkernels.reference.fit import dense_loss
from irkernels.reference.losses import observed_loss

EagerSteps = Callable[[list[Tensor], Tensor], Tensor]
"""(factors [trials, ...], coordinates [nnz, order]) -> predictions [trials, nnz]."""
_WARM_UP, _WARM_SECONDS = 20, 0.5


@dataclass(frozen=True)
class Eager:
    """Seconds that `steps` steps would take, from `timed` of them."""

    timed: int
    steps: int
    seconds: float

    def summary(self) -> dict[str, float]:
        return {"steps timed": self.timed, "steps": self.steps, "seconds, extrapolated": round(self.seconds, 1)}


def extrapolated(
    model: Product,
    data: Observed | Measurements,
    optimizer: Callable[[Iterable[Tensor]], Optimizer],
    steps: int,
    timed: int,
    predict: EagerSteps | None = None,
    loss: str = "mse",
    delta: float = 1.0,
    batch_size: int | None = None,
    penalty: Callable[[Tensor], Tensor] | None = None,
) -> Eager:
    """All trials at once by torch.einsum, indexing, backward and the optimizer's own step, from the model's factors.

    optimizer: parameters -> optimizer.  predict: in place of einsum and indexing.  The model is left as it is.
    """
    factors = [f.detach().clone().requires_grad_() for f in model.factors]
    stepper = optimizer(factors)
    value = _measured(model, data, loss, delta) if isinstance(data, Measurements) else _completed(
        model, data, loss, delta, batch_size, predict
    )

    def take(count: int) -> float:
        start = time.perf_counter()
        for _ in range(count):
            stepper.zero_grad()
            each = value(factors)
            if penalty is not None:
                each = each + penalty(_product(model, factors))
            each.sum().backward()
            stepper.step()
        return time.perf_counter() - start

    spent = 0.0
    for _ in range(_WARM_UP):
        spent += take(1)
        if spent > _WARM_SECONDS:
            break
    return Eager(timed, steps, take(timed) / timed * steps if timed else 0.0)


def _completed(
    model: Product, data: Observed, loss: str, delta: float, batch_size: int | None, predict: EagerSteps | None
) -> Callable[[list[Tensor]], Tensor]:
    """The loss at observed entries, of the first batch_size of them."""
    chosen = slice(batch_size)
    at, values = data.at[chosen], data.values[..., chosen]
    weights = None if data.weights is None else data.weights[..., chosen]
    places = (..., *at.T)

    def value(factors: list[Tensor]) -> Tensor:
        predictions = _product(model, factors)[places] if predict is None else predict(factors, at)
        return observed_loss(predictions, values, weights, loss, delta)

    return value


def _measured(model: Product, data: Measurements, loss: str, delta: float) -> Callable[[list[Tensor]], Tensor]:
    """The loss of linear measurements of W by dense operators."""
    (operators,) = data.constants

    def value(factors: list[Tensor]) -> Tensor:
        W = _product(model, factors)
        return dense_loss(
            torch.tensordot(W, operators, dims=(tuple(range(1, W.dim())), tuple(range(1, operators.dim())))),
            data.target,
            loss,
            delta,
            True,
        )

    return value


def _product(model: Product, factors: list[Tensor]) -> Tensor:
    return torch.einsum(model.verb_equation, *_operands(model, factors))


def _operands(model: Product, factors: list[Tensor]) -> list[Any]:
    """Factors and constants in the equation's order."""
    rest = iter(factors)
    count = len(factors) + len(model.constants)
    return [model.constants[position] if position in model.constants else next(rest) for position in range(count)]
