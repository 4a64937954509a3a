"""The lane of ordinary calls: verbs on plain tensors, with no transform, mode or tracing in force, at the least overhead.

What it does not serve it answers with None, and the caller goes the long way through autograd.py: the same plans, kernels
and bits.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function, forward_ad

from irkernels import _launch, autograd
from irkernels.copies import is_copied
from irkernels.observed import Coordinates, Observed

_transforms = torch._C._are_functorch_transforms_active
_modes = torch._C._len_torch_dispatch_stack
_autocast = torch._C._is_any_autocast_enabled
_recording = torch.is_grad_enabled


def _ordinary() -> bool:
    """Whether nothing watches or changes what tensors mean: no tracing, transform, dispatch mode, tangent or autocast."""
    return not (
        torch.compiler.is_compiling() or _transforms() or _modes() or forward_ad._current_level >= 0 or _autocast()
    )


def product(
    equation: str, operands: tuple[Tensor, ...], at: Any = None, broadcasts: bool = True
) -> Tensor | None:
    """The product, or its entries at coordinates that were checked before; None where the call is not ordinary.

    broadcasts: whether sizes 1 and n of one letter may meet.
    """
    at = at.coordinates if type(at) is Observed else at
    if not (at is None or type(at) is Coordinates) or not _ordinary():
        return None
    found = _launch.lane_product(equation, operands, _recording(), broadcasts, at)
    return _record_product(found, equation, at, *operands) if type(found) is tuple else found


def completion_loss(
    equation: str, operands: tuple[Tensor, ...], observed: Any, kind: str, delta: float
) -> Tensor | None:
    """The loss at observed entries; None where the call is not ordinary."""
    if type(observed) is not Observed or kind not in _launch.LOSSES or not delta > 0 or not _ordinary():
        return None
    found = _launch.lane_loss(equation, operands, _recording(), observed, kind, float(delta))
    if found is None or not found[0]:
        return found and found[1]
    return _record_loss(found, equation, observed, kind, delta, *operands)


class _Product(Function):
    """Records a product that is computed already. Old-style forward: what backward reads is saved without being an output,
    which costs less than setup_context."""

    @staticmethod
    def forward(ctx, found, equation, at, *operands):
        wanted, output, kept = found
        ctx.call = equation, wanted, at
        ctx.save_for_backward(kept, *operands)
        return output

    @staticmethod
    def backward(ctx, cotangent):
        return None, None, None, *_pulled(*ctx.call, ctx.saved_tensors, cotangent)


class _CompletionLoss(Function):
    """Records a loss that is computed already."""

    @staticmethod
    def forward(ctx, found, equation, observed, kind, delta, *operands):
        wanted, losses, slope, kept = found
        ctx.call = equation, wanted, observed, kind, delta
        ctx.save_for_backward(slope, kept, *operands)
        return losses

    @staticmethod
    def backward(ctx, upstream):
        equation, wanted, observed, kind, delta = ctx.call
        slope, *saved = ctx.saved_tensors
        if _recording():
            entries = autograd.product(equation, tuple(saved[1:]), observed.coordinates)
            slope = autograd.loss_slope(entries, observed, kind, delta)
        cotangent = upstream.unsqueeze(-1) * slope
        return None, None, None, None, None, *_pulled(equation, wanted, observed.coordinates, tuple(saved), cotangent)


def _pulled(
    equation: str, wanted: int, at: Coordinates | None, saved: tuple, cotangent: Tensor
) -> tuple[Tensor | None, ...]:
    """The wanted gradients; saved: (what forward kept, *operands). Differentiable where a graph is recorded."""
    watched = _recording() or _transforms() or _modes() or forward_ad._current_level >= 0
    if not watched:
        listed = at is not None  # entries are read in one run; mean() and sum() pull back an expanded number
        found = _launch.lane_backward(equation, wanted, saved, cotangent.contiguous() if listed else cotangent, at)
        if found is not None:
            return found
    kept, *operands = saved
    flags = tuple(bool(wanted >> position & 1) for position in range(len(operands)))
    if watched or is_copied(cotangent):
        return autograd.gradients(equation, flags, tuple(operands), cotangent, at)
    return _launch.backward(equation, flags, tuple(operands), kept, cotangent, at)


# without the signature check for transforms, none of which is in force
_record_product = super(Function, _Product).apply
_record_loss = super(Function, _CompletionLoss).apply
