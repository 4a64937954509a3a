"""What is recorded between chunks: the metrics by name, a user's own functions, and the arrays they fill."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from irkernels.nn.product import Product
from irkernels.spectrum import effective_rank_of, singular_values
from irkernels.training.data import Data, model_loss
from irkernels.training.objective import Objective


class Snapshot:
    """A model at one step; what several metrics need is computed once."""

    def __init__(self, model: Product, objective: Objective, truth: Data | None) -> None:
        self.model, self._objective, self._truth = model, objective, truth

    @cached_property
    def loss(self) -> Tensor:
        with torch.no_grad():
            return self._objective.data_loss(self.model)

    @cached_property
    def product(self) -> Tensor:
        with torch.no_grad():
            return self.model()

    @cached_property
    def singular_values(self) -> Tensor:
        return singular_values(self.product)

    @property
    def effective_rank(self) -> Tensor:
        return effective_rank_of(self.singular_values)

    @property
    def gradient_norm(self) -> Tensor:
        """Euclidean norm of each trial's gradient over all trained factors, of all of the data and of penalties."""
        trained = [f for f in self.model.parameters() if f.requires_grad]
        with torch.enable_grad():
            losses = self._objective.total(self.model)
            gradients = torch.autograd.grad(losses.sum(), trained)
        axis = 0 if self.model.trials is None else 1
        square = sum(g.double().square().flatten(axis).sum(-1) for g in gradients)
        return square.sqrt().to(losses.dtype)

    @property
    def error(self) -> Tensor:
        """Mean squared error against `truth`, over all entries of a tensor, or over what it lists or measures."""
        if isinstance(self._truth, Tensor):  # W may be at hand already
            axes = tuple(range(-self._truth.dim() if self.model.trials is None else -len(self.model.shape), 0))
            square = (self.product - self._truth) ** 2
            return square.mean(axes) if axes else square
        with torch.no_grad():
            return model_loss(self.model, self._truth, "mse", 1.0)


METRICS = ("loss", "error", "gradient_norm", "singular_values", "effective_rank", "product")
_SPECTRAL = ("singular_values", "effective_rank")


def read_metrics(record: Any, model: Product, truth: Any) -> dict[str, Callable[[Snapshot], Any]]:
    """Name -> function of a snapshot, from names of METRICS and mappings {name: f(model)}.

    Raises ValueError (unknown name, a spectrum of what is no matrix, error without truth) and TypeError.
    """
    metrics: dict[str, Callable[[Snapshot], Any]] = {}
    for item in [record] if isinstance(record, (str, Mapping)) else _listed(record):
        if isinstance(item, Mapping):
            for name, function in item.items():
                if not isinstance(name, str) or not callable(function):
                    raise TypeError(f"record: expected {{name: f(model)}}, got {{{name!r}: {function!r}}}")
                metrics[name] = lambda snapshot, function=function: function(snapshot.model)
        elif item in METRICS:
            _check(item, model, truth)
            metrics[item] = lambda snapshot, name=item: getattr(snapshot, name)
        else:
            raise ValueError(f"record: unknown metric {item!r}; known are {', '.join(METRICS)} and {{name: f(model)}}")
    return metrics


def _listed(record: Any) -> Iterable[Any]:
    if not isinstance(record, Iterable):
        raise TypeError(f"record must be names or {{name: f(model)}}, got {type(record).__name__}")
    return record


def _check(name: str, model: Product, truth: Any) -> None:
    if name in _SPECTRAL and len(model.shape) != 2:
        raise ValueError(f"record: {name} is of a matrix, but the model's product is {model.shape}; record {{name: f}}")
    if name == "error" and truth is None:
        raise ValueError("record: error is the distance to truth=, which was not given")


class Recorder:
    """Metrics at recorded steps: arrays [records, trials, ...], [records, ...] without trials, on the CPU."""

    def __init__(self, metrics: dict[str, Callable[[Snapshot], Any]], trials: int | None) -> None:
        self._metrics, self._trials = metrics, trials
        self.steps: list[int] = []
        self._values: dict[str, list[Tensor]] = {name: [] for name in metrics}

    @property
    def names(self) -> list[str]:
        return list(self._metrics)

    def record(self, step: int, snapshot: Snapshot, settled: Callable[[int], Tensor]) -> None:
        """One more record; a trial settled by the last one repeats what it had there."""
        for name, metric in self._metrics.items():
            value = self._checked(name, metric(snapshot))
            if self._trials is not None and self.steps:
                old = settled(self.steps[-1]).cpu().view(-1, *[1] * (value.dim() - 1))
                value = torch.where(old, self._values[name][-1], value)
            self._values[name].append(value)
        self.steps.append(step)

    def _checked(self, name: str, value: Any) -> Tensor:
        value = torch.as_tensor(value).detach().to("cpu", copy=True)
        if self._trials is not None and (value.dim() == 0 or value.shape[0] != self._trials):
            raise ValueError(
                f"record: {name} must be [{self._trials}, ...], one for each trial, got {list(value.shape)}"
            )
        if self._values[name] and self._values[name][-1].shape != value.shape:
            before = list(self._values[name][-1].shape)
            raise ValueError(f"record: {name} was {before} at step {self.steps[-1]}, now it is {list(value.shape)}")
        return value

    def drop_after(self, grid: int) -> None:
        """Forget a last record off the grid, which a run without the interruption does not have."""
        while self.steps and self.steps[-1] % grid:
            self.steps.pop()
            for values in self._values.values():
                values.pop()

    def arrays(self) -> dict[str, Tensor]:
        return {name: torch.stack(values) if values else torch.empty(0) for name, values in self._values.items()}

    def load(self, steps: Tensor, arrays: dict[str, Tensor]) -> None:
        self.steps = steps.tolist()
        self._values = {name: list(array.unbind(0)) for name, array in arrays.items()}
