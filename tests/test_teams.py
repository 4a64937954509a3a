"""One trial over more threads than there are cores: the team breaks up on the way, and gives the bits of one thread."""

from __future__ import annotations

import os

import pytest
import torch

import irkernels as irk

SIZE, STEPS = 100, 300
CROWD = min(32, 4 * (os.cpu_count() or 1))  # threads, of which most wait for a core


@pytest.mark.skipif(irk._launch.LAUNCHES, reason="no native steps in the target in force")
@pytest.mark.parametrize("trials", [None, 3])
def test_a_team_that_breaks_up_gives_the_bits_of_one_thread(trials: int | None, threads) -> None:
    at = torch.cartesian_prod(torch.arange(SIZE), torch.arange(SIZE))[::5]
    observed = irk.Observed(at, torch.linspace(-1, 1, len(at)), (SIZE, SIZE))
    results = []
    for count in (1, CROWD):
        threads(count)
        model = irk.nn.MatrixChain(SIZE, SIZE, 3, trials=trials, init_scale=0.1, seed=0)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        options = {"record": ["loss"], "record_every": 100, "tier": "grid", "progress": False}
        run = irk.fit(model, observed, optimizer, steps=STEPS, **options)
        results.append([run.metrics["loss"], *model.factors])
    assert all(factor.isfinite().all() for factor in results[0])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))
