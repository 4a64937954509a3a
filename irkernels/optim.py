"""Optimizers of the papers that torch.optim lacks."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import reduce
from operator import add
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from irkernels._arguments import integer, number, per_trial, strided


class GroupRMSprop(Optimizer):
    """One scalar step size for all parameters, from the running mean of the squared gradient norm.

        v <- alpha v + (1 - alpha) sum_p ||g_p||^2;   p <- p - lr / (sqrt(v / (1 - alpha^step)) + eps) g_p

    params: as for any torch optimizer; the sum runs over one parameter group.  trials: where parameters carry a
    leading axis of independent copies, its length: the sum is then taken per trial, so that trials never couple.  By
    default the parameters say so themselves (those of irkernels' modules do).  lr: a number, or a tensor [trials].  v
    [trials] (a scalar without trials) is float64 whatever the parameters are; it and `step` (int64) are the first
    parameter's state.

    Because the step is a common scalar it only rescales time: balancedness is conserved as under gradient descent.
    Source: Arora, Cohen, Hu, Luo, Implicit Regularization in Deep Matrix Factorization (2019), `opt.py` of their
    code, with eps 1e-4; 1e-6 in Razin, Cohen (2020) and Razin, Maman, Cohen (2021, 2022).
    Raises ValueError and TypeError naming the argument or the parameter by position.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 1e-3,
        alpha: float = 0.99,
        eps: float = 1e-6,
        trials: int | None = None,
    ) -> None:
        super().__init__(params, {"lr": lr, "alpha": alpha, "eps": eps, "trials": trials})

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        super().add_param_group(param_group)
        try:
            _check_group(self.param_groups[-1])
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
            self._step_group(group)
        return loss

    def _step_group(self, group: dict[str, Any]) -> None:
        moving = [p for p in group["params"] if p.grad is not None]
        if not moving:
            return
        state = self.group_state(group)
        alpha, trials = group["alpha"], group["trials"]
        square = reduce(add, (_square(p.grad, trials) for p in moving))
        state["v"].mul_(alpha).add_(square.to(state["v"]), alpha=1 - alpha)
        state["step"] += 1
        corrected = state["v"] / (1 - alpha ** state["step"].double())
        lr = torch.as_tensor(group["lr"], dtype=torch.float64, device=state["v"].device)
        rate = lr / (corrected.sqrt() + group["eps"])  # [trials] or a scalar
        for p in moving:
            spread = rate if trials is None else rate.expand(trials).view(-1, *[1] * (p.dim() - 1))
            p.sub_(spread.to(p) * p.grad)

    def group_state(self, group: dict[str, Any]) -> dict[str, Tensor]:
        """A group's `v` (float64) and `step` (int64), [trials] or scalars, begun at zero if there are none yet."""
        first = group["params"][0]
        state: dict[str, Tensor] = self.state[first]
        if not state:
            shape = () if group["trials"] is None else (group["trials"],)
            state["step"] = torch.zeros(shape, dtype=torch.int64, device=first.device)
            state["v"] = torch.zeros(shape, dtype=torch.float64, device=first.device)
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        for group, saved in zip(self.param_groups, state_dict["param_groups"]):
            # torch has cast v to the parameter's dtype; in float32 the next step would differ
            for key, kept in state_dict["state"].get(saved["params"][0], {}).items():
                self.state[group["params"][0]][key] = kept.to(group["params"][0].device, copy=True)


def _square(gradient: Tensor, trials: int | None) -> Tensor:
    """The squared norm in float64: [trials] or a scalar."""
    if gradient.is_sparse:
        raise TypeError("GroupRMSprop does not take sparse gradients")
    square = gradient.double().square()
    return square.sum() if trials is None else square.unsqueeze(-1).flatten(1).sum(1)


def _check_group(group: dict[str, Any]) -> None:
    group["trials"] = trials = _group_trials(group)
    for position, p in enumerate(group["params"]):
        strided(f"parameter {position}", p)
        if not p.is_floating_point():
            raise TypeError(f"parameter {position} must be real floating-point, got {p.dtype}")
        if p.device != group["params"][0].device:
            raise ValueError(
                f"parameter {position} is on {p.device}, but parameter 0 is on {group['params'][0].device}"
            )
        if trials is not None and (p.dim() == 0 or p.shape[0] != trials):
            raise ValueError(
                f"parameter {position} must be [{trials}, ...], one copy for each trial, got {list(p.shape)}"
            )
    per_trial("lr", group["lr"], trials)
    if not 0 <= number("alpha", group["alpha"]) < 1:
        raise ValueError(f"alpha must be in [0, 1), got {group['alpha']}")
    if number("eps", group["eps"]) < 0:
        raise ValueError(f"eps must be finite and not negative, got {group['eps']}")


def _group_trials(group: dict[str, Any]) -> int | None:
    if group["trials"] is not None:
        return integer("trials", group["trials"], 1)
    said = [getattr(p, "trials", None) for p in group["params"]]
    for position, trials in enumerate(said):
        if trials != said[0]:
            raise ValueError(
                f"parameter {position} has {_trials(trials)}, but parameter 0 has {_trials(said[0])};"
                " put them into parameter groups of their own"
            )
    return said[0]


def _trials(trials: int | None) -> str:
    return "no trial axis" if trials is None else f"{trials} trials"
