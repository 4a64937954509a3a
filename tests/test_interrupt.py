"""Ctrl-C within one long native step: the step is given up, and what is returned and saved is that of whole steps."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import irkernels as irk

CHILD = """
import os, signal, sys, threading, time
from pathlib import Path
import torch, irkernels as irk

depth, trials = int(sys.argv[1]), int(sys.argv[2]) or None
signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
torch.set_num_threads(1)
N = 900
gathered = depth == 0  # entries of a product too large to form
if gathered:
    order, rank, nnz = 60, 100, 40_000
    modes = [chr(0x100 + mode) for mode in range(order)]
    equation = ",".join(mode + "r" for mode in modes) + "->" + "".join(modes)
    at = torch.randint(0, 2, (nnz, order), generator=torch.Generator().manual_seed(0))
    data = irk.Observed(at, torch.ones(nnz, dtype=torch.float64), (2,) * order)
else:
    data = torch.ones(N, N, dtype=torch.float64)
saved = Path(sys.argv[3])  # written just before the first step

def start():
    if gathered:
        factors = torch.linspace(0.9, 1.1, order * 2 * rank, dtype=torch.float64).view(order, 2, rank)
        model = irk.nn.Product(equation, *factors)
        return model, torch.optim.SGD(model.parameters(), lr=1e-9, momentum=0.9)
    model = irk.nn.MatrixChain(N, N, depth, trials=trials, init_scale=0.1, seed=0, dtype=torch.float64)
    return model, torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)

def train(model, optimizer, steps, **options):
    record = ["loss", {"seen": lambda model: torch.zeros(trials or ())}]
    return irk.fit(model, data, optimizer, steps=steps, record=record, record_every=1, progress=False, **options)

model, optimizer = start()
first = model.factors[0].detach()[(0, 0) if trials else 0]
before, whole = first.clone(), [factor.detach().clone() for factor in model.factors]

def press():
    while not saved.exists():
        time.sleep(0.001)
    if trials:  # the first has made its step, the second is about to
        while torch.equal(first, before):
            time.sleep(0.001)
    else:
        time.sleep(0.2)
    os.kill(os.getpid(), signal.SIGINT)

presser = threading.Thread(target=press)
presser.start()
cut = train(model, optimizer, 10**6, checkpoint=saved)
presser.join()
assert cut.reason == (["interrupted"] * trials if trials else "interrupted")
assert torch.as_tensor(cut.stopped_at).eq(0).all(), cut.stopped_at
assert len(cut.steps) == 0 and all(len(values) == 0 for values in cut.metrics.values()), "the step was finished"
assert all(torch.equal(factor, old) for factor, old in zip(model.factors, whole))

(resumed, again), (plain, own) = start(), start()
actual = train(resumed, again, 1, resume=saved)
expected = train(plain, own, 1)
assert all(torch.equal(a, b) for a, b in zip(resumed.factors, plain.factors))
assert all(torch.equal(a, b) for a, b in zip(actual.metrics.values(), expected.metrics.values()))
assert torch.equal(actual.steps, expected.steps)
"""


@pytest.mark.skipif(irk._launch.LAUNCHES, reason="no native steps in the target in force")
@pytest.mark.parametrize(
    "depth, trials", [(12, 0), (3, 2), (0, 0)], ids=["one trial", "between two trials", "gathered entries"]
)
def test_a_long_step_is_given_up_and_the_run_goes_on_from_before_it(depth: int, trials: int, tmp_path: Path) -> None:
    path = os.pathsep.join([str(Path(irk.__file__).parent.parent), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-c", CHILD, str(depth), str(trials), str(tmp_path / "run.pt")]
    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
