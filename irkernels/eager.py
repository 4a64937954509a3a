"""The lane of ordinary calls: verbs on plain tensors, with no transform, mode or tracing in force, at least overhead.

What it does not serve it answers with None, and the caller goes the long way through autograd.py: the same plans,
kernels and bits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from irkernels import _launch, autograd, execute
from irkernels.copies import is_copied
from irkernels.observed import Coordinates, Observed

_compiling = torch.compiler.is_compiling

# what a recording Function is given: the call, and what the native lane has made of it
_MadeProduct = tuple[str, Coordinates | None, tuple[int, Tensor, Tensor | None]]
_MadeLoss = tuple[str, Observed, str, float, tuple[int, Tensor, Tensor, Tensor | None]]


def product(equation: str, operands: tuple[Tensor, ...], at: Any = None, broadcasts: bool = True) -> Tensor | None:
    """The product, or its entries at coordinates that were checked before; None where the call is not ordinary.

    broadcasts: whether sizes 1 and n of one letter may meet.
    """
    if _compiling():
        return None
    if at is not None:
        at = at.coordinates if type(at) is Observed else at
        if type(at) is not Coordinates or at.parts is None:
            return None
    found = _launch.lane_product(equation, operands, broadcasts, None if at is None else at.parts)
    return _record_product((equation, at, found), *operands) if isinstance(found, tuple) else found


def completion_loss(
    equation: str, operands: tuple[Tensor, ...], observed: Any, kind: str, delta: float
) -> Tensor | None:
    """The loss at observed entries; None where the call is not ordinary."""
    if _compiling() or type(observed) is not Observed or type(kind) is not str or kind not in _launch.LOSSES:
        return None
    if type(delta) not in (float, int) or not delta > 0:
        return None
    values, weights, parts = observed.values, observed.weights, observed.coordinates.parts
    if parts is None:
        return None
    found = _launch.lane_loss(equation, operands, _launch.LOSSES[kind], float(delta), values, weights, parts)
    if found is None or not found[0]:
        return None if found is None else found[1]
    return _record_loss((equation, observed, kind, delta, found), *operands)


def gradients(
    equation: str, operands: tuple[Tensor, ...], wanted: int, cotangent: Tensor, at: Coordinates | None = None
) -> tuple[Tensor | None, ...]:
    """The gradients of the operands whose bits are set in `wanted`, differentiable; the call was checked before."""
    cotangent = cotangent if at is None else cotangent.contiguous()
    found = _launch.lane_backward(equation, (None, *operands), wanted, cotangent, None if at is None else at.parts)
    if found is not None:
        return found
    return autograd.gradients(equation, _flags(wanted, len(operands)), operands, cotangent, at)


class _Product(Function):
    """Records a product that is computed already.

    Old-style forward: what backward reads is saved without being an output, which costs less than setup_context.
    """

    @staticmethod
    def forward(ctx: Any, made: _MadeProduct, *operands: Tensor) -> Tensor:
        equation, at, (wanted, output, kept) = made
        ctx.call = equation, wanted, at
        if not wanted & (wanted - 1):
            operands = autograd.without(wanted.bit_length() - 1, operands, kept)
        ctx.save_for_backward(kept, *operands)
        return output

    @staticmethod
    def backward(ctx: Any, cotangent: Tensor) -> tuple[Tensor | None, ...]:
        equation, wanted, at = ctx.call
        return None, *_pulled(equation, wanted, at, ctx.saved_tensors, cotangent)


class _CompletionLoss(Function):
    """Records a loss that is computed already."""

    @staticmethod
    def forward(ctx: Any, made: _MadeLoss, *operands: Tensor) -> Tensor:
        equation, observed, kind, delta, (wanted, losses, slope, kept) = made
        ctx.call = equation, wanted, observed, kind, delta
        ctx.save_for_backward(slope, kept, *operands)
        return losses

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        equation, wanted, observed, kind, delta = ctx.call
        slope, *saved = ctx.saved_tensors
        if torch.is_grad_enabled():
            entries = autograd.product(equation, tuple(saved[1:]), observed.coordinates)
            slope = autograd.loss_slope(entries, observed, kind, delta)
        cotangent = upstream.unsqueeze(-1) * slope
        return None, *_pulled(equation, wanted, observed.coordinates, tuple(saved), cotangent)


def _pulled(
    equation: str, wanted: int, at: Coordinates | None, saved: tuple[Any, ...], cotangent: Tensor
) -> tuple[Tensor | None, ...]:
    """The wanted gradients; saved: (what forward kept, *operands). Differentiable where a graph is recorded."""
    if at is not None:
        cotangent = cotangent.contiguous()  # entries are read in one run; mean() and sum() pull back an expanded number
    found = _launch.lane_backward(equation, saved, wanted, cotangent, None if at is None else at.parts)
    if found is not None:
        return found
    kept, *operands = saved
    flags = _flags(wanted, len(operands))
    if torch.is_grad_enabled() or autograd.transformed() or is_copied(cotangent):
        return autograd.gradients(equation, flags, tuple(operands), cotangent, at)
    return execute.backward(equation, flags, tuple(operands), kept, cotangent, at)


def _flags(wanted: int, count: int) -> tuple[bool, ...]:
    return tuple(bool(wanted >> position & 1) for position in range(count))


# without the signature check for transforms, none of which is in force
_record_product: Callable[..., Tensor] = super(Function, _Product).apply
_record_loss: Callable[..., Tensor] = super(Function, _CompletionLoss).apply
