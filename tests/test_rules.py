"""The update rules of irk.fit against torch's own optimizers: options, state exchanged, trials, clipping."""

from __future__ import annotations

import copy

import pytest
import torch
from test_fit import F64, chain, eager, engine, observed, quiet  # noqa: F401 (engine is a fixture)

from irkernels.optim import GroupRMSprop
from irkernels.training import Stop

SGD, Adam, AdamW = torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW
OPTIONS = {
    "adam": (Adam, {}),
    "adam, decay and betas": (Adam, dict(weight_decay=0.1, betas=(0.8, 0.95), eps=1e-3)),
    "adam, amsgrad": (Adam, dict(amsgrad=True, betas=(0.5, 0.6))),
    "adam, beta1 zero": (Adam, dict(betas=(0.0, 0.99), eps=1e-2)),
    "adamw": (AdamW, {}),
    "adamw, all": (AdamW, dict(weight_decay=0.3, amsgrad=True, betas=(0.7, 0.9), eps=1e-2)),
    "sgd, maximize": (SGD, dict(maximize=True, weight_decay=30.0)),
    "sgd, all": (SGD, dict(momentum=0.8, dampening=0.2, weight_decay=0.01)),
    "sgd, nesterov": (SGD, dict(momentum=0.8, nesterov=True)),
    "group_rmsprop": (GroupRMSprop, dict(alpha=0.9, eps=1e-3)),
}


def made(kind, parameters, **more):
    optimizer, options = OPTIONS[kind]
    return optimizer(parameters, **{"lr": 3e-3, **options, **more})


def close(ours, theirs, tolerance):
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(p.detach(), q.detach(), rtol=tolerance, atol=tolerance)


def same_state(mine, ours, other, theirs, tolerance=1e-9):
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert mine.state[p].keys() == other.state[q].keys()
        for name, value in mine.state[p].items():
            expected = other.state[q][name]
            assert value.dtype == expected.dtype and value.shape == expected.shape and value.device == expected.device
            torch.testing.assert_close(value, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("kind", OPTIONS)
@pytest.mark.parametrize("trials", [None, 3])
def test_a_thousand_steps_and_the_state_after_them(kind, trials):
    ours, theirs, data = chain(trials), chain(trials), observed()
    mine, other = made(kind, ours.parameters()), made(kind, theirs.parameters())
    start = copy.deepcopy(ours)
    quiet(ours, data, mine, steps=1000)
    eager(theirs, data, other, 1000)
    close(ours, theirs, 1e-10)
    same_state(mine, ours, other, theirs)
    with pytest.raises(AssertionError):
        close(ours, start, 1e-2)


@pytest.mark.parametrize("kind", OPTIONS)
def test_native_steps_and_the_optimizers_own_interchange(kind):
    ours, theirs, data = chain(2), chain(2), observed()
    mine, other = made(kind, ours.parameters()), made(kind, theirs.parameters())
    for taken, steps in ((eager, 5), (quiet, 300), (eager, 3), (quiet, 7), (quiet, 2)):
        taken(ours, data, mine, steps=steps)
    eager(theirs, data, other, 317)
    close(ours, theirs, 1e-11)
    same_state(mine, ours, other, theirs)


@pytest.mark.parametrize("kind", OPTIONS)
def test_float32(kind):
    ours, theirs = (chain(2, dtype=torch.float32, depth=2) for _ in range(2))
    data = observed(dtype=torch.float32)
    mine, other = made(kind, ours.parameters()), made(kind, theirs.parameters())
    quiet(ours, data, mine, steps=50)
    eager(theirs, data, other, 50)
    close(ours, theirs, 1e-4)
    same_state(mine, ours, other, theirs, 1e-3)
