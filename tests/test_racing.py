"""Python threads that race on the plan cache, while plans are evicted under them: the bits of serial calls."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor

import irkernels as irk
from irkernels import _native
from irkernels.testing.fingerprint import bits

RACERS, CALLS = 8, 300
CHAIN, TRIALS = "ij,jk,kl->il", "...ij,...jk->...ik"


def differentiated(
    factors: list[Tensor], value: Callable[[list[Tensor]], Tensor], cotangent: Tensor | None = None
) -> tuple[Tensor, ...]:
    """Gradients at leaves of this call's own: torch itself can deadlock when threads first differentiate one leaf."""
    leaves = [factor.clone().requires_grad_() for factor in factors]
    return torch.autograd.grad(value(leaves), leaves, cotangent)


def mixed_calls() -> list[Callable[[], tuple[Tensor, ...]]]:
    """Every verb at sizes below and above those that share their work between threads of a team."""
    calls: list[Callable[[], tuple[Tensor, ...]]] = []
    for n in (1, 3, 17, 40, 140):
        factors = [torch.randn(n, n) / n for _ in range(3)]
        pair = [torch.randn(6, n, n, dtype=torch.float64) for _ in range(2)]
        at = torch.randint(n, (25, 2))
        data, cotangent = irk.Observed(at, torch.randn(25), (n, n)), torch.randn(n, n)
        calls += [
            lambda f=factors: (irk.einsum(CHAIN, *f),),
            lambda f=factors, g=cotangent: differentiated(f, lambda w: irk.einsum(CHAIN, *w), g),
            lambda f=factors, g=cotangent: irk.gradients(CHAIN, *f, cotangent=g),
            lambda p=pair: (irk.einsum(TRIALS, *p),),
            lambda f=factors, at=at: (irk.entries(CHAIN, *f, at=at),),
            lambda f=factors, data=data: differentiated(f, lambda w: irk.completion_loss(CHAIN, *w, observed=data)),
            lambda f=factors: (irk.multi_dot(f),),
        ]
    return calls


@pytest.mark.parametrize("count", (1, 2))
def test_racing_calls_give_the_serial_bits(count: int, threads: Callable) -> None:
    threads(count)
    calls = mixed_calls()
    serial = [[bits(tensor) for tensor in call()] for call in calls]
    start = threading.Barrier(RACERS)

    def race(seed: int) -> list[int]:
        """Which calls differed. The order is this thread's own; now and then it throws all plans away."""
        draw, wrong = random.Random(seed), []
        threads(count)  # each Python thread has an OpenMP team of its own
        start.wait()
        for number in range(CALLS):
            if number % 29 == seed:
                _native.clear_plans()
            which = draw.randrange(len(calls))
            if [bits(tensor) for tensor in calls[which]()] != serial[which]:
                wrong.append(which)
        return wrong

    _native.clear_plans()
    with ThreadPoolExecutor(RACERS) as pool:
        assert list(pool.map(race, range(RACERS))) == [[]] * RACERS
