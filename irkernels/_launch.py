"""Tensors to addresses: plans looked up, outputs and workspaces allocated by torch, native calls made.

Everything here works on plain tensors, all on one device, and knows no derivative rule; `_native` has no caller but
this file, _fit.py and _batches.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from irkernels import _blas, _native, openmp, reference
from irkernels._native import Plan as Plan
from irkernels.grammar import without_path
from irkernels.observed import Coordinates, Observed

VALUE, _FORWARD, _BACKWARD, _GRADIENTS, _LOSS, TRAIN, _PENALTY, _EXPONENT = range(8)  # csrc/plan/plan.h, Stage
LOSSES = {"mse": 0, "half_sse": 1, "l1": 2, "huber": 3}  # csrc/plan/program.h, Loss
LAUNCHES = _native.LAUNCHES  # the CPU target in force runs threads by the launch, as a GPU does: `simt`
_MOST_BITS = 62  # operands whose wanted gradients fit one integer
_ALONE = openmp.only_one_thread()
# MKL leaves CPUs that are not Intel's below their rate: 1024^3 takes 9.6 ms by it, 4.8 by own kernels on Zen 5, 9.0
# by those without AVX-512. Half types: own kernels compute in float32, torch by what the CPU has for them.
_SLOW_MKL = torch.backends.mkl.is_available() and not _native.INTEL and _native.TARGET != "x86-64"
_HALVES = [here and torch.backends.mkldnn.is_available() for here in _native.MULTIPLIES_HALVES]
_native.set_blas_pays([not _SLOW_MKL, not _SLOW_MKL, *_HALVES])  # in the order of DTYPES
_native.set_whole_by_blas(_blas.whole)

DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)  # csrc/plan/program.h, Dtype

Wanted = Sequence[bool]
View = tuple[tuple[int, ...], tuple[int, ...]]  # shape and strides
Entries = tuple[int, Tensor | None, tuple[Any, ...]]  # nnz (-1: the whole product), columns, sorted orders

_Each = tuple[Tensor | None, ...]  # gradients, None where none is wanted


def compute_dtype(dtype: torch.dtype) -> torch.dtype:
    """Half types are computed in float32 and rounded once."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def own_threads() -> int:
    """Threads that own kernels may use: torch's, but one beside a second OpenMP runtime."""
    return 1 if _ALONE else torch.get_num_threads()


def value(equation: str, operands: tuple[Tensor, ...], at: Coordinates | None = None) -> Tensor:
    """The product, or its entries at the coordinates."""
    operands = _resolved(operands)
    plan = _plan(equation, VALUE, (), operands, at)
    output = _output(plan, operands[0], at)
    _run(plan, operands, at, output=output)
    return output if at is None else output.to(operands[0].dtype)


def exponent(equation: str, operands: tuple[Tensor, ...], at: Coordinates | None = None) -> Tensor:
    """In place of each number of the product the exponent of its largest neighbour, whole numbers in compute dtype.

    Neighbours lie along letters that not all operands have; a zero's exponent is hugely negative.
    """
    operands = _resolved(operands)
    plan = _plan(equation, _EXPONENT, (), operands, at)
    output = _output(plan, operands[0], at)
    _run(plan, operands, at, output=output)
    return output


def forward(
    equation: str, wanted: Wanted, operands: tuple[Tensor, ...], at: Coordinates | None = None
) -> tuple[Tensor, Tensor | None]:
    """The product (or its entries), and the intermediates that the wanted gradients need (None: none worth keeping)."""
    operands = _resolved(operands)
    plan = _plan(equation, _FORWARD, wanted, operands, at)
    output, saved = _output(plan, operands[0], at), _saved(plan, operands[0])
    _run(plan, operands, at, output=output, saved=saved)
    return output if at is None else output.to(operands[0].dtype), saved


def backward(
    equation: str, wanted: Wanted, operands: tuple[Tensor, ...], saved: Tensor | None, cotangent: Tensor,
    at: Coordinates | None = None,
) -> _Each:  # fmt: skip
    """The wanted gradients from a cotangent and what `forward` kept."""
    return _pull(_BACKWARD, equation, wanted, operands, saved, cotangent, at)


def gradients(
    equation: str, wanted: Wanted, operands: tuple[Tensor, ...], cotangent: Tensor, at: Coordinates | None = None
) -> _Each:
    """The wanted gradients from a cotangent alone."""
    return _pull(_GRADIENTS, equation, wanted, operands, None, cotangent, at)


def loss(
    equation: str, wanted: Wanted, operands: tuple[Tensor, ...], observed: Observed, kind: str, delta: float
) -> tuple[Tensor, Tensor, Tensor | None]:
    """The completion loss, its cotangent at the entries (compute dtype) and what the wanted gradients need."""
    operands = _resolved(operands)
    plan = _plan(equation, _LOSS, wanted, operands, observed.coordinates)
    first = operands[0]
    output, saved = _output(plan, first, observed.coordinates), _saved(plan, first)
    losses = output.new_empty(plan.output_shape[:-1])
    target = target_of(observed.values, observed.weights, plan.output_shape, kind, delta, losses)
    _run(plan, operands, observed.coordinates, output=output, saved=saved, target=target)
    return losses.to(first.dtype), output, saved


# The lane of ordinary calls (csrc/bind/lane.h): plain tensors of the CPU, nothing in force that watches them.
# One native call; None: not for the lane. Operands that want a gradient come as bits.
#   lane_product(equation, operands, broadcasts, at.parts or None) -> output, or (wanted, output, kept)
#   lane_loss(equation, operands, kind, delta, values, weights, at.parts) -> (wanted, losses, slope, kept)
#   lane_backward(equation, (kept, *operands), wanted, cotangent, at.parts or None) -> gradients
lane_product, lane_loss, lane_backward = _native.lane_product, _native.lane_loss, _native.lane_backward
_native.set_surroundings(
    (torch._C._are_functorch_transforms_active, torch._C._len_torch_dispatch_stack, torch._C._is_tracing),
    torch.autograd.forward_ad,
    torch._C._is_any_autocast_enabled,
    torch.is_grad_enabled,
    None if _ALONE else torch.get_num_threads,
)


def trials_everywhere(equation: str, operands: tuple[Tensor, ...], at: Coordinates) -> bool:
    """Whether every `...` axis of the entries is a trial axis of the plan (each operand has it)."""
    plan = _plan(equation, VALUE, (), operands, at)
    total = 1
    for extent in plan.output_shape[:-1]:
        total *= extent
    return plan.trials == total


@dataclass(frozen=True)
class Explanation:
    """What a product costs: multiply-adds of all trials, bytes, and the plans of value and gradients in words."""

    gather: bool
    route: str
    value: str
    gradients: str
    value_work: int
    gradient_work: int
    output_shape: tuple[int, ...]
    saved_bytes: int
    workspace: dict[str, int]  # bytes that each stage takes from torch's allocator
    blas_steps: int
    rounds: bool  # whether these round intermediates of half types
    training: str  # who takes the steps of a native fit, and its workspace


_STAGES = {"value": VALUE, "forward": _FORWARD, "backward": _BACKWARD, "gradients": _GRADIENTS, "loss": _LOSS}


def explain(equation: str, wanted: Wanted, shapes: Sequence[View], dtype: torch.dtype, nnz: int) -> Explanation:
    """The plans that `forward` and `backward` would run for operands of these views, and the workspaces of all."""
    plans = {
        name: _native.plan_of_shapes(equation, stage, wanted, shapes, DTYPES.index(dtype), nnz)
        for name, stage in _STAGES.items()
        if stage != _LOSS or nnz >= 0
    }
    up, down = plans["forward"], plans["backward"]
    return Explanation(
        up.gather, up.route, up.explain(), down.explain(), up.work * up.trials, down.work * down.trials,
        tuple(up.output_shape), up.saved * compute_dtype(dtype).itemsize,
        {name: _workspace(plan, dtype) for name, plan in plans.items()},
        sum(_blas.products(plan, LAUNCHES) for plan in (up, down)),
        any(_blas.wanted(plan, LAUNCHES) and _rounded(plan, dtype) > 0 for plan in (up, down)),
        _training(equation, wanted, shapes, dtype, nnz, up),
    )  # fmt: skip


def _training(equation: str, wanted: Wanted, shapes: Sequence[View], dtype: torch.dtype, nnz: int, plan: Plan) -> str:
    """Who would take native training steps of the wanted operands, and in how many bytes; `...` axes are trials."""
    empty = nnz == 0 or any(0 in shape for shape, _ in shapes)
    if (plan.gather and LAUNCHES) or empty or not any(wanted) or dtype not in (torch.float32, torch.float64):
        return "in plain torch"
    single = "".join(without_path(equation).replace("...", "").split())
    ranks = [len(term) for term in single.split("->")[0].split(",")]
    views = [(shape[len(shape) - rank :], step[len(step) - rank :]) for rank, (shape, step) in zip(ranks, shapes)]
    train, threads = _native.plan_of_shapes(single, TRAIN, wanted, views, DTYPES.index(dtype), nnz), own_threads()
    if LAUNCHES:
        return _native.launched_tier(train, plan.trials, 0, None)
    tier = _native.training_tier(train, plan.trials, threads)
    if tier.startswith("lanes"):
        return tier
    return f"{tier}; workspace {train.training_bytes(threads, trials=plan.trials):,} bytes"


def _workspace(plan: Plan, dtype: torch.dtype) -> int:
    """Bytes that `_run` allocates: nothing where the stack has room."""
    if _blas.wanted(plan, LAUNCHES):
        scratch = plan.blas_scratch(LAUNCHES) * compute_dtype(dtype).itemsize
        return scratch + _rounded(plan, dtype)
    size = plan.scratch_bytes(own_threads())
    return size if size > _native.STACK_SCRATCH else 0


def _rounded(plan: Plan, dtype: torch.dtype) -> int:
    """Bytes that torch's products of half types take to round intermediates."""
    return plan.blas_rounded(LAUNCHES) * dtype.itemsize if dtype in (torch.bfloat16, torch.float16) else 0


def build_facts() -> dict[str, object]:
    """What the compiled modules are."""
    return {
        "compiler": _native.COMPILER,
        "target": _native.TARGET,
        "targets_available": _native.available(),
        "cuda_architectures": _native.cuda_architectures(),
    }


def prefers_gather(equation: str, operands: tuple[Tensor, ...], at: Coordinates) -> bool:
    """Whether torch must gather the rows of every operand: the cheapest way, and this machine has no steps for it."""
    return not gathers_natively(operands[0]) and _plan(equation, VALUE, (True,) * len(operands), operands, at).gather


def gathers(equation: str, operands: tuple[Tensor, ...], at: Coordinates) -> bool:
    """Whether plans gather the rows of every operand by themselves."""
    return gathers_natively(operands[0]) and _plan(equation, VALUE, (True,) * len(operands), operands, at).gather


def would_gather(equation: str, operands: Sequence[Tensor], nnz: int) -> bool:
    """`prefers_gather` from extents and strides alone: the operands may be without memory."""
    wanted = (True,) * len(operands)
    return not gathers_natively(operands[0]) and _plan_without_memory(equation, VALUE, wanted, operands, nnz).gather


def gathers_natively(operand: Tensor) -> bool:
    """Whether plans may gather rows by themselves where this operand is: the kernels that are launched do not."""
    return not launched(operand)


def launched(operand: Tensor) -> bool:
    """Whether kernels reach this operand by the launch: those of a GPU, and of the target that emulates one."""
    return LAUNCHES or operand.is_cuda


def has_kernels(operand: Tensor) -> bool:
    """Whether this build has kernels where the operand is."""
    return operand.device.type == "cpu" or (operand.is_cuda and bool(_native.cuda_architectures()))


def stream_of(operand: Tensor) -> int:
    """The stream that native calls use: the current one of a GPU."""
    return torch.cuda.current_stream(operand.device).cuda_stream if operand.is_cuda else 0


def kept_elements(equation: str, wanted: Wanted, operands: Sequence[Tensor], nnz: int, of_loss: bool) -> int:
    """Elements of what `forward` (or `loss`) keeps, from extents and strides alone."""
    return _plan_without_memory(equation, _LOSS if of_loss else _FORWARD, wanted, operands, nnz).saved


def tree(equation: str, operands: Sequence[Tensor], nnz: int = -1) -> list[tuple[int, int, int]]:
    """The plan's contraction tree: (operand or -1, left, right or -1) of each node, children before parents."""
    return _plan_without_memory(equation, _GRADIENTS, (True,) * len(operands), operands, nnz).tree


def multiply_adds(stage: str, equation: str, wanted: Wanted, operands: Sequence[Tensor], nnz: int) -> int:
    """Of all trials; the operands may be without memory.

    stage: value, forward, backward (from what forward kept), gradients (from the operands) or loss.
    """
    plan = _plan_without_memory(equation, {"value": VALUE, **_STAGES}[stage], wanted, operands, nnz)
    return plan.work * plan.trials


def _plan_without_memory(equation: str, stage: int, wanted: Wanted, operands: Sequence[Tensor], nnz: int) -> Plan:
    shapes = tuple((tuple(operand.shape), tuple(operand.stride())) for operand in operands)
    return _native.plan_of_shapes(equation, stage, wanted, shapes, DTYPES.index(operands[0].dtype), nnz)


def _resolved(tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Without pending negations (the imaginary part of a conjugate view), of which addresses do not tell."""
    return tuple(tensor.resolve_neg() for tensor in tensors)


def _mask(wanted: Wanted) -> int | tuple[bool, ...]:
    if len(wanted) > _MOST_BITS:
        return tuple(wanted)
    return sum(1 << position for position, w in enumerate(wanted) if w)


def _plan(
    equation: str, stage: int, wanted: Wanted, operands: tuple[Tensor, ...], at: Coordinates | None,
    cotangent: Tensor | None = None,
) -> Plan:  # fmt: skip
    mask = 0 if not wanted and len(operands) <= _MOST_BITS else _mask(wanted or (False,) * len(operands))
    return _native.plan(equation, stage, mask, operands, -1 if at is None else at.nnz, cotangent)


def _output(plan: Plan, like: Tensor, at: Coordinates | None) -> Tensor:
    return like.new_empty(plan.output_shape, dtype=like.dtype if at is None else compute_dtype(like.dtype))


def _saved(plan: Plan, like: Tensor) -> Tensor | None:
    return like.new_empty(plan.saved, dtype=compute_dtype(like.dtype)) if plan.saved else None


def target_of(
    values: Tensor, weights: Tensor | None, shape: Sequence[int], kind: str, delta: float, losses: Tensor
) -> tuple[Any, ...]:
    """Values and weights as [trials or 1, n] in compute dtype, with their strides between trials."""
    leading = list(shape[:-1])

    def rows(tensor: Tensor) -> tuple[Tensor, int]:
        tensor = tensor.to(compute_dtype(tensor.dtype))
        if tensor.dim() == 1:
            return tensor.contiguous(), 0
        tensor = tensor.expand(*leading, tensor.shape[-1]).contiguous()
        return tensor, tensor.shape[-1]

    value_rows, value_stride = rows(values)
    weight_rows, weight_stride = (None, 0) if weights is None else rows(weights)
    return LOSSES[kind], delta, value_rows, value_stride, weight_rows, weight_stride, losses


def coordinates(plan: Plan, at: Coordinates | None) -> Entries:
    if at is None:
        return -1, None, ()
    orders = (at.sorted_by(tuple(columns)) for columns in plan.orders)
    return at.nnz, at.columns, tuple((order.perm, order.starts, order.columns) for order in orders)


def _pull(
    stage: int, equation: str, wanted: Wanted, operands: tuple[Tensor, ...], saved: Tensor | None, cotangent: Tensor,
    at: Coordinates | None,
) -> _Each:  # fmt: skip
    *resolved, cotangent = _resolved((*operands, cotangent))
    operands = tuple(resolved)
    if at is not None:  # listed cotangents are read entry by entry in compute dtype
        cotangent = cotangent.to(compute_dtype(cotangent.dtype)).contiguous()
    plan = _plan(equation, stage, wanted, operands, at, cotangent)
    found = tuple(operand.new_empty(operand.shape) if w else None for operand, w in zip(operands, wanted))
    if _run(plan, operands, at, saved=saved, cotangent=cotangent, gradients=found):
        return found
    # A NaN or infinity among the factors met entries that are not listed; the reference never touches those.
    values = cotangent.to(operands[0].dtype)
    exact = reference.gradients(equation, *(operand.detach() for operand in operands), cotangent=(at, values))
    return tuple(gradient if w else None for gradient, w in zip(exact, wanted))


def _run(
    plan: Plan, operands: tuple[Tensor, ...], at: Coordinates | None, *, output: Tensor | None = None,
    saved: Tensor | None = None, cotangent: Tensor | None = None, gradients: _Each | None = None,
    target: tuple[Any, ...] | None = None,
) -> bool:  # fmt: skip
    threads, cuda, by_launch = own_threads(), operands[0].is_cuda, launched(operands[0])
    arguments = (plan, operands, output, saved, cotangent, gradients)
    rest = (*coordinates(plan, at), target, threads, stream_of(operands[0]))
    if _blas.wanted(plan, by_launch):
        size = plan.blas_scratch(by_launch)
        scratch: Tensor | None = operands[0].new_empty(size, dtype=compute_dtype(operands[0].dtype))
        named = dict(zip(_native.BUFFERS.values(), (scratch, saved, output, cotangent)))
        tensors = {**named, **dict(enumerate((*operands, *(gradients or ()))))}
        finite = _blas.run_segments(
            plan, by_launch, tensors, lambda *span: _native.run(*arguments, scratch, *rest, *span)
        )
    else:
        size, free = plan.scratch_bytes(threads, cuda), 0 if cuda else _native.STACK_SCRATCH
        scratch = operands[0].new_empty(size, dtype=torch.uint8) if size > free else None
        finite = _native.run(*arguments, scratch, *rest, -1, 0, -1)
    # on the CPU the native call has looked; while a graph is captured nobody can
    if cuda and at is not None and gradients and not torch.cuda.is_current_stream_capturing():
        finite = all(bool(gradient.isfinite().all()) for gradient in gradients if gradient is not None)
    return finite
