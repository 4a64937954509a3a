"""A Problem to native training calls: the plan of a step, constants folded, room for mini-batches, the steps.

As _launch.py for the verbs: addresses of plain tensors, no derivative rule.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from irkernels import _native
from irkernels._arrangement import arranged, arrangement_bytes
from irkernels._batches import Batches, in_batches, observations, strided
from irkernels._blas import deterministic
from irkernels._folding import fold
from irkernels._launch import (
    DTYPES,
    LOSSES,
    TRAIN,
    VALUE,
    Entries,
    coordinates,
    has_kernels,
    launched,
    own_threads,
    stream_of,
    value,
)  # fmt: skip
from irkernels._long_steps import Undo, is_long, undo_bytes
from irkernels._problem import Problem
from irkernels._watching import Records, Watching
from irkernels.observed import Observed

RULES = {"sgd": 0, "adam": 1, "group_rmsprop": 2}  # csrc/plan/fit_program.h, RuleKind
_SHARING = {None: 0, "core": 1, "grid": 2, "lanes": 3}  # csrc/plan/fit_program.h, Sharing
_Plain = tuple[Any, ...]  # arguments of a native call: numbers, tensors, and tuples of these
_Sights = tuple[_Plain, Tensor, int]  # the plans of watched entries, their workspace, its elements a thread
_FEW = 32  # operands up to which intermediates are no matter: csrc/plan/gather.cpp, outgrows


def fit_steps(problem: Problem, steps: int) -> tuple[Tensor, Tensor]:
    """Up to `steps` updates of every active trial, natively and in place: (losses [T], done [T] int64).

    What irkernels/reference/fit.py computes, without returning to Python between the steps.
    """
    plan = _train_plan(problem)
    whole, problem = problem, replace(problem, **problem.kept["folded"])
    operands, rule = tuple(problem.operands), problem.rule
    losses = operands[0].new_full((problem.trials,), torch.nan)
    by_launch = launched(operands[0])
    factors = tuple(zip(problem.factors, map(tuple, rule.moments), rule.group, problem.places))
    threads = own_threads()
    native_rule = (
        RULES[rule.kind], len(rule.hyper), int(rule.nesterov), int(rule.maximize), int(rule.decoupled),
        rule.hyper.contiguous(), rule.clip, rule.clip_value, rule.step, rule.v,
    )  # fmt: skip
    ridge = None if problem.ridge is None else (2 * problem.ridge).to(losses.dtype)
    batches = _batches_of(problem, plan, threads)
    watching = problem.watching
    watching.prepare(steps, losses.device)
    sights = None if watching.records is None else _sights(whole, watching.records, 0 if by_launch else threads)
    watched = 0 if sights is None else sum(sight[0].work for sight in sights[0])
    in_lanes = not by_launch and _in_lanes(whole, plan, operands, watched)
    if by_launch:
        whole.served = _native.launched_tier(plan, problem.trials, _SHARING[problem.tier], operands[0])
    workspace: list[Tensor] = []  # of whoever takes the steps, once they are taken

    def run(
        operands: tuple[Tensor, ...], entries: Entries, target: _Plain, begin: int, steps: int, active: Tensor,
        done: Tensor, drawn: _Plain | None, look_back: bool,
    ) -> None:  # fmt: skip
        target = (LOSSES[problem.loss], problem.delta, *target, losses)
        watched = _watched(watching, watching.first + begin, look_back, sights)
        alone = not by_launch and steps <= 1 and is_long(problem, plan.work)
        rest = (
            *entries, target, native_rule, steps, active, done, threads, watched, drawn, ridge,
            _SHARING[problem.tier], alone, stream_of(operands[0]),
        )  # fmt: skip
        if not (in_lanes and _lanes(whole, plan, operands, factors, workspace, rest, threads)):
            undo = _undo(problem) if alone else None
            if by_launch:
                workspace[:] = [_launched_workspace(problem, plan, operands, factors, rest)]
            elif not workspace:
                workspace.append(torch.empty(_core_bytes(problem, plan, threads), dtype=torch.uint8, device="cpu"))
            _native.fit(plan, operands, factors, *workspace, *rest)
            if undo is not None and watching.interrupted:
                undo.back()
        watching.settle(begin + steps)

    if batches is not None:
        return losses, in_batches(batches, operands, watching, steps, problem.active, run)
    entries, values, weights = _observed(problem, plan)
    done = torch.zeros(problem.trials, dtype=torch.int64, device=losses.device)
    target = (*strided(values), *strided(weights))
    run(operands, entries, target, 0, steps, problem.active.contiguous(), done, None, watching.look_back)
    return losses, done


def _launched_workspace(
    problem: Problem, plan: _native.Plan, operands: tuple[Tensor, ...], factors: _Plain, rest: _Plain
) -> Tensor:
    """What a call by the launch takes, the call itself as plain data among it."""
    size, limit = _native.fit_bytes(plan, operands, factors, None, *rest), problem.memory_limit
    if limit is not None and size > limit:
        raise MemoryError(f"memory_limit is {limit} bytes, but the steps need a workspace of {size}")
    return operands[0].new_empty(size, dtype=torch.uint8)


def why_not_natively(problem: Problem) -> str | None:
    """What keeps the steps of a problem from native code, or None: of a device, a dtype, a plan."""
    factor = problem.factors[0]
    if not has_kernels(factor) or factor.dtype not in (torch.float32, torch.float64):
        return f"the factors are {factor.dtype} on {factor.device}"
    if launched(factor) and _train_plan(problem).gather:
        return "rows of so many operands are gathered in torch where kernels are launched"
    return None


def _undo(problem: Problem) -> Undo:
    """How to take the next step back."""
    undo = problem.kept.get("undo") or Undo(problem)
    problem.kept["undo"] = undo
    undo.remember()
    return undo


def _observed(problem: Problem, plan: _native.Plan) -> tuple[Entries, Tensor, Tensor | None]:
    """Entries as a native call reads them, their values and their weights, arranged once for a problem."""
    if not isinstance(problem.data, Observed):
        return (coordinates(plan, None), *observations(problem))
    if "arranged" not in problem.kept:
        problem.kept["arranged"] = arranged(problem.data.coordinates, plan.orders, *observations(problem))
    found: tuple[Entries, Tensor, Tensor | None] = problem.kept["arranged"]
    return found


def check_tier(problem: Problem) -> None:
    """Before anything is written: raises ValueError where tier='lanes' is asked for and cannot be."""
    if problem.tier != "lanes" or launched(problem.factors[0]):
        return
    plan = _train_plan(problem)
    operands = tuple(replace(problem, **problem.kept["folded"]).operands)
    if reason := _why_not_lanes(problem, plan, operands, 0):
        raise ValueError(f"tier='lanes': {reason}")


def _why_not_lanes(problem: Problem, plan: _native.Plan, operands: tuple[Tensor, ...], watched: int) -> str:
    if problem.batch_size is not None and isinstance(problem.data, Observed):
        return "lanes take no mini-batches of listed entries, whose places differ from step to step"
    return _native.why_not_lanes(plan, operands, watched, problem.tier == "lanes")


def _in_lanes(problem: Problem, plan: _native.Plan, operands: tuple[Tensor, ...], watched: int) -> bool:
    """Whether a trial gets a lane; problem.served says in words who takes the steps. The bits are the same.

    watched: multiply-adds of the entries of W that are watched.
    """
    if problem.served is None:
        reason = _why_not_lanes(problem, plan, operands, watched)
        if problem.tier == "lanes" and reason:
            raise ValueError(f"tier='lanes': {reason}")
        name = "core" if plan.trains_by_trial(own_threads()) else "grid"
        if problem.tier in ("core", "grid"):
            problem.served = f"{problem.tier}: as asked"
        else:
            problem.served = f"{name}: {reason}" if reason else "lanes"
    return problem.served.startswith("lanes")


def _lanes(
    problem: Problem, plan: _native.Plan, operands: tuple[Tensor, ...], factors: _Plain, workspace: list[Tensor],
    rest: _Plain, threads: int,
) -> bool:  # fmt: skip
    """The steps of a call with a trial in each lane, written out once for a problem; False: no memory for it."""
    kept, watched = problem.kept, _written_out(problem.watching)
    if kept.get("written out") != watched or "lanes" not in kept:
        kept["lanes"] = step = _native.lanes_trace(plan, operands, factors, None, *rest)
        kept["written out"] = watched
        code = "machine code" if step.compiled else "interpreted"
        size = step.bytes(problem.trials, threads)
        problem.served = (
            f"lanes: {step.length} operations a step, {code}; workspace {size:,} bytes, the step itself {step.held:,}"
        )
    step, limit = kept["lanes"], problem.memory_limit
    if limit is not None and (size := _bytes_taken(problem, plan, threads)) > limit:
        if problem.tier == "lanes":
            raise MemoryError(f"memory_limit is {limit} bytes, but lanes need a workspace of {size}")
        problem.served = f"core: memory_limit is {limit} bytes, lanes need {size}"
        del kept["lanes"]
        return False
    if not workspace:
        workspace.append(torch.empty(step.bytes(problem.trials, threads), dtype=torch.uint8, device="cpu"))
    _native.lanes_fit(step, plan, operands, factors, *workspace, *rest)
    return True


def _written_out(watching: Watching) -> _Plain:
    """What a step that is written out does for the records and the limits."""
    records, limits = watching.records, watching.limits
    return records and (records.plain(), records.entries), limits and (limits.below, limits.above)


def _watched(watching: Watching, first: int, look_back: bool, sights: _Sights | None) -> _Plain:
    """As csrc/bind/watching.h reads it, from step `first` on."""
    records, limits = watching.records, watching.limits
    noted = None
    if records is not None and sights is not None:
        plans, *workspace = sights
        rows = watching.rows[..., watching.row(first) :]
        noted = (*records.plain(), plans, rows, watching.rows.shape[-1], records.now, *workspace)
    return first, int(look_back), watching.verdicts, noted, limits and tuple(vars(limits).values())


def _sights(problem: Problem, records: Records, threads: int) -> _Sights:
    """The plans that make the watched entries of W, and workspace for so many threads."""
    count = len(problem.product.partition("->")[0].split(","))  # W's operands come first
    operands = tuple(problem.operands)[:count]
    has_trials = [position not in problem.constants for position in range(count)]
    sliced = records.sliced(problem.product, operands, has_trials)
    unmoved = [False] * count
    plans = [
        _native.train_plan(equation, VALUE, unmoved, has_trials, views, problem.trials, -1, "")
        for equation, views in sliced
    ]
    sizes = [math.prod(plan.output_shape) for plan in plans]
    inner = -(-sum(sizes) // 16) * 16  # where the intermediates begin, behind the entries
    elements = inner + max((plan.scratch for plan in plans), default=0)
    sights = [(plan, views, sum(sizes[:i]), inner) for i, (plan, (_, views)) in enumerate(zip(plans, sliced))]
    return tuple(sights), problem.factors[0].new_empty(threads * elements), elements


def fit_workspace(problem: Problem) -> int:
    """Bytes that `fit_steps` takes beside what it is given. Raises MemoryError where they pass problem.memory_limit."""
    plan, threads = _train_plan(problem), own_threads()
    _batches_of(replace(problem, **problem.kept["folded"]), plan, threads)
    return _bytes_taken(problem, plan, threads)


def _bytes_taken(problem: Problem, plan: _native.Plan, threads: int) -> int:
    """By whoever takes the steps, in lanes once a step has been written out, and beside them."""
    step, batches = problem.kept.get("lanes"), problem.kept.get("batches")
    own = _core_bytes(problem, plan, threads) if step is None else step.bytes(problem.trials, threads) + step.held
    return own + _bytes_beside(problem, plan) + (0 if batches is None else batches.bytes)


def _bytes_beside(problem: Problem, plan: _native.Plan) -> int:
    """The copy that undoes a step, folded constants, arranged observations."""
    data, folded, observed = problem.data, int(problem.kept["folded bytes"]), 0
    if isinstance(data, Observed) and problem.batch_size is None:
        observed = arrangement_bytes(data.coordinates, plan.orders, *observations(problem))
    return folded + undo_bytes(problem, plan.work) + observed


def _core_bytes(problem: Problem, plan: _native.Plan, threads: int) -> int:
    if launched(problem.factors[0]):
        return 0  # counted when the call is known: _launched_workspace
    return plan.training_bytes(threads, _SHARING[problem.tier])


def _train_plan(problem: Problem) -> _native.Plan:
    """The plan of one step, of constants folded, made once."""
    kept = problem.kept
    if "plan" not in kept:
        kept["folded"], kept["folded bytes"] = {}, 0
        kept["plan"] = _new_plan(problem)
        groups = kept["plan"].constant_groups if problem.ridge is None else ()  # W's operands must come first
        if groups:
            with deterministic():
                found = fold(problem, groups, value)
            before = {id(operand) for operand in problem.operands}
            changed = ("equation", "constants", "frozen", "tied", "rows")
            kept["folded"] = {name: getattr(found, name) for name in changed}
            kept["folded bytes"] = sum(o.numel() * o.itemsize for o in found.operands if id(o) not in before)
            kept["plan"] = _new_plan(found)
    plan: _native.Plan = kept["plan"]
    return plan


def streams(problem: Problem, count: int) -> bool:
    """Whether a product of shape [count] is best read as listed entries, of which a block at a time is worked on."""
    operands = problem.operands
    if len(operands) <= _FEW or launched(operands[0]):
        return False
    views = [o if position in problem.constants else o[0] for position, o in enumerate(operands)]
    shapes = [(tuple(view.shape), tuple(view.stride())) for view in views]
    dtype = DTYPES.index(operands[0].dtype)
    return _native.plan_of_shapes(problem.equation, VALUE, (True,) * len(operands), shapes, dtype, count).gather


def _new_plan(problem: Problem) -> _native.Plan:
    operands = tuple(o[: problem.batch_size] if p in problem.rows else o for p, o in enumerate(problem.operands))
    per_trial = [position not in problem.constants for position in range(len(operands))]
    wanted = [each and position not in problem.frozen for position, each in enumerate(per_trial)]
    nnz = (problem.batch_size or problem.data.nnz) if isinstance(problem.data, Observed) else -1
    ridge = "" if problem.ridge is None else problem.ridge_equation
    return _native.train_plan(problem.equation, TRAIN, wanted, per_trial, operands, problem.trials, nnz, ridge)


def _batches_of(problem: Problem, plan: _native.Plan, threads: int) -> Batches | None:
    """Room for mini-batches, taken once; all that is taken is held against the limit, with the workspace of a core."""
    scratch, limit = _core_bytes(problem, plan, threads) + _bytes_beside(problem, plan), problem.memory_limit
    if limit is not None and scratch > limit:
        raise MemoryError(f"memory_limit is {limit} bytes, but the steps need a workspace of {scratch}")
    if problem.batch_size is None:
        return None
    if "batches" not in problem.kept:
        room = None if limit is None else limit - scratch
        problem.kept["batches"] = Batches(problem, problem.batch_size, plan.orders, room)
    batches: Batches = problem.kept["batches"]
    return batches
