"""Optimizer steps of many trials at once, in plain torch: what every native step loop must equal.

Trials never meet: losses are one a trial, so the gradient of their sum is each trial's own gradient, and a trial that
has stopped is masked out of every update.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from irkernels.observed import Observed
from irkernels.reference.einsum import einsum
from irkernels.reference.losses import LOSSES, completion_loss
from irkernels.reference.recording import Watch

if TYPE_CHECKING:
    from irkernels._problem import Problem, Rule


def fit_steps(problem: Problem, steps: int) -> tuple[Tensor, Tensor]:
    """Up to `steps` updates of every active trial, in place: (losses [T], done [T] int64).

    losses[t] is the loss at the start of the last step that trial t attempted (NaN where it attempted none) and
    done[t] the updates it made; a trial whose loss or gradient is not finite stops there, its factors as they are.
    What problem.watching asks for is noted in it.
    """
    active = problem.active.clone()
    losses = torch.full(active.shape, torch.nan, dtype=problem.factors[0].dtype, device=active.device)
    done = torch.zeros_like(active, dtype=torch.int64)
    problem.watching.prepare(steps, active.device)
    first = problem.watching.first
    watch = Watch(problem.watching, steps, lambda: einsum(problem.trial_equation, *problem.operands))
    for step in range(first, first + steps):
        if not active.any():
            break
        now, gradients = losses_and_gradients(problem)
        losses = torch.where(active, now, losses)
        active = watch.look(step, losses, active)
        finite = [torch.isfinite(gradient).flatten(1).all(1) for gradient in gradients]
        broken = active & ~(torch.isfinite(now) & torch.stack(finite).all(0))
        watch.leave(step, losses, broken)
        active = active & ~broken
        _update(problem.rule, problem.factors, gradients, active)
        done += active
    if problem.watching.look_back and active.any():
        losses = torch.where(active, losses_and_gradients(problem)[0], losses)
        watch.look(first + steps, losses, active)
    return losses, done


def losses_and_gradients(problem: Problem) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Each trial's loss [T], and its gradients, one [T, ...] for each factor."""
    with torch.enable_grad():
        leaves = [factor.detach().requires_grad_() for factor in problem.factors]
        rest = iter(leaves)
        operands = [
            problem.constants[p] if p in problem.constants else next(rest) for p in range(len(problem.operands))
        ]
        equation = problem.trial_equation
        if isinstance(problem.data, Observed):
            losses = completion_loss(equation, *operands, observed=problem.data, loss=problem.loss, delta=problem.delta)
        else:
            losses = dense_loss(einsum(equation, *operands), problem.data, problem.loss, problem.delta, trials=True)
        gradients = torch.autograd.grad(losses.sum(), leaves)
    return losses.detach(), gradients


def dense_loss(product: Tensor, target: Tensor, loss: str, delta: float, trials: bool) -> Tensor:
    """The loss over all entries of the product, every one observed: [T] with trials, else a scalar."""
    pointwise = LOSSES[loss](product, target.expand_as(product), delta)
    pointwise = pointwise.reshape(len(pointwise), -1) if trials else pointwise.flatten()
    return pointwise.sum(-1) if loss == "half_sse" else pointwise.mean(-1)


def _update(rule: Rule, factors: list[Tensor], gradients: tuple[Tensor, ...], active: Tensor) -> None:
    directions, rates = (_sgd if rule.kind == "sgd" else _group_rmsprop)(rule, factors, gradients, active)
    for factor, direction in zip(factors, directions):
        moved = factor - _spread(rates, factor) * direction
        factor.copy_(torch.where(_spread(active, factor), moved, factor))
    rule.step += active


def _sgd(
    rule: Rule, factors: list[Tensor], gradients: tuple[Tensor, ...], active: Tensor
) -> tuple[list[Tensor], Tensor]:
    """torch.optim.SGD: weight decay, momentum with dampening, Nesterov."""
    sign = -1.0 if rule.maximize else 1.0
    directions = [sign * gradient + rule.weight_decay * factor for factor, gradient in zip(factors, gradients)]
    if rule.momentum == 0:
        return directions, rule.lr
    if rule.momentum_buffers is None:
        before, buffers = directions, directions
    else:
        before = rule.momentum_buffers
        buffers = [rule.momentum * b + (1 - rule.dampening) * d for b, d in zip(before, directions)]
    rule.momentum_buffers = [torch.where(_spread(active, b), b, a) for a, b in zip(before, buffers)]
    if rule.nesterov:
        return [d + rule.momentum * b for d, b in zip(directions, buffers)], rule.lr
    return buffers, rule.lr


def _group_rmsprop(
    rule: Rule, factors: list[Tensor], gradients: tuple[Tensor, ...], active: Tensor
) -> tuple[list[Tensor], Tensor]:
    """GroupRMSprop (the code of Arora et al. 2019): one scalar step for all factors of a trial; v is kept in float64 whatever the factors are."""
    square = sum(gradient.double().square().flatten(1).sum(1) for gradient in gradients)
    v = rule.alpha * rule.v + (1 - rule.alpha) * square
    rule.v = torch.where(active, v, rule.v)
    step = (rule.step + 1).double()
    corrected = v / (1 - rule.alpha**step)
    return list(gradients), rule.lr / (corrected.sqrt() + rule.eps)


def _spread(per_trial: Tensor, like: Tensor) -> Tensor:
    """[T] -> [T, 1, ...], in the factor's dtype unless it is a mask."""
    spread = per_trial.view(-1, *[1] * (like.dim() - 1))
    return spread if spread.dtype == torch.bool else spread.to(like.dtype)
