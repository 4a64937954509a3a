"""What a model is fitted to: checked against the model before anything runs, and its loss.

Observed entries; a tensor, the dense target; or Measurements, which with their constants as further operands are a
dense target again (irkernels/measurements.py).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from irkernels import functional
from irkernels._arguments import number, strided
from irkernels._problem import with_trials
from irkernels.measurements import Measurements
from irkernels.nn.product import Product
from irkernels.observed import Observed
from irkernels.reference.fit import dense_loss
from irkernels.reference.losses import LOSSES
from irkernels.training.checkpoint import Digest

Data = Observed | Measurements | Tensor


def model_loss(model: Product, data: Data, loss: str, delta: float) -> Tensor:
    """The model's loss on its data, differentiable: a scalar, or [trials]."""
    if isinstance(data, Observed):
        return model.completion_loss(data, loss=loss, delta=delta)
    trials = model.trials is not None
    if isinstance(data, Tensor):
        return dense_loss(model(), data, loss, delta, trials)
    equation = data.extend(model.equation)
    if trials:
        equation = with_trials(equation, (*model.constants, *added_positions(model, data)))
    prediction = functional.einsum(equation, *model.operands(), *data.constants)
    return dense_loss(prediction, data.target, loss, delta, trials)


def added_positions(model: Product, data: Measurements) -> tuple[int, ...]:
    """The operand positions of the measurements' constants, behind the model's own operands."""
    first = len(model.factors) + len(model.constants)
    return tuple(range(first, first + len(data.constants)))


def checked_loss(loss: Any, delta: Any) -> None:
    if not isinstance(loss, str) or loss not in LOSSES:
        raise ValueError(f"unknown loss {loss!r}; known are {', '.join(LOSSES)}")
    if not number("delta", delta) > 0:
        raise ValueError(f"delta must be positive, got {delta}")


def checked_data(name: str, data: Any, model: Product) -> Data:
    """data that fits the model. Raises TypeError (kind, dtype) and ValueError (shape, device, not finite, grad)."""
    if not isinstance(data, (Observed, Measurements, Tensor)):
        raise TypeError(
            f"{name} must be an irkernels.Observed, Sensing, RankOneSensing, Regression or a tensor (dense target), got"
            f" {type(data).__name__}"
        )
    factor = model.factors[0]
    if isinstance(data, Observed):
        given, said = data.values, "values"
    elif isinstance(data, Measurements):
        given, said = data.target, " and ".join(data.names)
    else:
        given, said = strided(name, data), "target"
    if given.dtype != factor.dtype:
        raise TypeError(f"{name}: the {said} are {given.dtype}, but the factors are {factor.dtype}; convert with .to()")
    if given.device != factor.device:
        raise ValueError(f"{name}: the {said} are on {given.device}, but the factors are on {factor.device}")
    _check_shape(name, data, model)
    if isinstance(data, Tensor):
        if data.requires_grad:
            raise ValueError(f"{name} must not require grad; detach it")
        if not torch.isfinite(data).all():
            raise ValueError(f"{name} has NaN or infinite entries; Observed.from_dense takes NaN as missing")
    return data


def describe(data: Data, digest: Digest) -> str:
    """Enough to tell other data: kind, size and a digest."""
    if isinstance(data, Tensor):
        return f"dense {tuple(data.shape)} {digest(data)}"
    if isinstance(data, Measurements):
        return f"{data.kind} of {data.count} {digest([*data.constants, data.target])}"
    return f"observed {data.nnz} of {data.shape} {digest([data.at, data.values, data.weights])}"


def _check_shape(name: str, data: Data, model: Product) -> None:
    shape, trials = model.shape, model.trials
    leading: list[tuple[int, ...]] = [()] if trials is None else [(), (trials,)]
    if isinstance(data, Observed):
        if data.shape != shape:
            raise ValueError(f"{name} has shape {data.shape}, but the model's product is {shape}")
        for part, tensor in (("values", data.values), ("weights", data.weights)):
            if tensor is not None and tuple(tensor.shape[:-1]) not in leading:
                raise ValueError(f"{name}: {part} must be {_or(leading, (data.nnz,))}, got {list(tensor.shape)}")
        return
    if isinstance(data, Tensor):
        said, target = name, data
    else:
        said, target = f"{name}: {data.names[1]}", data.target
        try:
            shape = data.measured_shape(shape)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
    if tuple(target.shape) not in [(*lead, *shape) for lead in leading]:
        raise ValueError(f"{said} must be {_or(leading, shape)}, got {list(target.shape)}")


def _or(leading: list[tuple[int, ...]], shape: tuple[int, ...]) -> str:
    return " or ".join(str([*lead, *shape]) for lead in leading)
