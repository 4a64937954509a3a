"""Errors against depth and size beside eager torch, on fixed seeds: never worse, and better for half types.

The bounds are the table's (bench/numerics.py): over all cases a geometric mean of at most 1.05 of torch's error, no
case
above twice; for half types, which eager torch rounds at every step and a plan rounds once, at most one rounding
whatever
the depth.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path

import pytest
import torch

# last on the path: the checkout's own source tree must not hide an installed irkernels
sys.path.append(str(Path(__file__).resolve().parent.parent))
from bench import numerics

SEEDS = 3
DEEP = (numerics.chain(8, 32), numerics.chain(16, 32), numerics.hadamard(8, 1000), numerics.hadamard(16, 1000))


@pytest.mark.parametrize("dtype", numerics.DTYPES)
def test_never_worse_than_eager(dtype: torch.dtype) -> None:
    ratios = {case.name: numerics.errors(case, dtype, SEEDS).ratios for case in numerics.FEWER}
    every = [ratio for each in ratios.values() for ratio in each]
    assert math.exp(sum(map(math.log, every)) / len(every)) <= numerics.MOST_MEAN
    assert max(every) <= numerics.MOST_WORST, ratios


@pytest.mark.parametrize("dtype", numerics.HALF)
@pytest.mark.parametrize("case", DEEP, ids=lambda case: case.name)
def test_half_types_are_rounded_once(case: numerics.Case, dtype: torch.dtype) -> None:
    """The error is that of one rounding, whose mean is below half a unit; eager's grows as the root of the depth."""
    found = numerics.errors(case, dtype, SEEDS)
    for ours, eager in (found.value, found.gradients):
        assert ours <= torch.finfo(dtype).eps / 2
        assert ours <= eager / 1.5


def test_the_errors_are_of_one_rounding() -> None:
    """The measure itself: a product of two halves that float32 holds exactly is off by its rounding alone."""
    case = numerics.hadamard(2, 1000)
    value, eager = numerics.errors(case, torch.bfloat16, 1).value
    assert value == eager and torch.finfo(torch.bfloat16).eps / 8 < value < torch.finfo(torch.bfloat16).eps / 2
