"""One trial over a team of threads, each with machine code of its own share of a step, gives the bits of one thread.
With more threads than there are cores the team breaks up on the way."""

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


RULES = {
    "sgd": lambda parameters: torch.optim.SGD(parameters, lr=0.05),
    "momentum": lambda parameters: torch.optim.SGD(parameters, lr=0.05, momentum=0.9, nesterov=True),
    "amsgrad": lambda parameters: torch.optim.Adam(parameters, lr=0.003, amsgrad=True, weight_decay=0.01),
    "group rmsprop": lambda parameters: irk.optim.GroupRMSprop(parameters, lr=0.003),
}


@pytest.mark.skipif(irk._launch.LAUNCHES, reason="no native steps in the target in force")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize(
    "shape, depth, observed",
    [((64, 40), 3, 900), ((30, 70), 2, 61), ((13, 9), 3, 60), ((130, 3), 2, 250), ((90, 90), 2, 4000)],
    ids=str,
)
def test_members_write_their_shares(
    shape: tuple[int, int], depth: int, observed: int, rule: str, dtype: torch.dtype, threads
) -> None:
    draw = torch.Generator().manual_seed(observed)
    # some twice, some rows without any
    at = torch.stack([torch.randint(n, (observed,), generator=draw) for n in shape], 1)
    data = irk.Observed(at, torch.randn(observed, generator=draw).to(dtype), shape)
    results = []
    for count, tier in ((1, "core"), (2, "grid"), (3, "grid")):
        threads(count)
        model = irk.nn.MatrixChain(*shape, depth, init_scale=0.5, seed=0).to(dtype)
        options = {"record": ["loss"], "record_every": 140, "tier": tier, "progress": False}
        run = irk.fit(model, data, RULES[rule](model.parameters()), steps=STEPS, **options)
        results.append([run.metrics["loss"], *model.factors])
    assert all(factor.isfinite().all() for factor in results[0])
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))
