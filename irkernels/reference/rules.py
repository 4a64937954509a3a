"""One update of every active trial, in plain torch: torch.optim.SGD, Adam and AdamW, GroupRMSprop, clipping.

Every hyper-parameter is [T], so that each trial moves as if it had an optimizer of its own.  Half types are computed
in float32 and rounded once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from operator import add
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from irkernels._problem import Rule

Spread = Callable[[Tensor], Tensor]  # [T] -> [T, 1, ...], in the dtype of the arithmetic


def update(rule: Rule, factors: list[Tensor], gradients: Sequence[Tensor], active: Tensor) -> None:
    """Factors [T, ...], moments, v and step, in place; a trial that is not active keeps its own."""
    gradients = clipped(gradients, rule.clip, rule.clip_value)
    rule.step += active
    step = {"sgd": _sgd, "adam": _adam, "group_rmsprop": _group_rmsprop}[rule.kind]
    if rule.kind == "group_rmsprop":
        _running_mean(rule, gradients, active)
    for group, factor, gradient, moments in zip(rule.group, factors, gradients, rule.moments, strict=True):
        p, g = _wide(factor), _wide(gradient)

        def spread(per_trial: Tensor, like: Tensor = p) -> Tensor:
            return per_trial.to(like.dtype).view(-1, *[1] * (like.dim() - 1))

        new = step(rule, group, p, -g if rule.maximize else g, [_wide(m) for m in moments], spread)
        for kept, value in zip([factor, *moments], new, strict=True):
            kept.copy_(torch.where(spread(active) > 0, value.to(kept.dtype), kept))


def clipped(gradients: Sequence[Tensor], clip: Tensor | None, clip_value: Tensor | None) -> Sequence[Tensor]:
    """Gradients [T, ...] as clip_grad_value_ and then clip_grad_norm_ of torch.nn.utils leave them, for each trial."""
    if clip_value is not None:
        bounds = [clip_value.to(g.dtype).view(-1, *[1] * (g.dim() - 1)) for g in gradients]
        gradients = tuple(g.clamp(-bound, bound) for g, bound in zip(gradients, bounds))
    if clip is not None:
        scale = (clip / (_square(gradients).sqrt() + 1e-6)).clamp(max=1.0)
        scales = [scale.to(_wide(g).dtype).view(-1, *[1] * (g.dim() - 1)) for g in gradients]
        gradients = tuple((_wide(g) * s).to(g.dtype) for g, s in zip(gradients, scales))
    return gradients


def _sgd(rule: Rule, group: int, p: Tensor, g: Tensor, moments: list[Tensor], spread: Spread) -> list[Tensor]:
    """Weight decay, momentum with dampening, Nesterov."""
    lr, momentum, dampening, decay = (rule.hyper_of(n)[group] for n in ("lr", "momentum", "dampening", "weight_decay"))
    g = g + spread(decay) * p
    if not moments:
        return [p - spread(lr) * g]
    begins = rule.step[group] == 1
    keep = momentum.where(~begins, 0.0)
    take = (1 - dampening).where(~begins & (momentum != 0), 1.0)  # without momentum torch does not dampen
    velocity = spread(keep) * moments[0] + spread(take) * g
    direction = g + spread(momentum) * velocity if rule.nesterov else velocity
    return [p - spread(lr) * direction, velocity]


def _adam(rule: Rule, group: int, p: Tensor, g: Tensor, moments: list[Tensor], spread: Spread) -> list[Tensor]:
    """Adam, and AdamW where weight decay is decoupled; with a third moment, amsgrad."""
    lr, beta1, beta2, eps, decay = (rule.hyper_of(n)[group] for n in ("lr", "beta1", "beta2", "eps", "weight_decay"))
    if rule.decoupled:
        p = p * spread(1 - lr * decay)
    else:
        g = g + spread(decay) * p
    first = spread(beta1) * moments[0] + spread(1 - beta1) * g
    second = spread(beta2) * moments[1] + spread(1 - beta2) * g * g
    largest = [torch.maximum(most, second) for most in moments[2:]]
    correction1, correction2 = (1 - beta ** rule.step[group] for beta in (beta1, beta2))
    denominator = (largest or [second])[0].sqrt() * spread(1 / correction2.sqrt()) + spread(eps)
    return [p - spread(lr / correction1) * (first / denominator), first, second, *largest]


def _group_rmsprop(rule: Rule, group: int, p: Tensor, g: Tensor, moments: list[Tensor], spread: Spread) -> list[Tensor]:
    """Arora et al. 2019: one scalar step for all factors of a trial; v is float64 whatever the factors are."""
    lr, alpha, eps = (rule.hyper_of(n)[group] for n in ("lr", "alpha", "eps"))
    v = torch.zeros_like(lr) if rule.v is None else rule.v[group]
    corrected = v / (1 - alpha ** rule.step[group])
    return [p - spread(lr / (corrected.sqrt() + eps)) * g]


def _running_mean(rule: Rule, gradients: Sequence[Tensor], active: Tensor) -> None:
    for group, v in enumerate(() if rule.v is None else rule.v):
        square = _square([g for g, mine in zip(gradients, rule.group) if mine == group])
        alpha = rule.hyper_of("alpha")[group]
        v.copy_(torch.where(active, alpha * v + (1 - alpha) * square, v))


def _square(gradients: Sequence[Tensor]) -> Tensor:
    """The squared norm of all of them, float64 [T]."""
    return reduce(add, (g.double().square().unsqueeze(-1).flatten(1).sum(1) for g in gradients))


def _wide(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor
