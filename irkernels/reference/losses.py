"""Losses over observed entries: residual r = prediction - value, weights w (1 where none are given).

mse = sum w r^2 / sum w    half_sse = sum w r^2 / 2    l1 = sum w |r| / sum w    huber = sum w h(r) / sum w,
h(r) = r^2 / 2 where |r| <= delta, else delta (|r| - delta / 2)   (torch.nn.functional.huber_loss, which torch
differentiates in fewer ways).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from irkernels.observed import Observed
from irkernels.reference.entries import entries
from irkernels.reference.equation import read_equation


def _huber(residual: Tensor, delta: float) -> Tensor:
    clamped = residual.clamp(-delta, delta)
    return clamped * (residual - clamped / 2)


LOSSES: dict[str, Callable[[Tensor, Tensor, float], Tensor]] = {
    "mse": lambda prediction, value, delta: (prediction - value) ** 2,
    "half_sse": lambda prediction, value, delta: (prediction - value) ** 2 / 2,
    "l1": lambda prediction, value, delta: (prediction - value).abs(),
    "huber": lambda prediction, value, delta: _huber(prediction - value, delta),
}


def completion_loss(
    equation: str, *operands: Tensor, observed: Observed, loss: str = "mse", delta: float = 1.0
) -> Tensor:
    """The loss of the product at its observed entries, W never formed: the shape of the output's `...`, else a scalar.

    operands: as for einsum.  observed: values in the operands' dtype, [nnz] or broadcast against [..., nnz]; an entry
    of weight 0 is not observed in that trial, even where its prediction is not finite.
    Differentiable in the operands to any order.  Raises what entries raises, TypeError for what is not an Observed or
    of another dtype, ValueError for an unknown loss, a delta that is not positive, values or weights of unfit shape.
    """
    read = read_equation(equation, operands)
    check_loss(read.dense, operands[0], observed, loss, delta)
    prediction = entries(equation, *operands, at=observed)
    return observed_loss(prediction, observed.values, observed.weights, loss, delta)


def observed_loss(
    prediction: Tensor, values: Tensor, weights: Tensor | None, loss: str, delta: float
) -> Tensor:
    """[...] from predictions [..., nnz] of the observed entries; where a weight is 0, the prediction drops out."""
    values = values.expand_as(prediction)
    if weights is None:
        pointwise = LOSSES[loss](prediction, values, delta)
        return pointwise.sum(-1) if loss == "half_sse" else pointwise.mean(-1)
    seen = torch.where(weights == 0, values, prediction)  # 0 times a NaN or an infinity would be NaN
    weighted = weights * LOSSES[loss](seen, values, delta)
    return weighted.sum(-1) if loss == "half_sse" else weighted.sum(-1) / _or_one(weights.sum(-1))


def _or_one(total: Tensor) -> Tensor:
    """A mini-batch may have nothing of what a trial observes: its loss is then 0."""
    return torch.where(total == 0, torch.ones_like(total), total)


def product_penalties(
    product: Tensor, ridge: Tensor | None, penalty: Callable[[Tensor], Tensor] | None, trials: bool
) -> Tensor:
    """ridge ||W||_F^2 + penalty(W): a scalar, or [trials]. ridge: float64 [T], one a trial; either may be None.

    Raises TypeError and ValueError for a penalty that is not one number, or one for each trial.
    """
    total = product.new_zeros(product.shape[: int(trials)])
    if ridge is not None:
        square = product.square().flatten(int(trials)).sum(-1) if product.dim() > int(trials) else product.square()
        total = total + (ridge.to(product.dtype) if trials else ridge[0].to(product.dtype)) * square
    if penalty is None:
        return total
    value = penalty(product)
    if not isinstance(value, Tensor):
        raise TypeError(f"penalty must give a tensor, got {type(value).__name__}")
    if value.shape != total.shape:
        raise ValueError(f"penalty must give {_numbers(total)}, got shape {list(value.shape)}")
    return total + value


def _numbers(total: Tensor) -> str:
    return f"[{len(total)}], one number for each trial" if total.dim() else "one number"


def check_loss(dense: tuple[int, ...], operand: Tensor, observed: Any, loss: str, delta: float) -> None:
    """Raises what completion_loss says of its observed, loss and delta; dense: the extents of the output's `...`."""
    if not isinstance(observed, Observed):
        raise TypeError(f"observed must be an irkernels.Observed, got {type(observed).__name__}")
    if not isinstance(loss, str) or loss not in LOSSES:
        raise ValueError(f"unknown loss {loss!r}; known are {', '.join(LOSSES)}")
    try:
        positive = float(delta) > 0
    except (TypeError, ValueError, RuntimeError):
        raise TypeError(f"delta must be a number, got {type(delta).__name__}") from None
    if not positive:
        raise ValueError(f"delta must be positive, got {delta}")
    if observed.dtype != operand.dtype:
        raise TypeError(
            f"observed values are {observed.dtype}, but the operands are {operand.dtype}; convert with .to()"
        )
    if observed.device != operand.device:
        raise ValueError(f"observed is on {observed.device}, but operand 0 is on {operand.device}; move it with .to()")
    for name, tensor in (("values", observed.values), ("weights", observed.weights)):
        if tensor is None:
            continue
        leading = tensor.shape[:-1]
        if len(leading) > len(dense) or any(a not in (1, b) for a, b in zip(reversed(leading), reversed(dense))):
            raise ValueError(
                f"observed {name} are {list(tensor.shape)}, but the output's `...` is {list(dense)}:"
                f" expected {[*dense, observed.nnz]} or [{observed.nnz}]"
            )
