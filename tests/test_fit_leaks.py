"""Native training leaves nothing behind: many calls of the engine, many fits, many fits that fail.

IRKERNELS_CALLS: engine calls of each kind, as many as .ci/release asks for.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import irkernels as irk

CALLS = int(os.environ.get("IRKERNELS_CALLS", 3000))
GROWTH = 1 << 20  # bytes that so many calls may leave behind

MANY_CALLS = """
import gc, sys, torch, irkernels as irk
from irkernels._watching import Watching
from irkernels.training.engines import NativeSteps
from irkernels.training.objective import Objective
from irkernels.training.overrides import Overrides

calls = int(sys.argv[1])
at = torch.cartesian_prod(torch.arange(4), torch.arange(5))[::2]
data = irk.Observed(at, torch.linspace(-1, 1, len(at)), (4, 5))

def model(trials=3):
    return irk.nn.MatrixChain(4, 5, 2, trials=trials, init_scale=0.1, seed=0)

def engine(tier=None, **objective):
    trained = model()
    optimizer = torch.optim.Adam(trained.parameters(), lr=1e-4)
    steps = NativeSteps(trained, Objective(data, **objective), optimizer, Overrides(), tier)
    active = torch.ones(3, dtype=torch.bool)
    def call():
        steps.advance(1, active, Watching(3))
    return call

def fit(**options):
    trained = model()
    optimizer = torch.optim.SGD(trained.parameters(), lr=0.1, momentum=0.9)
    return irk.fit(trained, data, optimizer, steps=3, record=["loss", "error"], truth=data, progress=False, **options)

def failing():
    try:
        fit(clip=[1.0, 2.0])
    except ValueError:
        return
    raise AssertionError("two numbers are not one for each of three trials")

def resident():
    gc.collect()
    return int(open("/proc/self/statm").read().split()[1]) * 4096

kinds = {
    "lanes": (engine("lanes"), calls), "core": (engine("core"), calls), "grid": (engine("grid"), calls),
    "ridge": (engine(ridge=torch.full((3,), 0.1, dtype=torch.float64)), calls),
    "batches": (engine(batch_size=4), calls),
    "fit": (fit, calls // 20), "failing": (failing, calls // 4),
}
for call, _ in kinds.values():
    for _ in range(100):
        call()
for name, (call, count) in kinds.items():
    before = resident()
    for _ in range(count):
        call()
    print(name, resident() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="this system does not tell a process's memory")
@pytest.mark.skipif(irk._launch.LAUNCHES, reason="no native steps in the target in force")
def test_many_training_calls_leave_nothing_behind() -> None:
    path = os.pathsep.join([str(Path(irk.__file__).parent.parent), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-c", MANY_CALLS, str(CALLS)]
    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, timeout=3000)
    assert done.returncode == 0, done.stderr
    grown = {name: int(size) for name, size in (line.split() for line in done.stdout.splitlines())}
    assert len(grown) == 7 and max(grown.values()) < GROWTH, grown
