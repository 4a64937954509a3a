"""E4 to E7 at miniature size, through the same code; their problems, and criteria that can go either way."""

from __future__ import annotations

import gzip

import numpy as np
import pytest
import torch

from irkernels.experiments import digits, e4a, e4b, e4c, e5, e6_cp, e6_htf, e6_matrix, e7
from irkernels.experiments.cp_rank import cp_rank
from irkernels.experiments.criteria import judged
from irkernels.experiments.grid import trials_of
from irkernels.experiments.incremental import counted, onsets
from irkernels.experiments.session import Session
from irkernels.spectrum import nuclear_to_frobenius

pytest.importorskip("matplotlib")

_TINY = {
    e4a: {"order": (3,), "observed": (100, 200), "trials": 2},
    e4b: {"rank": 20},
    e5: {"depth": (1, 2), "trials": 1},
    e6_matrix: {},
    e6_cp: {"rank": 20},
    e6_htf: {"width": 8},
    e7: {"strength": (0.0, 0.1)},
}


def tiny(experiment, steps=4, **changed):
    parameters = {**experiment.PARAMETERS, **_TINY.get(experiment, {}), "steps": steps, **changed}
    return experiment.run(Session(), **{**parameters, "dtype": getattr(torch, parameters["dtype"])})


@pytest.mark.parametrize("experiment", _TINY, ids=lambda module: module.__name__.rpartition(".")[2])
def test_an_experiment_trains_judges_and_draws(experiment, tmp_path):
    outcome = tiny(experiment)
    assert not outcome.passed and outcome.criteria and outcome.updates > 0 and outcome.eager_seconds > 0
    for run in outcome.runs.values():
        assert run.trajectory.steps[-1] == 4 and torch.isfinite(run.final("loss")).all()
        if experiment is not e7:
            assert "core" in run.trajectory.tier or "grid" in run.trajectory.tier or "lanes" in run.trajectory.tier
    experiment.draw(outcome, tmp_path / "picture.png")
    assert (tmp_path / "picture.png").stat().st_size > 10_000


def test_components_are_counted_and_ordered():
    steps, rise = torch.arange(0, 60, 10), torch.tensor([0.0, 0, 0, 1, 1, 1])
    norms = torch.stack([rise.roll(-n).cummax(0).values * size for n, size in enumerate((1.0, 0.5, 0.001))], dim=1)
    assert onsets(steps, norms).tolist() == [30, 20, 10]
    assert all(each.passed for each in judged(*counted("c", steps, [norms], 2)))
    norms[:, 2] *= 100
    # there is a third one
    assert [each.passed for each in judged(*counted("c", steps, [norms], 2))] == [True, False, True]
    together = torch.stack([rise, rise * 0.5, rise * 0.001], dim=1)
    assert [each.passed for each in judged(*counted("c", steps, [together], 2))] == [True, True, False]


def test_e4a_sees_more_and_more_of_one_truth():
    settings = trials_of(2, observed=(50, 300))
    truth, seen = e4a.problem(3, settings, 2, 0)
    assert torch.equal(truth[0], truth[2]) and not torch.equal(truth[0], truth[1])
    assert seen.weights.sum(1).tolist() == [50, 50, 300, 300] and (seen.weights[0] <= seen.weights[2]).all()
    torch.testing.assert_close(truth.flatten(1).norm(dim=1), torch.ones(4, dtype=torch.float64))
    assert cp_rank(truth[0], 1e-10, 3) == 1
    outer = torch.einsum("ar,br,cr->abc", *torch.eye(4, 2, dtype=torch.float64).expand(3, 4, 2))
    assert cp_rank(outer, 1e-8, 3) == 2 and cp_rank(outer, 1e-8, 1) == 2


def test_e5_problem_and_law():
    truth, held_out = e5.problem(1, 0)
    assert [int(torch.linalg.matrix_rank(truth[0].movedim(mode, 0).flatten(1))) for mode in range(3)] == [5, 5, 5]
    assert held_out.sum() == int(0.3 * 25**3)
    run = tiny(e5, steps=20).runs[2]
    assert run.metrics["law broken by"][0].max() == 0 and run.metrics["law broken by"].max() < 0.1
    with torch.no_grad():
        begin = [each.clone() for each in e5.slice_differences(run.model)]
        run.model.factors[-1].mul_(2)  # a column alone
    assert e5.broken_by(run.model, begin).min() > 0.1


def test_the_ratio_of_norms_knows_nothing_of_scale():
    W = torch.randn(2, 6, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    torch.testing.assert_close(nuclear_to_frobenius(7 * W), nuclear_to_frobenius(W))
    torch.testing.assert_close(nuclear_to_frobenius(torch.eye(3)), torch.tensor(3**0.5))
    assert torch.autograd.gradcheck(nuclear_to_frobenius, W)


def test_e7_judges_the_best_strength_and_rate():
    outcome = tiny(e7, strength=(0.0, 0.1, 0.3), descent_lr=(0.01, 10.0))
    adam, descent = outcome.runs["adam"], outcome.runs["gd"]
    assert adam.settings.column("lr").unique().tolist() == [0.001, 0.01]
    assert descent.settings.column("lr").unique().tolist() == [0.01, 10.0]
    adam.metrics["error"][-1] = torch.tensor([0.8, 0.8, 0.9, 0.9, 3.0, 0.05])
    adam.metrics["effective_rank"][-1] = torch.tensor([70.0, 70.0, 60.0, 60.0, 7.5, 5.0])
    descent.metrics["error"][-1] = torch.tensor([0.8, 0.8, 0.9, 0.05, 0.8, 0.8])  # of 0.1 does not count
    found = e7.criteria(outcome.runs)
    assert all(each.passed for each in found) and found[0].name == "Adam, lambda 0.3, rate 0.001: test error"
    descent.metrics["error"][-1, -1] = 0.05
    assert [each.passed for each in e7.criteria(outcome.runs)] == [True, True, False, True]
    adam.metrics["error"][-1, 0] = 0.4
    assert [each.passed for each in e7.criteria(outcome.runs)] == [True, True, False, False]
    with pytest.raises(ValueError, match="--optimizer: expected one of adam, gd"):
        tiny(e7, optimizer=("sgd",))


def test_e4c_tells_original_from_randomised(tmp_path, monkeypatch):
    pytest.importorskip("sklearn")
    at, values = e4c.problem("digits", "original", 6, 0, "train")
    shuffled, labels = e4c.problem("digits", "random labels", 6, 0, "train")
    assert (
        at.shape == (1500, 64)
        and torch.equal(at, shuffled)
        and labels.sum() == values.sum()
        and not torch.equal(labels, values)
    )
    assert not torch.equal(at, e4c.problem("digits", "random images", 6, 0, "train")[0])
    few = digits.images("digits", "train")
    monkeypatch.setattr(e4c, "images", lambda *_: (few[0][:, 26:34], few[1]))  # of a few pixels
    outcome = tiny(e4c, steps=3, data="digits", rank=(1,), batch=200)
    assert len(outcome.runs) == 3 and len(outcome.criteria) == 2 and not outcome.passed
    e4c.draw(outcome, tmp_path / "e4c.png")
    model = outcome.runs[1, "original"].model
    predicted = e4c.gathered([factor.detach() for factor in model.factors], at[:50, 26:34])
    torch.testing.assert_close(predicted, model.entries(at[:50, 26:34]).detach())


def test_your_own_copy_of_mnist_is_read(tmp_path):
    pixels = np.arange(2 * 28 * 28).reshape(2, 28, 28).astype(np.uint8)
    head = bytes([0, 0, 8, 3]) + np.array([2, 28, 28], ">u4").tobytes()
    (tmp_path / "train-images-idx3-ubyte").write_bytes(head + pixels.tobytes())
    with gzip.open(tmp_path / "train-labels-idx1-ubyte.gz", "wb") as file:
        file.write(bytes([0, 0, 8, 1]) + np.array([2], ">u4").tobytes() + bytes([6, 3]))
    images, labels = digits.images(str(tmp_path), "train")
    assert torch.equal(images, torch.from_numpy(pixels.reshape(2, 784) >= 128).long()) and labels.tolist() == [6, 3]
    with pytest.raises(FileNotFoundError, match="t10k-images-idx3-ubyte: no such file"):
        digits.images(str(tmp_path), "test")
    (tmp_path / "train-images-idx3-ubyte").write_bytes(head + b"short")
    with pytest.raises(ValueError, match="not an IDX file"):
        digits.images(str(tmp_path), "train")
