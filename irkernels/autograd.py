"""Derivative rules: each verb as an autograd Function whose pullback is itself made of differentiable verbs.

    pullback of the product      the gradients verb
    pullback of the gradients    with tangents u_i, S = <G, sum_i P(.., u_i, ..)> is differentiated:
                                 dS/dG = sum_i P(.., u_i, ..),  dS/dfactor_j = sum_{i != j} gradient_j at (.., u_i, ..)

The fast route (no graph asked for) reads the intermediates that forward kept; every other route starts from the operands.
"""

from __future__ import annotations

from functools import reduce
from operator import add

import torch
from torch import Tensor
from torch.autograd import Function

from irkernels import _launch, reference
from irkernels.copies import Copies, is_copied
from irkernels.gather import gathered
from irkernels.observed import Coordinates, Observed


def product(equation: str, operands: tuple[Tensor, ...], at: Coordinates | None = None) -> Tensor:
    """P(operands), or its entries at the coordinates, differentiable in the operands."""
    if any(map(is_copied, operands)):
        copies = Copies.of(operands)
        spread = copies.spread(equation, operands)
        return copies.wrap(product(spread.equation, spread.operands, at), spread.output_axis if at is None else 0)
    if at is not None and _launch.prefers_gather(equation, operands, at):
        return product(*gathered(equation, operands, at))
    wanted = _wanted(operands)
    if not any(wanted):
        return _launch.value(equation, operands, at)
    return _apply(_Product, equation, wanted, at, *operands)[0]


def gradients(
    equation: str, wanted: tuple[bool, ...], operands: tuple[Tensor, ...], cotangent: Tensor, at: Coordinates | None = None
) -> tuple[Tensor | None, ...]:
    """The wanted gradients, differentiable in the operands and the cotangent."""
    if any(map(is_copied, (cotangent, *operands))):
        copies = Copies.of((cotangent, *operands))
        spread = copies.spread(equation, operands)
        moved = copies.unwrap(cotangent).movedim(0, spread.output_axis if at is None else 0)
        found = gradients(spread.equation, wanted, spread.operands, moved, at)
        return tuple(
            None if g is None else copies.wrap(g.movedim(axis, 0).reshape(copies.count, *operand.shape), 0)
            for g, axis, operand in zip(found, spread.axes, operands)
        )
    if at is not None and _launch.prefers_gather(equation, operands, at):
        return _gathered_gradients(equation, wanted, operands, cotangent, at)
    if not torch.is_grad_enabled() or not (cotangent.requires_grad or any(_wanted(operands))):
        return _launch.gradients(equation, wanted, operands, cotangent, at)
    return _apply(_Gradients, equation, wanted, at, cotangent, *operands)


def completion_loss(equation: str, operands: tuple[Tensor, ...], observed: Observed, kind: str, delta: float) -> Tensor:
    """The loss at the observed entries, differentiable in the operands."""
    if _launch.prefers_gather(equation, operands, observed.coordinates):
        return reference.observed_loss(product(equation, operands, observed.coordinates), observed, kind, delta)
    wanted = _wanted(operands)
    if not any(wanted):
        return _launch.loss(equation, wanted, operands, observed, kind, delta)[0]
    return _apply(_CompletionLoss, equation, wanted, observed, kind, delta, *operands)[0]


def _gathered_gradients(
    equation: str, wanted: tuple[bool, ...], operands: tuple[Tensor, ...], cotangent: Tensor, at: Coordinates
) -> tuple[Tensor | None, ...]:
    graph = torch.is_grad_enabled()
    with torch.enable_grad():  # views of their own, so that an operand made from another one is not differentiated twice
        own = tuple(o.view_as(o) if graph and o.requires_grad else o.detach().requires_grad_() for o in operands)
        entries = product(*gathered(equation, own, at))
        asked = [o for o, w in zip(own, wanted) if w]
        found = iter(torch.autograd.grad(entries, asked, cotangent, create_graph=graph, materialize_grads=True))
    return tuple(next(found) if w else None for w in wanted)


class _Product(Function):
    @staticmethod
    def forward(equation, wanted, at, *operands):
        return _launch.forward(equation, wanted, operands, at)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.equation, ctx.wanted, ctx.at = inputs[:3]
        if output[1] is not None:
            ctx.mark_non_differentiable(output[1])
        ctx.set_materialize_grads(False)  # else torch fills a cotangent of what is kept with zeros
        ctx.save_for_backward(output[1], *inputs[3:])

    @staticmethod
    def backward(ctx, cotangent, _):
        saved, *operands = ctx.saved_tensors
        if cotangent is None:
            return (None,) * (3 + len(operands))
        operands = tuple(operands)
        if torch.is_grad_enabled() or is_copied(cotangent):
            found = gradients(ctx.equation, ctx.wanted, operands, cotangent, ctx.at)
        else:
            found = _launch.backward(ctx.equation, ctx.wanted, operands, saved, cotangent, ctx.at)
        return None, None, None, *found


class _Gradients(Function):
    @staticmethod
    def forward(equation, wanted, at, cotangent, *operands):
        return _launch.gradients(equation, wanted, operands, cotangent, at)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.equation, ctx.wanted, ctx.at = inputs[:3]
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*inputs[3:])

    @staticmethod
    def backward(ctx, *tangents):
        cotangent, *operands = ctx.saved_tensors
        needs_cotangent, *needs = ctx.needs_input_grad[3:]
        products, pulled = [], []
        for i, tangent in enumerate(tangents):
            if tangent is None:
                continue
            moved = (*operands[:i], tangent, *operands[i + 1 :])
            if needs_cotangent:
                products.append(product(ctx.equation, moved, ctx.at))
            wanted = tuple(need and j != i for j, need in enumerate(needs))
            if any(wanted):
                pulled.append(gradients(ctx.equation, wanted, moved, cotangent, ctx.at))
        return None, None, None, _sum(products), *(_sum([p[j] for p in pulled if p[j] is not None]) for j in range(len(operands)))


class _CompletionLoss(Function):
    @staticmethod
    def forward(equation, wanted, observed, kind, delta, *operands):
        return _launch.loss(equation, wanted, operands, observed, kind, delta)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.equation, ctx.wanted, ctx.observed, ctx.kind, ctx.delta = inputs[:5]
        ctx.mark_non_differentiable(*(t for t in output[1:] if t is not None))
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(output[1], output[2], *inputs[5:])

    @staticmethod
    def backward(ctx, upstream, *_):
        slope, saved, *operands = ctx.saved_tensors
        if upstream is None:
            return (None,) * (5 + len(operands))
        operands, at = tuple(operands), ctx.observed.coordinates
        if torch.is_grad_enabled():
            entries = product(ctx.equation, operands, at)
            cotangent = upstream.unsqueeze(-1) * _slope(entries, ctx.observed, ctx.kind, ctx.delta)
            found = gradients(ctx.equation, ctx.wanted, operands, cotangent, at)
        elif is_copied(upstream):
            cotangent = upstream.unsqueeze(-1) * slope.to(upstream.dtype)
            found = gradients(ctx.equation, ctx.wanted, operands, cotangent, at)
        else:
            cotangent = upstream.to(slope.dtype).unsqueeze(-1) * slope
            found = _launch.backward(ctx.equation, ctx.wanted, operands, saved, cotangent, at)
        return None, None, None, None, None, *found


def _apply(function: type[Function], *inputs):
    """function.apply; outside torch.func transforms without its signature check, which takes longer than small products."""
    if torch._C._are_functorch_transforms_active():
        return function.apply(*inputs)
    return super(Function, function).apply(*inputs)


def _wanted(operands: tuple[Tensor, ...]) -> tuple[bool, ...]:
    return tuple(operand.requires_grad for operand in operands) if torch.is_grad_enabled() else (False,) * len(operands)


def _sum(terms: list[Tensor]) -> Tensor | None:
    return reduce(add, terms) if terms else None


def _slope(entries: Tensor, observed: Observed, kind: str, delta: float) -> Tensor:
    """dL/d(entries) of csrc/steps/loss.h, in differentiable torch."""
    residual = entries - observed.values
    weights = torch.ones_like(observed.values[..., :]) if observed.weights is None else observed.weights
    if kind == "half_sse":
        return weights * residual
    slope = {"mse": lambda: 2 * residual, "l1": residual.sign, "huber": lambda: residual.clamp(-delta, delta)}[kind]()
    return weights * slope / weights.sum(-1, keepdim=True)
