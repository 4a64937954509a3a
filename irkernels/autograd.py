"""Derivative rules: each verb as an autograd Function whose pullback and pushforward are made of differentiable verbs.

    product      pullback      the gradients verb
                 pushforward   sum_i P(.., u_i, ..) for tangents u_i
    gradients    pullback      of S = <G, sum_i P(.., u_i, ..)>:
                               dS/dG = sum_i P(.., u_i, ..),  dS/dfactor_j = sum_{i != j} gradient_j at (.., u_i, ..)
                 pushforward   gradients at dG, and sum_{i != j} gradient_j at (.., u_i, ..)

Three lanes. Plain tensors: forward keeps the intermediates that backward reads. Transformed ones (torch.func, forward
mode): nothing is kept, every rule starts from the operands. Copies (vmap, legacy batching): one product of all, see
copies.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import reduce
from operator import add
from typing import Any

import torch
from torch import Tensor
from torch._functorch.utils import unwrap_dead_wrappers
from torch.autograd import Function, forward_ad
from torch.autograd.forward_ad import _set_fwd_grad_enabled

from irkernels import execute, reference
from irkernels.copies import Copies, Spread, is_copied
from irkernels.gather import gathered, scattered
from irkernels.observed import Coordinates, Observed

Wanted = tuple[bool, ...]


def product(equation: str, operands: tuple[Tensor, ...], at: Coordinates | None = None) -> Tensor:
    """P(operands), or its entries at the coordinates, differentiable in the operands."""
    if any(map(is_copied, operands)):
        copies = Copies.of(operands)
        return copies.hide(*_product_of_copies(equation, *copies.bring_out(operands), at))
    if transformed():
        if at is not None and at.hidden:
            return product(*gathered(equation, operands, at))
        output: Tensor = _Product.apply(equation, at, *operands)  # type: ignore[no-untyped-call]
        return output
    if at is not None and execute.prefers_gather(equation, operands, at):
        return product(*gathered(equation, operands, at))
    wanted = _wanted(operands)
    if not any(wanted):
        return execute.value(equation, operands, at)
    kept: tuple[Tensor, Tensor | None] = _apply(_KeepingProduct, equation, wanted, at, *operands)
    return kept[0]


def gradients(
    equation: str, wanted: Wanted, operands: tuple[Tensor, ...], cotangent: Tensor, at: Coordinates | None = None
) -> tuple[Tensor | None, ...]:
    """The wanted gradients, differentiable in the operands and the cotangent."""
    if any(map(is_copied, (cotangent, *operands))):
        copies = Copies.of((cotangent, *operands))
        found = _gradients_of_copies(equation, wanted, *copies.bring_out((cotangent, *operands)), copies.count, at)
        return tuple(None if gradient is None else copies.hide(gradient, 0) for gradient in found)
    if transformed():
        if at is not None and at.hidden:
            rows_equation, rows = gathered(equation, operands, at)
            return scattered(equation, operands, at, gradients(rows_equation, wanted, rows, cotangent))
        pulled: tuple[Tensor | None, ...] = _Gradients.apply(  # type: ignore[no-untyped-call]
            equation, wanted, at, cotangent, *operands
        )
        return pulled
    if not torch.is_grad_enabled() or not (cotangent.requires_grad or any(_wanted(operands))):
        return _gradients(equation, wanted, operands, cotangent, at)
    recorded: tuple[Tensor | None, ...] = _apply(_Gradients, equation, wanted, at, cotangent, *operands)
    return recorded


def completion_loss(equation: str, operands: tuple[Tensor, ...], observed: Observed, kind: str, delta: float) -> Tensor:
    """The loss at the observed entries, differentiable in the operands."""
    if transformed() or execute.prefers_gathered_loss(equation, operands, observed.coordinates):
        return _loss_of_entries(equation, operands, observed, kind, delta)
    wanted = _wanted(operands)
    if not any(wanted):
        return execute.loss(equation, wanted, operands, observed, kind, delta)[0]
    kept: tuple[Tensor, ...] = _apply(_CompletionLoss, equation, wanted, observed, kind, delta, *operands)
    return kept[0]


def without(only: int, operands: Sequence[Tensor], kept: Tensor | None) -> tuple[Tensor, ...]:
    """The operands as backward is to have them where one alone wants a gradient, which is linear and does not read it.

    So it may change meanwhile, and its memory is let go of, unless kept intermediates lie as its strides have it.
    """
    unread = operands[only].new_zeros(()).expand(operands[only].shape) if kept is None else operands[only].data
    return (*operands[:only], unread, *operands[only + 1 :])


def transformed() -> bool:
    """Whether a torch.func transform or a forward-mode level is in force: a tensor may be more than its memory."""
    return torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0


class _Product(Function):
    """The product of transformed tensors."""

    @staticmethod
    def forward(equation: str, at: Coordinates | None, *operands: Tensor) -> Tensor:
        if at is not None and execute.prefers_gather(equation, operands, at):
            return execute.value(*gathered(equation, operands, at))
        return execute.value(equation, operands, at)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.equation, ctx.at, *operands = inputs
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*operands)
        ctx.save_for_forward(*operands)

    @staticmethod
    def backward(ctx: Any, cotangent: Tensor | None) -> tuple[Tensor | None, ...]:
        wanted = ctx.needs_input_grad[2:]
        if cotangent is None:
            return (None,) * (2 + len(wanted))
        return None, None, *gradients(ctx.equation, wanted, unwrap_dead_wrappers(ctx.saved_tensors), cotangent, ctx.at)

    @staticmethod
    def jvp(ctx: Any, _equation: None, _at: None, *tangents: Tensor | None) -> Tensor | None:
        pushed = [product(ctx.equation, moved, ctx.at) for _, moved in _moved(ctx.saved_tensors, tangents)]
        with _set_fwd_grad_enabled(True):  # torch turns all levels off in here, but outer ones see this sum
            return _sum(pushed)

    @staticmethod
    def vmap(
        _info: Any, in_dims: tuple[int | None, ...], equation: str, at: Coordinates | None, *operands: Tensor
    ) -> tuple[Tensor, int]:
        return _product_of_copies(equation, *_copies_first(operands, in_dims[2:]), at)


class _Gradients(Function):
    @staticmethod
    def forward(
        equation: str, wanted: Wanted, at: Coordinates | None, cotangent: Tensor, *operands: Tensor
    ) -> tuple[Tensor | None, ...]:
        return _gradients(equation, wanted, operands, cotangent, at)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor | None, ...]) -> None:
        ctx.equation, ctx.wanted, ctx.at, *tensors = inputs
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*tensors)
        ctx.save_for_forward(*tensors)

    @staticmethod
    def backward(ctx: Any, *tangents: Tensor | None) -> tuple[Tensor | None, ...]:
        cotangent, *operands = unwrap_dead_wrappers(ctx.saved_tensors)
        needs_cotangent, *needs = ctx.needs_input_grad[3:]
        moved = list(_moved(operands, tangents))
        products = [product(ctx.equation, others, ctx.at) for _, others in moved] if needs_cotangent else []
        pulled = _second(ctx.equation, needs, moved, cotangent, ctx.at)
        return None, None, None, _sum(products), *_sum_each(pulled, len(operands))

    @staticmethod
    def jvp(
        ctx: Any, _equation: None, _wanted: None, _at: None, tangent: Tensor | None, *tangents: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        cotangent, *operands = ctx.saved_tensors
        pushed = _second(ctx.equation, ctx.wanted, _moved(operands, tangents), cotangent, ctx.at)
        if tangent is not None:
            pushed.append(gradients(ctx.equation, ctx.wanted, tuple(operands), tangent, ctx.at))
        zeros = (torch.zeros_like(operand) if w else None for operand, w in zip(operands, ctx.wanted))
        with _set_fwd_grad_enabled(True):
            sums = _sum_each(pushed, len(operands))
        return tuple(zero if each is None else each for each, zero in zip(sums, zeros))  # none may be missing

    @staticmethod
    def vmap(
        info: Any,
        in_dims: tuple[int | None, ...],
        equation: str,
        wanted: Wanted,
        at: Coordinates | None,
        *tensors: Tensor,
    ) -> tuple[tuple[Tensor | None, ...], tuple[int | None, ...]]:
        found = _gradients_of_copies(equation, wanted, *_copies_first(tensors, in_dims[3:]), info.batch_size, at)
        return found, tuple(None if gradient is None else 0 for gradient in found)


class _KeepingProduct(Function):
    """The product of plain tensors; backward reads the intermediates that forward kept, unless a graph is wanted."""

    @staticmethod
    def forward(
        equation: str, wanted: Wanted, at: Coordinates | None, *operands: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        return execute.forward(equation, wanted, operands, at)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor | None]) -> None:
        ctx.equation, ctx.wanted, ctx.at, *operands = inputs
        if output[1] is not None:
            ctx.mark_non_differentiable(output[1])
        ctx.set_materialize_grads(False)  # else torch fills a cotangent of what is kept with zeros
        if sum(ctx.wanted) == 1 and execute.natively(operands):  # a tracer's graph says itself what it reads
            operands = [*without(ctx.wanted.index(True), operands, output[1])]
        ctx.save_for_backward(output[1], *operands)

    @staticmethod
    def backward(ctx: Any, cotangent: Tensor | None, _: None) -> tuple[Tensor | None, ...]:
        saved, *operands = ctx.saved_tensors
        if cotangent is None:
            return (None,) * (3 + len(operands))
        if torch.is_grad_enabled() or is_copied(cotangent) or transformed():
            found = gradients(ctx.equation, ctx.wanted, tuple(operands), cotangent, ctx.at)
        else:
            found = execute.backward(ctx.equation, ctx.wanted, tuple(operands), saved, cotangent, ctx.at)
        return None, None, None, *found


class _CompletionLoss(Function):
    """The loss of plain tensors, in one native call with its cotangent."""

    @staticmethod
    def forward(
        equation: str, wanted: Wanted, observed: Observed, kind: str, delta: float, *operands: Tensor
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        return execute.loss(equation, wanted, operands, observed, kind, delta)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor | None, ...]) -> None:
        ctx.equation, ctx.wanted, ctx.observed, ctx.kind, ctx.delta = inputs[:5]
        ctx.mark_non_differentiable(*(t for t in output[1:] if t is not None))
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(output[1], output[2], *inputs[5:])

    @staticmethod
    def backward(ctx: Any, upstream: Tensor | None, *_: None) -> tuple[Tensor | None, ...]:
        slope, saved, *operands = ctx.saved_tensors
        if upstream is None:
            return (None,) * (5 + len(operands))
        operands, at = tuple(operands), ctx.observed.coordinates
        if torch.is_grad_enabled() or is_copied(upstream) or transformed():
            if torch.is_grad_enabled() or transformed():  # the slope itself depends on the operands
                slope = loss_slope(product(ctx.equation, operands, at), ctx.observed, ctx.kind, ctx.delta)
            cotangent = upstream.unsqueeze(-1) * slope.to(upstream.dtype)
            found = gradients(ctx.equation, ctx.wanted, operands, cotangent, at)
        else:
            cotangent = upstream.to(slope.dtype).unsqueeze(-1) * slope
            found = execute.backward(ctx.equation, ctx.wanted, operands, saved, cotangent, at)
        return None, None, None, None, None, *found


def _apply(function: type[Function], *inputs: Any) -> Any:
    """function.apply of plain tensors without its signature check, which takes longer than small products."""
    return super(Function, function).apply(*inputs)  # type: ignore[misc]


def _wanted(operands: Sequence[Tensor]) -> Wanted:
    return tuple(operand.requires_grad for operand in operands) if torch.is_grad_enabled() else (False,) * len(operands)


def _gradients(
    equation: str, wanted: Wanted, operands: tuple[Tensor, ...], cotangent: Tensor, at: Coordinates | None
) -> tuple[Tensor | None, ...]:
    """The wanted gradients of plain tensors, without a graph."""
    if at is not None and execute.prefers_gather(equation, operands, at):
        rows_equation, rows = gathered(equation, operands, at)
        return scattered(equation, operands, at, execute.gradients(rows_equation, wanted, rows, cotangent))
    return execute.gradients(equation, wanted, operands, cotangent, at)


def _loss_of_entries(
    equation: str, operands: tuple[Tensor, ...], observed: Observed, kind: str, delta: float
) -> Tensor:
    """The loss in plain torch from the differentiable entries, in compute dtype and rounded once."""
    dtype = execute.compute_dtype(operands[0].dtype)
    entries = product(equation, tuple(operand.to(dtype) for operand in operands), observed.coordinates)
    weights = None if observed.weights is None else observed.weights.to(dtype)
    return reference.observed_loss(entries, observed.values.to(dtype), weights, kind, delta).to(operands[0].dtype)


def _product_of_copies(
    equation: str, operands: Sequence[Tensor], copied: Sequence[bool], at: Coordinates | None
) -> tuple[Tensor, int]:
    """The product of all copies ([copies, ...] where `copied`) by one call, and the axis of the copies in it."""
    spread = Spread.of(equation, operands, copied)
    return product(spread.equation, spread.operands, at), spread.output_axis if at is None else 0


def _gradients_of_copies(
    equation: str, wanted: Wanted, tensors: Sequence[Tensor], copied: Sequence[bool], count: int, at: Coordinates | None
) -> tuple[Tensor | None, ...]:
    """The wanted gradients [copies, ...] from (cotangent, *operands) by one call; each copy has its own."""
    own = (True, *(c or w for c, w in zip(copied[1:], wanted)))
    cotangent, *operands = (t.expand(count, *t.shape) if o and not c else t for t, c, o in zip(tensors, copied, own))
    spread = Spread.of(equation, operands, own[1:])
    moved = cotangent.movedim(0, spread.output_axis if at is None else 0)
    found = gradients(spread.equation, wanted, spread.operands, moved, at)
    return tuple(
        None if gradient is None else gradient.movedim(axis, 0).reshape(operand.shape)
        for gradient, axis, operand in zip(found, spread.axes, operands)
    )


def _copies_first(tensors: Sequence[Tensor], in_dims: Sequence[int | None]) -> tuple[list[Tensor], list[bool]]:
    """What vmap hands over, as [copies, ...] where it has copies, and whether it has."""
    moved = [tensor if axis is None else tensor.movedim(axis, 0) for tensor, axis in zip(tensors, in_dims)]
    return moved, [axis is not None for axis in in_dims]


def _moved(operands: Sequence[Tensor], tangents: Sequence[Tensor | None]) -> Iterator[tuple[int, tuple[Tensor, ...]]]:
    """Each position that has a tangent, and the operands with the tangent in its place."""
    for i, tangent in enumerate(tangents):
        if tangent is not None:
            yield i, (*operands[:i], tangent, *operands[i + 1 :])


def _second(
    equation: str,
    wanted: Sequence[bool],
    moved: Iterable[tuple[int, tuple[Tensor, ...]]],
    cotangent: Tensor,
    at: Coordinates | None,
) -> list[tuple[Tensor | None, ...]]:
    """For each moved operand the wanted gradients of the others."""
    masks = ((tuple(w and j != i for j, w in enumerate(wanted)), operands) for i, operands in moved)
    return [gradients(equation, mask, operands, cotangent, at) for mask, operands in masks if any(mask)]


def _sum(terms: list[Tensor]) -> Tensor | None:
    return reduce(add, terms) if terms else None


def _sum_each(terms: list[tuple[Tensor | None, ...]], count: int) -> tuple[Tensor | None, ...]:
    return tuple(_sum([each for term in terms if (each := term[j]) is not None]) for j in range(count))


def loss_slope(entries: Tensor, observed: Observed, kind: str, delta: float) -> Tensor:
    """dL/d(entries) of csrc/steps/loss.h, in differentiable torch."""
    residual = entries - observed.values
    weights = torch.ones_like(observed.values[..., :]) if observed.weights is None else observed.weights
    if observed.weights is not None:
        residual = residual.where(weights != 0, 0)
    if kind == "half_sse":
        return weights * residual
    slopes: dict[str, Callable[[], Tensor]] = {
        "mse": lambda: 2 * residual,
        "l1": residual.sign,
        "huber": lambda: residual.clamp(-delta, delta),
    }
    return weights * slopes[kind]() / weights.sum(-1, keepdim=True)
