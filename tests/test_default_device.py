"""torch's default device decides where models begin, and nothing else: what is given stays where it is."""

from __future__ import annotations

import pytest
import torch

import irkernels as irk

CPU = torch.device("cpu")


@pytest.mark.parametrize("tier", [None, "lanes", "core"])
def test_training_stays_on_the_cpu(tier):
    def trained():
        models = [irk.nn.MatrixChain(4, 4, 2, trials=3, seed=0, device=CPU, init=i) for i in ("balanced", "identity")]
        runs = [
            irk.fit(
                model, observed, torch.optim.SGD(model.parameters(), lr=0.1), steps=20, tier=tier, progress=False,
                record=["loss", "sharpness", "singular_values"], record_every=5, stop=irk.Stop(loss=1e-9),
                batch_size=None if tier == "lanes" else 2,
            )
            for model in models
        ]  # fmt: skip
        return [value for run in runs for value in (run.steps, run.stopped_at, *run.metrics.values())]

    observed = irk.Observed(torch.tensor([[0, 1], [2, 3], [1, 1]]), torch.ones(3), (4, 4))
    expected = trained()
    with torch.device("meta"):
        found = trained()
    assert all(map(torch.equal, found, expected))


def test_verbs_take_what_is_given():
    a, b, at = torch.randn(3, 4), torch.randn(4, 5), torch.tensor([[0, 1], [2, 4]])
    sensing = torch.randn(6, 3, 5)
    with torch.device("meta"):
        assert torch.equal(irk.entries("ij,jk->ik", a, b, at=at), irk.einsum("ij,jk->ik", a, b)[at[:, 0], at[:, 1]])
        irk.Sensing(sensing, a.new_ones(6))
        irk.gradients("ij,jk->ik", a, b, cotangent=(at, a.new_ones(2)))


def test_a_model_begins_on_the_default_device():
    with torch.device("meta"):
        assert all(factor.is_meta for factor in irk.nn.CP((3, 4, 5), 2).factors)
        assert irk.nn.CP((3, 4, 5), 2, device=CPU).factors[0].device == CPU
