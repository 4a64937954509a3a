"""The workspace of native training: what explain() says is what memory_limit= counts, and what is allocated."""

from __future__ import annotations

import ctypes
import gc
import re
import statistics
from dataclasses import dataclass

import pytest
import torch
from test_memory import most_alive

import irkernels as irk
from irkernels import _long_steps, _native
from irkernels._fit import fit_workspace
from irkernels._watching import Watching
from irkernels.training.engines import NativeSteps
from irkernels.training.objective import Objective
from irkernels.training.overrides import Overrides

pytestmark = pytest.mark.skipif(irk._launch.LAUNCHES, reason="no native steps in the target in force")


@dataclass(frozen=True)
class Case:
    equation: str
    shapes: tuple[tuple[int, ...], ...]
    trials: int | None = None
    nnz: int | None = None


CASES = {
    "chain": Case("ij,jk,kl->il", ((70, 60), (60, 50), (50, 90))),
    "trials": Case("ij,jk,kl->il", ((40, 30), (30, 50), (50, 45)), trials=3),
    "split": Case("ij,jk,kl->il", ((300, 40), (40, 30), (30, 300)), nnz=500),
    "CP in trials": Case("ar,br,cr->abc", ((30, 16), (25, 16), (35, 16)), trials=2),
    "listed CP": Case("ar,br,cr->abc", ((30, 16), (25, 16), (35, 16)), nnz=9000),
}


def steps_of(case: Case, dtype: torch.dtype) -> NativeSteps:
    lead = () if case.trials is None else (case.trials,)
    factors = [torch.randn(*lead, *shape, dtype=dtype) / 8 for shape in case.shapes]
    model = irk.nn.Product(case.equation, *factors, trials=case.trials)
    data = torch.zeros(model.shape, dtype=dtype)
    if case.nnz is not None:
        at = torch.stack([torch.randint(extent, (case.nnz,)) for extent in model.shape], 1)
        data = irk.Observed(at, torch.zeros(case.nnz, dtype=dtype), model.shape)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    return NativeSteps(model, Objective(data), optimizer, Overrides(), None)


def told(case: Case, dtype: torch.dtype) -> int:
    lead = () if case.trials is None else (case.trials,)
    terms, output = case.equation.split("->")
    spread = f"{','.join('...' + term for term in terms.split(','))}->...{output}" if lead else case.equation
    text = irk.explain(spread, *((*lead, *shape) for shape in case.shapes), nnz=case.nnz, dtype=dtype)
    return int(re.search(r"^training .*; workspace ([\d,]+) bytes$", text, re.MULTILINE)[1].replace(",", ""))


@pytest.mark.parametrize("count", (1, 2))
@pytest.mark.parametrize("dtype", (torch.float32, torch.float64), ids=str)
@pytest.mark.parametrize("name", CASES)
def test_training_takes_what_explain_tells(name: str, dtype: torch.dtype, count: int, threads) -> None:
    threads(count)
    case = CASES[name]
    steps, trials = steps_of(case, dtype), case.trials or 1
    assert fit_workspace(steps.problem) == told(case, dtype)
    active, watching = torch.ones(trials, dtype=torch.bool), Watching(trials)
    a_trial = dtype.itemsize + torch.int64.itemsize + 1  # its loss, its updates, its verdict: what a call gives back
    assert 0 <= most_alive(lambda: steps.advance(1, active, watching)) - told(case, dtype) <= trials * a_trial
    assert steps.tier.startswith(("core", "grid"))


def in_lanes(n: int = 9, trials: int = 40, tier: str | None = "lanes") -> NativeSteps:
    model = irk.nn.MatrixChain(n, n, 3, trials=trials, init_scale=0.5, seed=0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    return NativeSteps(model, Objective(torch.zeros(n, n)), optimizer, Overrides(), tier)


@pytest.mark.parametrize("count", (1, 2))
def test_lanes_take_what_they_tell(count: int, threads) -> None:
    """A workspace of numbers, none for a core beside it; and the step itself, in memory that is not torch's."""
    threads(count)
    steps, active = in_lanes(), torch.ones(40, dtype=torch.bool)
    in_lanes(8).advance(1, active, Watching(40))  # what is made once in a process
    grown = statistics.median(_growth(each, active) for each in (in_lanes(), steps, in_lanes()))
    told = re.fullmatch(r"lanes: .*; workspace ([\d,]+) bytes, the step itself ([\d,]+)", steps.tier)
    workspace, itself = (int(size.replace(",", "")) for size in told.groups())
    assert fit_workspace(steps.problem) == workspace + itself
    a_trial = 4 + torch.int64.itemsize + 1  # its loss, its updates, its verdict: what a call gives back
    assert 0 <= most_alive(lambda: steps.advance(1, active, Watching(40))) - workspace <= 40 * a_trial
    code = steps.problem.kept["lanes"].code
    assert itself - code <= grown <= 1.25 * (itself - code) + 65536


def _growth(steps: NativeSteps, active: torch.Tensor) -> int:
    """Bytes of the C heap that the first step keeps; what others give back meanwhile counts too, so ask more than
    once."""
    steps.problem.kept.clear()
    _native.clear_plans()  # the step's own is among what it keeps
    before = _c_memory()
    steps.advance(1, active, Watching(40))
    return _c_memory() - before


def _c_memory() -> int:
    """Bytes that malloc has handed out."""
    fields = ("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost")
    kind = type("Mallinfo", (ctypes.Structure,), {"_fields_": [(name, ctypes.c_size_t) for name in fields]})
    ask = ctypes.CDLL(None).mallinfo2
    ask.restype = kind
    gc.collect()
    found = ask()
    return found.uordblks + found.hblkhd


def test_a_limit_that_lanes_pass_leaves_the_steps_to_a_core() -> None:
    active = torch.ones(40, dtype=torch.bool)
    free = in_lanes(tier=None)
    free.advance(1, active, Watching(40))
    need = fit_workspace(free.problem)
    for limit, tier in ((need, "lanes: "), (need - 1, f"core: memory_limit is {need - 1} bytes, lanes need {need}")):
        steps = in_lanes(tier=None)
        steps.limit_memory(limit, Watching(40))
        steps.advance(1, active, Watching(40))
        assert steps.tier.startswith(tier)
    assert fit_workspace(steps.problem) < need
    forced = in_lanes()
    forced.limit_memory(need - 1, Watching(40))
    with pytest.raises(MemoryError, match=f"memory_limit is {need - 1} bytes, but lanes need a workspace of {need}"):
        forced.advance(1, active, Watching(40))


def test_a_long_step_of_many_trials_takes_a_copy_that_is_counted(monkeypatch) -> None:
    case = CASES["trials"]
    short, long = steps_of(case, torch.float32), steps_of(case, torch.float32)
    kept = sum(tensor.nbytes for tensor in (*short.problem.factors, short.problem.rule.step))
    monkeypatch.setattr(_long_steps, "LONG", 1)
    assert fit_workspace(long.problem) == told(case, torch.float32) + kept
    active, watching = torch.ones(3, dtype=torch.bool), Watching(3)
    long.advance(1, active, watching)
    assert sum(tensor.nbytes for tensor in long.problem.kept["undo"]._copies) == kept
