"""What the steps of a fit descend: the loss on the data, or on a mini-batch of it, and penalties on the product."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from irkernels._arguments import integer, per_trial
from irkernels.curvature.problem import Problem, read_problem
from irkernels.measurements import Measurements
from irkernels.nn.product import Product
from irkernels.observed import Observed
from irkernels.reference.losses import product_penalties
from irkernels.reference.sampler import batch_indices, observed_batch
from irkernels.training.checkpoint import Digest
from irkernels.training.data import Data, describe, model_loss


@dataclass(frozen=True)
class Objective:
    """loss(W, data) + ridge ||W||_F^2 + penalty(W) of each trial; recorded as `loss` is the first term alone."""

    data: Data
    loss: str = "mse"
    delta: float = 1.0
    batch_size: int | None = None
    sampler_seed: int = 0
    ridge: Tensor | None = None  # [T] float64; None: no such term
    penalty: Callable[[Tensor], Tensor] | None = None

    def data_loss(self, model: Product) -> Tensor:
        """The loss on all of the data: a scalar, or [trials]."""
        return model_loss(model, self.data, self.loss, self.delta)

    def step_losses(self, model: Product, step: int) -> tuple[Tensor, Tensor]:
        """At this step, on its mini-batch: the data's loss, and the value that the step descends."""
        data = self.data if self.batch_size is None else self._batch(model, self.batch_size, step)
        loss = model_loss(model, data, self.loss, self.delta)
        return loss, loss + self._penalties(model)

    def total(self, model: Product) -> Tensor:
        """Loss on all of the data, and penalties."""
        return self.data_loss(model) + self._penalties(model)

    def curvature_problems(self, model: Product) -> list[Problem]:
        """The terms of `total`, to be differentiated twice in the trained factors."""
        factors = [p for p in range(len(model.operands())) if p not in model.constants]
        moving = [p for p, factor in zip(factors, model.factors) if factor.requires_grad]
        equation, operands = model.verb_equation, model.operands()
        observed, target = (self.data, None) if isinstance(self.data, Observed) else (None, self.data)
        problems = [read_problem(equation, operands, observed, target, self.loss, self.delta, moving)]
        if self.ridge is not None or self.penalty is not None:

            def penalties(W: Tensor) -> Tensor:
                return product_penalties(W, self.ridge, self.penalty, model.trials is not None)

            problems.append(read_problem(equation, operands, None, None, penalties, 1.0, moving))
        return problems

    def settings(self, digest: Digest) -> dict[str, Any]:
        """What must be equal for a run to be continued."""
        sampling = {} if self.batch_size is None else {"batch_size": self.batch_size, "sampler_seed": self.sampler_seed}
        penalties: dict[str, Any] = {} if self.ridge is None else {"ridge": self.ridge.tolist()}
        if self.penalty is not None:
            penalties["penalty"] = getattr(self.penalty, "__qualname__", type(self.penalty).__qualname__)
        return {"loss": self.loss, "delta": self.delta, "data": describe(self.data, digest), **sampling, **penalties}

    def _penalties(self, model: Product) -> Tensor | float:
        if self.ridge is None and self.penalty is None:
            return 0.0
        return product_penalties(model(), self.ridge, self.penalty, model.trials is not None)

    def _batch(self, model: Product, size: int, step: int) -> Data:
        chosen = batch_indices(observation_count(self.data), size, self.sampler_seed, step)
        chosen = chosen.to(model.factors[0].device)
        if isinstance(self.data, Measurements):
            return self.data.batch(chosen, model.shape)
        return observed_batch(self.data, chosen) if isinstance(self.data, Observed) else self.data


def observation_count(data: Data) -> int:
    """Entries, or measurements; a dense target's entries."""
    if isinstance(data, Tensor):
        return data.numel()
    return data.nnz if isinstance(data, Observed) else data.count


def with_penalties(objective: Objective, model: Product, ridge: Any, penalty: Any) -> Objective:
    """The objective with penalties on the product. Raises TypeError and ValueError."""
    each = per_trial("ridge", ridge, model.trials)
    if penalty is not None and not callable(penalty):
        raise TypeError(f"penalty must be a function of W, got {type(penalty).__name__}")
    return replace(objective, ridge=each.to(model.factors[0].device) if each.any() else None, penalty=penalty)


def with_batches(objective: Objective, model: Product, batch_size: Any, sampler_seed: Any) -> Objective:
    """The objective in mini-batches; a dense target becomes its entries. Raises TypeError and ValueError."""
    if batch_size is None:
        return objective
    batch_size, seed = integer("batch_size", batch_size, 1), integer("sampler_seed", sampler_seed, 0)
    data = objective.data
    if isinstance(data, Tensor):
        shape = model.shape
        everywhere = torch.ones(shape, dtype=torch.bool, device=data.device).nonzero()
        data = Observed(everywhere, data.flatten(data.dim() - len(shape)) if shape else data[..., None], shape)
    count = observation_count(data)
    if batch_size > count:
        raise ValueError(f"batch_size is {batch_size}, but the data are {count} {_named(data)}")
    if seed >= 1 << 63:
        raise ValueError(f"sampler_seed must be below 2^63, got {seed}")
    return replace(objective, data=data, batch_size=batch_size, sampler_seed=seed)


def _named(data: Data) -> str:
    return "measurements" if isinstance(data, Measurements) else "observations"
