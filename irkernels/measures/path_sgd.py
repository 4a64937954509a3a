"""Path-SGD: steepest descent in the geometry of the path norm (Neyshabur, Salakhutdinov, Srebro 2015; paper 1)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from irkernels.measures.factors import checked_chain
from irkernels.measures.path_norm import path_scales


class PathSGD(Optimizer):
    """w <- w - lr / kappa(w) dL/dw, kappa of the whole chain (path_scales).

    params: the factors [..., d_j, d_{j+1}] of one chain in matmul order, or parameter groups that are a chain each.
    The step commutes with the rescaling of hidden units, under which the function and the path norm stay the same.  A
    weight that no path passes (kappa = 0) has no gradient either and stays.  p: of the path norm.
    Raises TypeError and ValueError for parameters that are no chain, ValueError for lr and p.
    """

    def __init__(self, params: Iterable[Any], lr: float = 1e-2, p: float = 2) -> None:
        super().__init__(params, {"lr": lr, "p": p})

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        try:
            checked_chain("PathSGD", group["params"])
            for name in ("lr", "p"):
                if not (math.isfinite(group[name]) and group[name] > 0):
                    raise ValueError(f"PathSGD: {name} must be positive and finite, got {group[name]}")
        except (TypeError, ValueError):
            self.param_groups.pop()
            raise

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor] | None = None) -> Tensor | None:  # type: ignore[override]
        """One update of every parameter that has a gradient; closure, if given, reevaluates the loss, returned."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for factor, scale in zip(group["params"], path_scales(group["params"], group["p"])):
                if factor.grad is not None:
                    factor.sub_(
                        group["lr"] * torch.where(scale == 0, 0, factor.grad / torch.where(scale == 0, 1, scale))
                    )
        return loss
