"""Small dense products over many trials: the calls that are written out and run in lanes give the bits of those
before."""

from __future__ import annotations

import pytest
import torch

import irkernels as irk
from irkernels.testing import FAMILIES, Product
from irkernels.testing.fingerprint import bits, every_result

SERVED_FIRST = 2000  # csrc/plan/tier.h: trials of a plan until it is written out


@pytest.mark.parametrize("product", [each for each in FAMILIES if each.trials is None and each.elements < 400],
                         ids=lambda each: each.name)
def test_families(product: Product) -> None:
    for dtype in (torch.float64, torch.float32):
        for trials in (33, 64):
            case = product.with_trials(trials)
            operands = case.operands(dtype=dtype)
            first = every_result(case, operands)
            for _ in range(SERVED_FIRST // trials + 1):
                last = every_result(case, operands)
            differing = [name for name, result in first.items() if bits(last[name]) != bits(result)]
            assert not differing, f"{trials} trials, {dtype}: other bits in {differing}"


def test_values_that_are_not_finite_stay_in_their_trial() -> None:
    factors = [torch.randn(40, 2, 2) for _ in range(3)]
    for _ in range(SERVED_FIRST // 40 + 1):
        irk.einsum("...ij,...jk,...kl->...il", *factors)
    expected = irk.einsum("...ij,...jk,...kl->...il", *factors)
    factors[1][7, 0, 1] = torch.nan
    factors[0][39, 1, 0] = torch.inf
    found = irk.einsum("...ij,...jk,...kl->...il", *factors)
    touched = [trial for trial in range(40) if bits(found[trial]) != bits(expected[trial])]
    assert touched == [7, 39] and found[7].isnan().any() and not found[39].isfinite().all()


def test_strides_of_each_trial() -> None:
    a = torch.randn(50, 3, 2).transpose(1, 2)
    b = torch.randn(3, 4, 50).permute(2, 0, 1)
    expected = irk.einsum("...ij,...jk->...ik", a, b)
    for _ in range(SERVED_FIRST // 50 + 1):
        found = irk.einsum("...ij,...jk->...ik", a, b)
    assert bits(found) == bits(expected)
