"""Native training: a Problem's steps handed to the tier that takes them, with what is noted of them on the way."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from irkernels import _native, reference
from irkernels._launch import TRAIN, VALUE, coordinates_of, own_threads, prefers_gather, target_of
from irkernels._problem import Problem
from irkernels.observed import Observed

RULES = {"sgd": 0, "adam": 1, "group_rmsprop": 2}  # csrc/plan/fit_program.h, RuleKind


def fit_steps(problem: Problem, steps: int) -> tuple[Tensor, Tensor]:
    """Up to `steps` updates of every active trial, natively and in place: (losses [T], done [T] int64).

    What irkernels/reference/fit.py computes, without returning to Python between the steps.
    """
    operands, rule = tuple(problem.operands), problem.rule
    first, trials = operands[0], problem.trials
    observed = problem.data if isinstance(problem.data, Observed) else None
    at = observed.coordinates if observed else None
    per_trial = [position not in problem.constants for position in range(len(operands))]
    wanted = [each and position not in problem.frozen for position, each in enumerate(per_trial)]
    single = tuple(operand[0] if each else operand for operand, each in zip(operands, per_trial))
    if at is not None and prefers_gather(problem.equation, single, at):
        if problem.tier is not None:
            raise ValueError(f"tier={problem.tier!r}: no tensor of the product can be formed, its rows are gathered in plain torch")
        return reference.fit_steps(problem, steps)  # no tensor of the tree can be formed: rows are gathered step by step
    plan = _native.train_plan(problem.equation, TRAIN, wanted, per_trial, operands, trials, at.nnz if at else -1)
    losses = torch.full((trials,), torch.nan, dtype=first.dtype)
    done = torch.zeros(trials, dtype=torch.int64)
    if observed:
        target = target_of(observed.values, observed.weights, [trials, at.nnz], problem.loss, problem.delta, losses)
    else:
        shape = plan.output_shape
        dense = problem.data.reshape(-1, *shape) if problem.data.dim() > len(shape) else problem.data
        target = target_of(dense.flatten(-len(shape)) if shape else dense.unsqueeze(-1), None, [trials, -1], problem.loss,
                         problem.delta, losses)
    factors = tuple(zip(problem.factors, map(tuple, rule.moments), rule.group, problem.places))
    threads = own_threads()
    native_rule = (
        RULES[rule.kind], len(rule.hyper), int(rule.nesterov), int(rule.maximize), int(rule.decoupled), rule.hyper.contiguous(),
        rule.clip, rule.clip_value, rule.step, rule.v,
    )
    rest = (*coordinates_of(plan, at), target, native_rule, steps, problem.active.contiguous(), done, threads,
            _watching(problem, steps, per_trial, threads))
    if _in_lanes(problem, plan, operands):
        if problem.lanes is None:
            problem.lanes = _native.lanes_trace(plan, operands, factors, None, *rest)
            code = "machine code" if problem.lanes.compiled else "interpreted"
            problem.served = f"lanes: {problem.lanes.length} operations a step, {code}"
        scratch = torch.empty(problem.lanes.bytes(trials, threads), dtype=torch.uint8)
        _native.lanes_fit(problem.lanes, plan, operands, factors, scratch, *rest)
    else:
        scratch = torch.empty(plan.scratch_bytes(threads), dtype=torch.uint8)
        _native.fit(plan, operands, factors, scratch, *rest)
    return losses, done


def _in_lanes(problem: Problem, plan: _native.Plan, operands: tuple[Tensor, ...]) -> bool:
    """Whether a trial gets a lane or a core; problem.served says so in words. The bits are the same."""
    if problem.served is None:
        reason = _native.why_not_lanes(plan, operands, problem.tier == "lanes")
        if problem.tier == "lanes" and reason:
            raise ValueError(f"tier='lanes': {reason}")
        if problem.tier == "core":
            problem.served = "core: as asked"
        else:
            problem.served = f"core: {reason}" if reason else "lanes"
    return problem.served.startswith("lanes")


def _watching(problem: Problem, steps: int, has_trials: list[bool], threads: int) -> tuple:
    """problem.watching as csrc/bind/watching.h reads it; its rows and verdicts are made here."""
    watching, records, limits = problem.watching, problem.watching.records, problem.watching.limits
    watching.prepare(steps, problem.factors[0].device)
    if records is not None:
        sights, *workspace = _sights(problem, has_trials, threads)
        records = (*records.plain(), sights, watching.rows, watching.rows.shape[-1], records.now, *workspace)
    return watching.first, int(watching.look_back), watching.verdicts, records, limits and tuple(vars(limits).values())


def _sights(problem: Problem, has_trials: list[bool], threads: int) -> tuple:
    """The plans that make the watched entries, and workspace for so many threads."""
    sliced = problem.watching.records.sliced(problem.equation, tuple(problem.operands), has_trials)
    unmoved = [False] * len(has_trials)
    plans = [_native.train_plan(equation, VALUE, unmoved, has_trials, views, problem.trials, -1) for equation, views in sliced]
    sizes = [math.prod(plan.output_shape) for plan in plans]
    inner = -(-sum(sizes) // 16) * 16  # where the intermediates begin, behind the entries
    elements = inner + max((plan.scratch for plan in plans), default=0)
    sights = [(plan, views, sum(sizes[:i]), inner) for i, (plan, (_, views)) in enumerate(zip(plans, sliced))]
    return tuple(sights), problem.factors[0].new_empty(threads * elements), elements
