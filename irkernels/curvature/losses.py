"""A loss as a function of the product's entries: its slope G = dL/dy, and how the slope moves with them, H_L[dy].

    mse 2 w r / sum w        half_sse w r      l1 w sign(r) / sum w      huber w clamp(r, -delta, delta) / sum w
    H_L  2 w / sum w                  w           0                            w [|r| <= delta] / sum w

with r the residual and w the weights (1 without); l1 and huber at their kinks as torch differentiates them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from irkernels._arguments import number
from irkernels.reference.losses import LOSSES

Bend = Callable[[Tensor], Tensor]  # dy -> H_L[dy]


@dataclass(frozen=True)
class Pointwise:
    """One of irk's losses over entries y [..., *entries], each observed with a weight (None: 1), as completion_loss.

    values: broadcast against y.  axes: how many trailing axes of y one loss runs over.
    """

    kind: str
    delta: float
    values: Tensor
    weights: Tensor | None
    axes: int

    def slope_and_bend(self, y: Tensor) -> tuple[Tensor, Bend | None]:
        """G, and the map H_L (None: zero everywhere)."""
        residual = y - self.values
        scale = self._scale(y)
        if self.weights is not None:
            residual = residual.where(self.weights != 0, 0)  # 0 times what is not finite would be NaN
        if self.kind == "l1":
            return scale * residual.sign(), None
        if self.kind != "huber":
            scale = 2 * scale if self.kind == "mse" else scale
            return scale * residual, self._bend(scale)
        inside = (residual.abs() <= self.delta).to(residual.dtype)
        return scale * residual.clamp(-self.delta, self.delta), self._bend(scale * inside)

    def _bend(self, scale: Tensor | float) -> Bend:
        if self.weights is None:
            return lambda dy: scale * dy
        counted = self.weights != 0
        return lambda dy: scale * dy.where(counted, 0)

    def _scale(self, y: Tensor) -> Tensor | float:
        """w over the sum of weights; w alone of half_sse."""
        if self.kind == "half_sse":
            return 1.0 if self.weights is None else self.weights
        if self.weights is None:
            return 1.0 / max(1, y.shape[y.dim() - self.axes :].numel())
        total = self.weights.sum(tuple(range(-self.axes, 0)), keepdim=True)
        return self.weights / torch.where(total == 0, torch.ones_like(total), total)


@dataclass(frozen=True)
class Callback:
    """Any twice differentiable function of the dense product W: one number, or one for each trial."""

    function: Callable[[Tensor], Tensor]

    def slope_and_bend(self, W: Tensor) -> tuple[Tensor, Bend | None]:
        recorded = torch.is_grad_enabled()
        with torch.enable_grad():
            W = W if W.requires_grad else W.detach().requires_grad_()
            value = self.function(W)
            if not isinstance(value, Tensor) or not value.requires_grad:
                raise TypeError(
                    "loss must be a differentiable function of W that gives a tensor, one number for each trial"
                )
            (slope,) = torch.autograd.grad(value.sum(), W, create_graph=True)

        def bend(dW: Tensor) -> Tensor:
            if not slope.requires_grad:  # linear in W
                return torch.zeros_like(dW)
            (moved,) = torch.autograd.grad(slope, W, dW, retain_graph=True, create_graph=recorded, allow_unused=True)
            return torch.zeros_like(dW) if moved is None else moved

        return slope if recorded else slope.detach(), bend


def checked_loss(loss: Any, delta: Any, on_data: bool) -> None:
    """Raises ValueError and TypeError for a loss that is neither a known name on data nor a function of W without."""
    if on_data:
        if not isinstance(loss, str) or loss not in LOSSES:
            raise ValueError(f"unknown loss {loss!r}; known are {', '.join(LOSSES)}")
        if not number("delta", delta) > 0:
            raise ValueError(f"delta must be positive, got {delta}")
    elif not callable(loss):
        raise ValueError("data is needed: observed=, target=, or a function of W as loss= (which takes neither)")
