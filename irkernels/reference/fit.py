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
from irkernels.reference.losses import LOSSES, completion_loss, product_penalties
from irkernels.reference.recording import Watch
from irkernels.reference.rules import update
from irkernels.reference.sampler import batch_of

if TYPE_CHECKING:
    from irkernels._problem import Problem


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
    watch = Watch(problem.watching, steps, lambda: _product(problem, problem.operands))
    for step in range(first, first + steps):
        if not active.any():
            break
        now, gradients = losses_and_gradients(batch_of(problem, step))
        losses = torch.where(active, now, losses)
        active = watch.look(step, losses, active)
        finite = [torch.isfinite(gradient).unsqueeze(-1).flatten(1).all(1) for gradient in gradients]
        broken = active & ~(torch.isfinite(now) & torch.stack(finite).all(0))
        watch.leave(step, losses, broken)
        active = active & ~broken
        update(problem.rule, problem.factors, gradients, active)
        done += active
    if problem.watching.look_back and active.any():
        losses = torch.where(active, losses_and_gradients(batch_of(problem, first + steps))[0], losses)
        watch.look(first + steps, losses, active)
    return losses, done


def losses_and_gradients(problem: Problem) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Each trial's loss on the data [T], and the gradients of that and the penalties, one [T, ...] for each factor."""
    with torch.enable_grad():
        leaves = [factor.detach().requires_grad_() for factor in problem.factors]
        operands = problem.operands_with(leaves)
        equation = problem.trial_equation
        if isinstance(problem.data, Observed):
            losses = completion_loss(equation, *operands, observed=problem.data, loss=problem.loss, delta=problem.delta)
        else:
            losses = dense_loss(einsum(equation, *operands), problem.data, problem.loss, problem.delta, trials=True)
        gradients = torch.autograd.grad((losses + _penalties(problem, operands)).sum(), leaves)
    return losses.detach(), gradients


def _product(problem: Problem, operands: list[Tensor]) -> Tensor:
    """W [T, ...]."""
    own = problem.product.partition("->")[0].count(",") + 1
    return einsum(problem.trial_product, *operands[:own])


def _penalties(problem: Problem, operands: list[Tensor]) -> Tensor | float:
    """ridge ||W||_F^2 + penalty(W) [T]."""
    if problem.ridge is None and problem.penalty is None:
        return 0.0
    product = _product(problem, operands)
    if problem.single:
        return product_penalties(product[0], problem.ridge, problem.penalty, trials=False)[None]
    return product_penalties(product, problem.ridge, problem.penalty, trials=True)


def dense_loss(product: Tensor, target: Tensor, loss: str, delta: float, trials: bool) -> Tensor:
    """The loss over all entries of the product, every one observed: [T] with trials, else a scalar."""
    pointwise = LOSSES[loss](product, target.expand_as(product), delta)
    pointwise = pointwise.reshape(len(pointwise), -1) if trials else pointwise.flatten()
    return pointwise.sum(-1) if loss == "half_sse" else pointwise.mean(-1)
