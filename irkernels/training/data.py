"""What a model is fitted to: checked against the model before anything runs, and its loss."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from irkernels.nn.product import Product
from irkernels.observed import Observed
from irkernels.reference.fit import dense_loss
from irkernels.reference.losses import LOSSES


def model_loss(model: Product, data: Observed | Tensor, loss: str, delta: float) -> Tensor:
    """The model's loss on its data, differentiable: a scalar, or [trials]."""
    if isinstance(data, Observed):
        return model.completion_loss(data, loss=loss, delta=delta)
    return dense_loss(model(), data, loss, delta, trials=model.trials is not None)


def checked_loss(loss: Any, delta: Any) -> None:
    if loss not in LOSSES:
        raise ValueError(f"unknown loss {loss!r}; known are {', '.join(LOSSES)}")
    if not delta > 0:
        raise ValueError(f"delta must be positive, got {delta}")


def checked_data(name: str, data: Any, model: Product) -> Observed | Tensor:
    """data that fits the model. Raises TypeError (kind, dtype) and ValueError (shape, device, not finite, grad)."""
    if not isinstance(data, (Observed, Tensor)):
        raise TypeError(f"{name} must be an irkernels.Observed or a tensor (dense target), got {type(data).__name__}")
    factor = model.factors[0]
    given, said = (data.values, "values") if isinstance(data, Observed) else (data, "target")
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


def _check_shape(name: str, data: Observed | Tensor, model: Product) -> None:
    shape, trials = model.shape, model.trials
    leading = [()] if trials is None else [(), (trials,)]
    if isinstance(data, Observed):
        if data.shape != shape:
            raise ValueError(f"{name} has shape {data.shape}, but the model's product is {shape}")
        for part, tensor in (("values", data.values), ("weights", data.weights)):
            if tensor is not None and tuple(tensor.shape[:-1]) not in leading:
                raise ValueError(f"{name}: {part} must be {_or(leading, (data.nnz,))}, got {list(tensor.shape)}")
    elif tuple(data.shape) not in [(*lead, *shape) for lead in leading]:
        raise ValueError(f"{name} must be {_or(leading, shape)}, got {list(data.shape)}")


def _or(leading: list[tuple[int, ...]], shape: tuple[int, ...]) -> str:
    return " or ".join(str([*lead, *shape]) for lead in leading)
