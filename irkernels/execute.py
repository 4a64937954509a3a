"""Which way plain values are computed: natively, or by the operators of ops.py while somebody looks on.

The functions are `_launch`'s. Native code reads addresses, which says nothing to a tracer: under a dispatch mode
(make_fx, FakeTensorMode, a flop counter), and for tensors that are more than memory (fake, meta, functional, a tensor
subclass, a view that negates), a call is given to torch's dispatcher instead, which knows what to do with them.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
from torch import _C, Tensor

from irkernels import _launch
from irkernels._launch import compute_dtype
from irkernels.gather import gathered
from irkernels.observed import Coordinates, Observed

__all__ = [
    "backward", "compute_dtype", "exponent", "forward", "gathers", "gradients", "loss", "natively",
    "prefers_gather", "prefers_gathered_loss", "static", "traced", "trials_everywhere", "value",
]  # fmt: skip

_NATIVE_DEVICES = ("cpu", "cuda")
_AUTOCAST = _C.DispatchKeySet(_C.DispatchKey.AutocastCPU) | _C.DispatchKeySet(_C.DispatchKey.AutocastCUDA)

Wanted = Sequence[bool]


def traced(operands: Sequence[Tensor] = ()) -> bool:
    """Whether torch.compile, export, jit.trace or a dispatch mode records calls, or the operands have only shapes."""
    return (
        torch.compiler.is_compiling()
        or _C._len_torch_dispatch_stack() > 0
        or _C._is_tracing()
        or any(operand.is_meta for operand in operands)
    )


def static(tensors: Sequence[Tensor]) -> bool:
    """Whether all extents and strides are numbers, none a symbol of a tracer."""
    return all(type(size) is int for tensor in tensors for size in (*tensor.shape, *tensor.stride()))


def value(equation: str, operands: tuple[Tensor, ...], at: Coordinates | None = None) -> Tensor:
    if natively(operands):
        return _launch.value(equation, operands, at)
    recorded: Tensor = _operator("value", at, equation, operands)
    return recorded


def forward(
    equation: str, wanted: Wanted, operands: tuple[Tensor, ...], at: Coordinates | None = None
) -> tuple[Tensor, Tensor | None]:
    """With symbolic extents nothing is kept, as its size is unknown: backward then starts from the operands."""
    if natively(operands):
        return _launch.forward(equation, wanted, operands, at)
    if not _keeps(equation, operands, at):
        return _operator("value", at, equation, operands), None
    recorded: tuple[Tensor, Tensor] = _operator("forward", at, equation, wanted, operands)
    return recorded


def backward(
    equation: str,
    wanted: Wanted,
    operands: tuple[Tensor, ...],
    saved: Tensor | None,
    cotangent: Tensor,
    at: Coordinates | None = None,
) -> tuple[Tensor | None, ...]:
    if natively((cotangent, *operands)):
        return _launch.backward(equation, wanted, operands, saved, cotangent, at)
    return _spread(wanted, _operator("pullback", at, equation, wanted, operands, cotangent, saved))


def gradients(
    equation: str, wanted: Wanted, operands: tuple[Tensor, ...], cotangent: Tensor, at: Coordinates | None = None
) -> tuple[Tensor | None, ...]:
    if natively((cotangent, *operands)):
        return _launch.gradients(equation, wanted, operands, cotangent, at)
    return _spread(wanted, _operator("pullback", at, equation, wanted, operands, cotangent, None))


def loss(
    equation: str, wanted: Wanted, operands: tuple[Tensor, ...], observed: Observed, kind: str, delta: float
) -> tuple[Tensor, Tensor, Tensor | None]:
    if natively((*operands, observed.values)):
        return _launch.loss(equation, wanted, operands, observed, kind, delta)
    keeps = _keeps(equation, operands, observed.coordinates)
    kept = tuple(wanted) if keeps else (False,) * len(operands)
    losses, slope, saved = _operator(
        "loss", observed.coordinates, equation, kept, operands, observed.values, observed.weights, kind, delta
    )
    return losses, slope, saved if keeps else None


def exponent(equation: str, operands: tuple[Tensor, ...], at: Coordinates | None = None) -> Tensor:
    """Of numbers that are there: nothing is recorded.

    Entries have rows of their own, gathered by torch where plans do not.
    """
    if at is not None and not _launch.gathers_natively(operands[0]):
        return _launch.exponent(*gathered(equation, operands, at))
    return _launch.exponent(equation, operands, at)


def gathers(equation: str, operands: tuple[Tensor, ...], at: Coordinates) -> bool:
    return _launch.gathers(equation, operands, at)


def prefers_gather(equation: str, operands: tuple[Tensor, ...], at: Coordinates) -> bool:
    """Operators decide when they run."""
    return natively(operands) and _launch.prefers_gather(equation, operands, at)


def prefers_gathered_loss(equation: str, operands: tuple[Tensor, ...], at: Coordinates) -> bool:
    """`prefers_gather` for a loss, whose sum over gathered entries is torch's, in a recorded graph too."""
    if natively(operands):
        return _launch.prefers_gather(equation, operands, at)
    return static((*operands, at.at)) and _launch.would_gather(equation, operands, at.nnz)


def trials_everywhere(equation: str, operands: tuple[Tensor, ...], at: Coordinates) -> bool:
    """Not asked of tensors without addresses: giving operands axes that they have already changes nothing."""
    return natively(operands) and _launch.trials_everywhere(equation, operands, at)


def natively(tensors: Sequence[Tensor]) -> bool:
    """Whether a call on these tensors goes into native code directly."""
    return not traced() and all(
        _C._dispatch_keys(tensor).raw_repr() in _MEMORY or _is_memory(tensor) for tensor in tensors
    )


def _is_memory(tensor: Tensor) -> bool:
    """Whether a tensor is on a device and has no dispatch key beyond those of a fresh one there."""
    kind, keys = tensor.device.type, _C._dispatch_keys(tensor)
    if kind == "meta" or keys.has(_C.DispatchKey.Python):
        return False
    if kind not in _NATIVE_DEVICES or tensor.is_quantized:
        return True  # native code refuses it by name
    return keys.raw_repr() in _keys_of_fresh(kind)


@cache
def _keys_of_fresh(kind: str) -> frozenset[int]:
    with torch.inference_mode():
        without_autograd = torch.empty(0, device=kind)
    with torch.inference_mode(False):
        ordinary = torch.empty(0, device=kind)
    return frozenset(_C._dispatch_keys(tensor).raw_repr() for tensor in (ordinary, without_autograd))


_MEMORY = _keys_of_fresh("cpu")


def _keeps(equation: str, operands: tuple[Tensor, ...], at: Coordinates | None) -> bool:
    """Whether the operators keep intermediates, of a size known now."""
    sized = operands if at is None else (*operands, at.at)
    return static(sized) and not (at is not None and _launch.would_gather(equation, operands, at.nnz))


def _operator(name: str, at: Coordinates | None, *arguments: Any) -> Any:
    """The operator `name`, or its twin for listed entries, below the derivative rules and casts applied before."""
    operator = getattr(torch.ops.irkernels, name if at is None else f"entries_{name}")
    with _C._AutoDispatchBelowAutograd(), _C._ExcludeDispatchKeyGuard(_AUTOCAST):
        return operator(*arguments) if at is None else operator(*arguments, at.at)


def _spread(wanted: Wanted, found: Sequence[Tensor]) -> tuple[Tensor | None, ...]:
    each = iter(found)
    return tuple(next(each) if w else None for w in wanted)
