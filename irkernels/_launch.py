"""Tensors to addresses: plans looked up, outputs and workspaces allocated by torch, native calls made.

Everything here works on plain CPU tensors and knows no derivative rule; the only caller of `_native`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from irkernels import _native, reference
from irkernels._problem import Problem
from irkernels.observed import Coordinates, Observed

_VALUE, _FORWARD, _BACKWARD, _GRADIENTS, _LOSS = range(5)  # csrc/plan/plan.h, Stage
LOSSES = {"mse": 0, "half_sse": 1, "l1": 2, "huber": 3}  # csrc/plan/program.h, Loss
_MOST_BITS = 62  # operands whose wanted gradients fit one integer

Wanted = Sequence[bool]


def compute_dtype(dtype: torch.dtype) -> torch.dtype:
    """Half types are computed in float32 and rounded once."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def value(equation: str, operands: tuple[Tensor, ...], at: Coordinates | None = None) -> Tensor:
    """The product, or its entries at the coordinates."""
    plan = _plan(equation, _VALUE, (), operands, at)
    output = _output(plan, operands[0], at)
    _run(plan, operands, at, output=output)
    return output if at is None else output.to(operands[0].dtype)


def forward(equation: str, wanted: Wanted, operands: tuple[Tensor, ...], at: Coordinates | None = None) -> tuple[Tensor, Tensor]:
    """The product (or its entries), and the intermediates that the wanted gradients need."""
    plan = _plan(equation, _FORWARD, wanted, operands, at)
    output, saved = _output(plan, operands[0], at), _saved(plan, operands[0])
    _run(plan, operands, at, output=output, saved=saved)
    return output if at is None else output.to(operands[0].dtype), saved


def backward(
    equation: str, wanted: Wanted, operands: tuple[Tensor, ...], saved: Tensor, cotangent: Tensor, at: Coordinates | None = None
) -> tuple[Tensor | None, ...]:
    """The wanted gradients from a cotangent and what `forward` kept."""
    return _pull(_BACKWARD, equation, wanted, operands, saved, cotangent, at)


def gradients(
    equation: str, wanted: Wanted, operands: tuple[Tensor, ...], cotangent: Tensor, at: Coordinates | None = None
) -> tuple[Tensor | None, ...]:
    """The wanted gradients from a cotangent alone."""
    return _pull(_GRADIENTS, equation, wanted, operands, None, cotangent, at)


def loss(
    equation: str, wanted: Wanted, operands: tuple[Tensor, ...], observed: Observed, kind: str, delta: float
) -> tuple[Tensor, Tensor, Tensor]:
    """The completion loss, its cotangent at the entries (compute dtype) and what the wanted gradients need."""
    plan = _plan(equation, _LOSS, wanted, operands, observed.coordinates)
    first = operands[0]
    output, saved = _output(plan, first, observed.coordinates), _saved(plan, first)
    losses = torch.empty(plan.output_shape[:-1], dtype=output.dtype)
    target = _target(observed.values, observed.weights, plan.output_shape, kind, delta, losses)
    _run(plan, operands, observed.coordinates, output=output, saved=saved, target=target)
    return losses.to(first.dtype), output, saved


def trials_everywhere(equation: str, operands: tuple[Tensor, ...], at: Coordinates) -> bool:
    """Whether every `...` axis of the entries is a trial axis of the plan (each operand has it)."""
    plan = _plan(equation, _VALUE, (), operands, at)
    total = 1
    for extent in plan.output_shape[:-1]:
        total *= extent
    return plan.trials == total


def explain(equation: str, wanted: Wanted, operands: tuple[Tensor, ...], nnz: int = -1) -> tuple[str, str, float, float]:
    """The plans of value and of gradients in words, and their multiply-adds."""
    value_plan = _native.plan(equation, _FORWARD, _mask(wanted), operands, nnz, None)
    shape = value_plan.output_shape
    cotangent = torch.empty(shape, dtype=operands[0].dtype) if nnz < 0 else operands[0]
    pull_plan = _native.plan(equation, _BACKWARD, _mask(wanted), operands, nnz, cotangent)
    trials = value_plan.trials
    return value_plan.explain(), pull_plan.explain(), value_plan.work * trials, pull_plan.work * trials


def prefers_gather(equation: str, operands: tuple[Tensor, ...], at: Coordinates) -> bool:
    """Whether the entries are cheaper from gathered rows of every operand than from any tensor of the contraction tree."""
    return _plan(equation, _VALUE, (True,) * len(operands), operands, at).gather


def fit_steps(problem: Problem, steps: int) -> tuple[Tensor, Tensor]:
    """Up to `steps` updates of every active trial, natively and in place: (losses [T], done [T] int64).

    What irkernels/reference/fit.py computes, without returning to Python between the steps.
    """
    operands, rule = tuple(problem.operands), problem.rule
    first, trials = operands[0], problem.trials
    observed = problem.data if isinstance(problem.data, Observed) else None
    at = observed.coordinates if observed else None
    wanted = [position not in problem.constants for position in range(len(operands))]
    plan = _native.train_plan(problem.equation, wanted, operands, trials, at.nnz if at else -1)
    losses = torch.full((trials,), torch.nan, dtype=first.dtype)
    done = torch.zeros(trials, dtype=torch.int64)
    if observed:
        target = _target(observed.values, observed.weights, [trials, at.nnz], problem.loss, problem.delta, losses)
    else:
        shape = plan.output_shape
        dense = problem.data.reshape(-1, *shape) if problem.data.dim() > len(shape) else problem.data
        target = _target(dense.flatten(-len(shape)) if shape else dense.unsqueeze(-1), None, [trials, -1], problem.loss,
                         problem.delta, losses)
    begun = rule.momentum_buffers is not None
    if rule.kind == "sgd" and rule.momentum and not begun:
        rule.momentum_buffers = [torch.zeros_like(factor) for factor in problem.factors]
    buffers = rule.momentum_buffers or [None] * len(problem.factors)
    positions = [position for position, w in enumerate(wanted) if w]
    threads = torch.get_num_threads()
    native_rule = (
        0 if rule.kind == "sgd" else 1, rule.lr.contiguous(), rule.momentum, rule.dampening, rule.weight_decay,
        int(rule.nesterov), int(rule.maximize), rule.alpha, rule.eps, rule.v, rule.step, int(begun),
    )
    scratch = torch.empty(plan.scratch_bytes(threads), dtype=torch.uint8)
    _native.fit(plan, operands, tuple(zip(problem.factors, buffers, positions)), scratch, *_coordinates(plan, at), target,
                native_rule, steps, problem.active.contiguous(), done, threads)
    return losses, done


def _mask(wanted: Wanted) -> int | tuple[bool, ...]:
    if len(wanted) > _MOST_BITS:
        return tuple(wanted)
    return sum(1 << position for position, w in enumerate(wanted) if w)


def _plan(
    equation: str, stage: int, wanted: Wanted, operands: tuple[Tensor, ...], at: Coordinates | None, cotangent: Tensor | None = None
) -> _native.Plan:
    mask = 0 if not wanted and len(operands) <= _MOST_BITS else _mask(wanted or (False,) * len(operands))
    return _native.plan(equation, stage, mask, operands, -1 if at is None else at.nnz, cotangent)


def _output(plan: _native.Plan, like: Tensor, at: Coordinates | None) -> Tensor:
    return torch.empty(plan.output_shape, dtype=like.dtype if at is None else compute_dtype(like.dtype))


def _saved(plan: _native.Plan, like: Tensor) -> Tensor:
    return torch.empty(plan.saved, dtype=compute_dtype(like.dtype))


def _target(values: Tensor, weights: Tensor | None, shape: Sequence[int], kind: str, delta: float, losses: Tensor) -> tuple:
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


def _coordinates(plan: _native.Plan, at: Coordinates | None) -> tuple[int, Tensor | None, tuple]:
    if at is None:
        return -1, None, ()
    orders = (at.sorted_by(tuple(columns)) for columns in plan.orders)
    return at.nnz, at.columns, tuple((order.perm, order.starts, order.columns) for order in orders)


def _pull(
    stage: int, equation: str, wanted: Wanted, operands: tuple[Tensor, ...], saved: Tensor | None, cotangent: Tensor,
    at: Coordinates | None,
) -> tuple[Tensor | None, ...]:
    if at is not None:  # listed cotangents are read entry by entry in compute dtype
        cotangent = cotangent.to(compute_dtype(cotangent.dtype)).contiguous()
    plan = _plan(equation, stage, wanted, operands, at, cotangent)
    found = tuple(
        torch.empty(operand.shape, dtype=operand.dtype) if w else None for operand, w in zip(operands, wanted)
    )
    if _run(plan, operands, at, saved=saved, cotangent=cotangent, gradients=found):
        return found
    # A NaN or infinity among the factors met entries that are not listed; the reference never touches those.
    values = cotangent.to(operands[0].dtype)
    exact = reference.gradients(equation, *(operand.detach() for operand in operands), cotangent=(at, values))
    return tuple(gradient if w else None for gradient, w in zip(exact, wanted))


def _run(
    plan: _native.Plan, operands: tuple[Tensor, ...], at: Coordinates | None, *, output: Tensor | None = None,
    saved: Tensor | None = None, cotangent: Tensor | None = None, gradients: tuple | None = None, target: tuple | None = None,
) -> bool:
    threads = torch.get_num_threads()
    size = plan.scratch_bytes(threads)
    scratch = torch.empty(size, dtype=torch.uint8) if size > _native.STACK_SCRATCH else None
    return _native.run(plan, operands, output, saved, cotangent, gradients, scratch, *_coordinates(plan, at), target, threads)
