"""What is recorded: metrics by name, quantities of the step loop, a user's own functions, and the arrays they fill."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property, reduce
from operator import add, attrgetter
from typing import Any

import torch
from torch import Tensor

from irkernels.curvature.sharpness import largest_curvature
from irkernels.nn.product import Product
from irkernels.spectrum import effective_rank_of, singular_values
from irkernels.training.components import component_norms, groups_of_norms, shared_letter
from irkernels.training.data import Data, model_loss
from irkernels.training.distributed import Ranks
from irkernels.training.objective import Objective
from irkernels.training.quantities import NAMED, Quantity, Running, has_determinant


class Snapshot:
    """A model at one step; what several metrics need is computed once."""

    def __init__(self, model: Product, objective: Objective, truth: Data | None) -> None:
        self.model, self._objective = model, objective
        self._truth: Any = truth  # given where `error` is recorded

    @cached_property
    def loss(self) -> Tensor:
        with torch.no_grad():
            return self._objective.data_loss(self.model)

    @cached_property
    def product(self) -> Tensor:
        with torch.no_grad():
            product: Tensor = self.model()
            return product

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
        square = reduce(add, (g.double().square().unsqueeze(-1).flatten(axis).sum(-1) for g in gradients))
        return square.sqrt().to(losses.dtype)

    @property
    def sharpness(self) -> Tensor:
        """The largest Hessian eigenvalue of each trial's loss on all of the data, with penalties."""
        with torch.no_grad():
            return largest_curvature(self._objective.curvature_problems(self.model))

    @property
    def determinant(self) -> Tensor:
        wide = self.product.float() if self.product.dtype in (torch.float16, torch.bfloat16) else self.product
        determinant: Tensor = torch.linalg.det(wide).to(self.product.dtype)
        return determinant

    @cached_property
    def component_norms(self) -> Any:
        with torch.no_grad():
            own = getattr(self.model, "component_norms", None)
            return component_norms(self.model) if own is None else own()

    @property
    def error(self) -> Tensor:
        """Mean squared error against `truth`, over all entries of a tensor, or over what it lists or measures."""
        if isinstance(self._truth, Tensor):  # W may be at hand already
            axes = tuple(range(-self._truth.dim() if self.model.trials is None else -len(self.model.shape), 0))
            square = (self.product - self._truth).square()
            return square.mean(axes) if axes else square
        with torch.no_grad():
            return model_loss(self.model, self._truth, "mse", 1.0)


# what record= knows by name; loss, and determinants of up to 8 rows, are noted by the step loop itself
METRICS = {
    "loss": "the loss that is trained",
    "determinant": "det W, of a square matrix",
    "error": "mean squared error against truth=, over all its entries, or over those listed if it is an Observed",
    "gradient_norm": "Euclidean norm of the loss's gradient over all trained factors",
    "sharpness": "the largest Hessian eigenvalue of the loss over all trained factors, with penalties, by Lanczos",
    "singular_values": "of W, a matrix, the largest first",
    "effective_rank": "of W, a matrix: the exponential of the entropy of its normalised singular values",
    "component_norms": "the model's own, one metric for each mode or node that it has them for; of a product with one"
    " contracted letter, for each index of that letter the product of the norms of the factors' slices there",
    "product": "the whole W",
}
_OF_MATRICES = ("singular_values", "effective_rank", "determinant")


@dataclass(frozen=True)
class Recorded:
    """What is to be recorded, by where it is taken; `names` in the order in which they were asked for."""

    names: list[str]
    between: dict[str, Callable[[Snapshot], Any]]  # between chunks of steps, of the model as it stands
    within: dict[str, Quantity | Running]  # in the step loop


def read_metrics(record: Any, model: Product, truth: Any, in_batches: bool = False) -> Recorded:
    """From names of METRICS, quantities, Running extremes, and mappings {name: f(model), a quantity or an extreme}.

    in_batches: the step loop knows the loss of its mini-batch alone, so that of all the data is taken between chunks.

    Raises ValueError (unknown name, a spectrum of what is no matrix, error without truth) and TypeError.
    """
    names: dict[str, None] = {}
    between: dict[str, Callable[[Snapshot], Any]] = {}
    within: dict[str, Quantity | Running] = {}
    single = isinstance(record, (str, Mapping, Quantity, Running))
    given: dict[str, Any] = {}
    for name, item in (pair for each in ([record] if single else _listed(record)) for pair in _named(each)):
        if repr(given.setdefault(name, item)) != repr(item):
            raise ValueError(f"record: two metrics are named {name!r}; give one a name of its own, {{name: metric}}")
        names[name] = None
        if isinstance(item, (Quantity, Running)):
            within[name] = item
        elif callable(item):
            between[name] = _of_model(item)
        elif name == "component_norms" and (groups := groups_of_norms(model)):
            del names[name]
            for each, group in groups.items():
                names[each] = None
                between[each] = _of_group(group)
        else:
            _check(name, model, truth)
            if (name == "loss" and not in_batches) or (name == "determinant" and has_determinant(model.shape)):
                within[name] = NAMED[name]
            else:
                between[name] = attrgetter(name)
    return Recorded(list(names), between, within)


def _of_model(function: Callable[[Product], Any]) -> Callable[[Snapshot], Any]:
    return lambda snapshot: function(snapshot.model)


def _of_group(group: Any) -> Callable[[Snapshot], Any]:
    return lambda snapshot: snapshot.component_norms[group]


def _named(item: Any) -> Iterable[tuple[str, Any]]:
    if isinstance(item, (Quantity, Running)):
        return [(str(item), item)]
    if isinstance(item, Mapping):
        for name, each in item.items():
            if not isinstance(name, str) or not (callable(each) or isinstance(each, (Quantity, Running))):
                raise TypeError(f"record: expected {{name: f(model)}}, got {{{name!r}: {each!r}}}")
        return item.items()
    if not isinstance(item, str) or item not in METRICS:
        raise ValueError(
            f"record: unknown metric {item!r}; known are {', '.join(METRICS)}, quantities such as irk.Entry(0, 0),"
            " irk.Running and {name: f(model)}"
        )
    return [(item, None)]


def _listed(record: Any) -> Iterable[Any]:
    if not isinstance(record, Iterable):
        raise TypeError(f"record must be names or {{name: f(model)}}, got {type(record).__name__}")
    return record


def _check(name: str, model: Product, truth: Any) -> None:
    if name in _OF_MATRICES and len(model.shape) != 2:
        raise ValueError(f"record: {name} is of a matrix, but the model's product is {model.shape}; record {{name: f}}")
    if name == "determinant" and model.shape[0] != model.shape[1]:
        raise ValueError(f"record: determinant is of a square matrix, but the model's product is {model.shape}")
    if name == "component_norms" and not hasattr(model, "component_norms"):
        shared_letter(model.equation)
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

    def _checked(self, name: str, given: Any) -> Tensor:
        try:
            value = (given if isinstance(given, Tensor) else torch.as_tensor(given, device="cpu")).detach()
        except (RuntimeError, TypeError, ValueError):
            raise TypeError(f"record: {name} must give a tensor or a number, got {type(given).__name__}") from None
        value = value.to("cpu", copy=True)
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
        none = torch.empty(0, device="cpu")
        return {name: torch.stack(values) if values else none for name, values in self._values.items()}

    def gather(self, ranks: Ranks) -> None:
        """The metrics of all ranks' trials."""
        for values in self._values.values():
            for value in values:
                ranks.gather(value)

    def recorded_at(self) -> Tensor:
        """The steps of the records: int64 [records]."""
        return torch.tensor(self.steps, dtype=torch.int64, device="cpu")

    def state(self) -> dict[str, Any]:
        return {"steps": self.recorded_at(), "metrics": self.arrays()}

    def load(self, state: dict[str, Any]) -> None:
        self.steps = state["steps"].tolist()
        self._values = {name: list(array.unbind(0)) for name, array in state["metrics"].items()}
