"""Sharpness recorded along a fit: that of the loss, with penalties, at the factors as they stand."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import irkernels as irk
from irkernels import curvature
from irkernels.reference import curvature as reference
from irkernels.testing.derivatives import assert_equal, normal

AT = [[0, 0], [1, 2], [2, 1], [3, 0]]


def recorded(data: Any, trials: int | None = None, **options: Any) -> tuple[irk.nn.MatrixChain, torch.Tensor]:
    model = irk.nn.MatrixChain(4, 3, depth=2, trials=trials, init_scale=0.5, seed=0, dtype=torch.float64)
    opt = torch.optim.SGD(model.parameters(), lr=1e-2)
    run = irk.fit(model, data, opt, steps=20, record=["loss", "sharpness"], record_every=10, **options)
    return model, run.metrics["sharpness"]


def test_of_each_trial_at_each_record() -> None:
    observed = irk.Observed(AT, normal(4, seed=1), (4, 3))
    model, sharpness = recorded(observed, trials=3)
    assert sharpness.shape == (3, 3)
    factors = [factor.detach() for factor in model.factors]
    last = curvature.sharpness("...ij,...jk->...ik", *factors, observed=observed)
    assert_equal(sharpness[-1], last, "the last record")
    assert not torch.equal(sharpness[0], sharpness[-1])


@pytest.mark.parametrize("kind", ["dense", "regression"])
def test_of_dense_targets_and_measurements(kind: str) -> None:
    data = normal(4, 3, seed=1) if kind == "dense" else irk.Regression(normal(6, 3, seed=2), normal(6, 4, seed=3))
    model, sharpness = recorded(data)
    factors = [factor.detach() for factor in model.factors]
    assert sharpness.shape == (3,)
    assert_equal(sharpness[-1], reference.sharpness("ij,jk->ik", *factors, target=data), kind)


def test_with_penalties() -> None:
    target = normal(4, 3, seed=1)
    model, sharpness = recorded(target, ridge=0.3, penalty=lambda W: (W**4).sum())
    factors = [factor.detach() for factor in model.factors]

    def total(W: torch.Tensor) -> torch.Tensor:
        return ((W - target) ** 2).mean() + 0.3 * (W**2).sum() + (W**4).sum()

    assert_equal(sharpness[-1], reference.sharpness("ij,jk->ik", *factors, loss=total), "penalties")


def test_of_shared_and_frozen_factors() -> None:
    x, y = torch.tensor([1.0, 2.0, 4.0], dtype=torch.float64), torch.ones(1, dtype=torch.float64)
    model = irk.nn.HadamardChain(3, 2, shared=True, init="constant", init_scale=0.01, dtype=torch.float64)
    run = irk.fit(
        model,
        irk.Sensing(x[None], y),
        torch.optim.SGD(model.parameters(), lr=0.01),
        loss="half_sse",
        steps=4000,
        record=["loss", "sharpness"],
        record_every=4000,
    )
    w = next(iter(model.parameters())).detach()
    assert run.metrics["loss"][-1] < 1e-9
    assert torch.allclose(run.metrics["sharpness"][-1], 4 * (w**2 * x**2).sum(), rtol=1e-3)
    chain = irk.nn.MatrixChain(3, 3, depth=2, init_scale=0.5, seed=0, dtype=torch.float64)
    chain.factors[1].requires_grad_(False)
    target = normal(3, 3, seed=1)
    opt = torch.optim.SGD([chain.factors[0]], lr=1e-2)
    run = irk.fit(chain, target, opt, steps=4, record=["sharpness"], record_every=4)
    one = reference.sharpness("ij,jk->ik", chain.factors[0].detach(), chain.factors[1].detach(), target=target)
    rest = torch.linalg.eigvalsh(chain.factors[1] @ chain.factors[1].T)[-1] * 2 / 9
    assert_equal(run.metrics["sharpness"][-1], rest.detach(), "frozen")
    assert one > rest
