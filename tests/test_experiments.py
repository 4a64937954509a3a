"""Reproductions: their problems, their criteria, and that the verdict can go either way."""

from __future__ import annotations

import math
import sys

import numpy as np
import pytest
import torch

from irkernels.experiments import e1, e2, e3
from irkernels.experiments.criteria import Criterion, judged, table, worst
from irkernels.experiments.low_rank import completion
from irkernels.experiments.session import Session
from irkernels.observed import Observed
from irkernels.training import fit


def tiny(experiment, **changed):
    """At another size, through the same code."""
    parameters = {**experiment.PARAMETERS, **changed}
    dtype = parameters["dtype"]
    return experiment.run(Session(), **{**parameters, "dtype": getattr(torch, dtype) if isinstance(dtype, str)
                                        else dtype})


def test_e3_problem_is_the_papers():
    truth, observed = completion(trials=3, seed=1)
    assert truth.shape == (3, 100, 100) and observed.nnz == 2000 and observed.values.shape == (3, 2000)
    np.testing.assert_allclose(torch.linalg.matrix_norm(truth), 100.0)
    assert torch.linalg.matrix_rank(truth).tolist() == [5, 5, 5]
    rows, columns = observed.at.T
    assert len(torch.unique(rows * 100 + columns)) == 2000
    torch.testing.assert_close(observed.values, truth[:, rows, columns])
    assert not torch.equal(truth[0], truth[1])
    repeated, seen = completion(trials=3, seed=1, repeats=torch.tensor([2, 0, 2, 1]))
    assert torch.equal(repeated, truth[[2, 0, 2, 1]]) and torch.equal(seen.values, observed.values[[2, 0, 2, 1]])


def test_positions_are_distinct_or_drawn_each_from_all_entries():
    truth, observed = completion(None, seed=1, positions="independent")
    rows, columns = observed.at.T
    assert observed.nnz == 2000 and 1750 < len(torch.unique(rows * 100 + columns)) < 1880  # 1,813 expected
    torch.testing.assert_close(observed.values, truth[rows, columns])
    with pytest.raises(ValueError, match="--positions: expected distinct or independent, got 'some'"):
        completion(None, positions="some")


def test_e3_runs_all_depths_and_draws_them(tmp_path):
    image = pytest.importorskip("PIL.Image")
    outcome = tiny(e3, trials=2, steps=20, dtype=torch.float32)
    assert list(outcome.runs) == [1, 2, 3] and outcome.seconds > 0
    for run in outcome.runs.values():
        assert run.metrics["singular_values"].shape == (21, 2, 100)
        assert run.metrics["loss"][-1].lt(run.metrics["loss"][0]).all()
    assert not all(criterion.passed for criterion in outcome.criteria)  # twenty steps learn nothing
    e3.draw(outcome, tmp_path / "e3.png")
    pixels = np.asarray(image.open(tmp_path / "e3.png").convert("RGB"))
    assert min(pixels.shape[:2]) > 700 and len(np.unique(pixels.reshape(-1, 3), axis=0)) > 50


class _Recorded:
    """A run as the criteria see it: one trial, two records."""

    def __init__(self, error, rank, sixth):
        spectrum = torch.zeros(2, 1, 100)
        spectrum[-1, 0, 5] = sixth
        self.metrics = {
            "error": torch.tensor([[1.0], [error]]),
            "effective_rank": torch.tensor([[100.0], [rank]]),
            "singular_values": spectrum,
        }

    def final(self, metric, **_):
        return self.metrics[metric][-1]

    def least(self, metric, **_):
        return self.metrics[metric].amin(0)


def test_e3_criteria_are_those_of_the_reproduction():
    good = {1: _Recorded(0.81, 60.0, 9.0), 2: _Recorded(0.09, 8.8, 6.0), 3: _Recorded(0.008, 5.05, 0.15)}
    assert all(criterion.passed for criterion in e3.criteria(good))
    for depth, changed in [
        (1, (0.85, 60, 9)),
        (2, (0.25, 8.8, 6)),
        (2, (0.09, 6.0, 6)),
        (3, (0.03, 5.05, 0.15)),
        (3, (0.008, 5.4, 0.15)),
        (3, (0.008, 5.05, 1.2)),
    ]:
        verdicts = [criterion.passed for criterion in e3.criteria({**good, depth: _Recorded(*changed)})]
        assert verdicts.count(False) == 1


def test_criteria_judge_the_worst_trial():
    assert worst("a", [0.79, 0.76, 0.81], 0.77, 0.83).value == 0.76
    assert worst("a", torch.tensor([0.01, 0.03]), high=0.02).value == pytest.approx(0.03)
    assert worst("a", [8.0, 9.0], low=7).value == 8.0
    assert not worst("a", [1.0, math.nan], high=2.0).passed
    assert judged(worst("a", [], high=2.0), worst("b", [1.0])) == [Criterion("b", 1.0)]


def test_a_criterion_says_its_bound_and_is_plain():
    assert Criterion("a", 1.0, 0.5, 2.0).summary() == {
        "name": "a", "value": 1.0, "bound": "0.5 to 2", "paper": "", "pass": True
    }  # fmt: skip
    assert Criterion("a", math.nan, high=2.0, paper="1").summary() == {
        "name": "a", "value": None, "bound": "< 2", "paper": "1", "pass": False
    }  # fmt: skip
    assert Criterion("a", 1.0, low=2.0).bound == "> 2"
    assert "FAIL" in table([Criterion("a", 3.0, high=2.0)]) and "pass" in table([Criterion("a", 1.0, high=2.0)])


def test_e1_trains_all_depths_and_scales_and_draws_them(tmp_path):
    image = pytest.importorskip("PIL.Image")
    outcome = tiny(e1, trials=2, steps=30, baseline="none")
    assert list(outcome.runs) == [2, 3, 4] and all(len(run.settings) == 8 for run in outcome.runs.values())
    assert not outcome.passed and 4.8 < outcome.goal["effective_rank"] < 5
    norms = e1.means(outcome.runs[2], "nuclear norm")
    assert norms.shape == (4,) and (norms[1:] > norms[:-1]).all()  # of smaller scales first
    assert (
        len(outcome.notes) == 3 * 4 + 2 and outcome.notes[-1] == "depth 4: 8 of 8 runs on another matrix than the truth"
    )
    error = outcome.runs[3].final("error", init_scale=1e-4)
    assert len(error) == 2
    said = (
        f"depth 3, scale 0.0001, mean and deviation of runs: error {error.mean():.3g} +- {error.std(correction=0):.1g}"
    )
    assert outcome.notes[6].startswith(said)
    e1.draw(outcome, tmp_path / "e1.png")
    assert min(image.open(tmp_path / "e1.png").size) > 400


def test_the_least_nuclear_norm_completes_what_it_can(monkeypatch):
    pytest.importorskip("cvxpy")
    pytest.importorskip("scs")
    from irkernels.experiments.nuclear import least_nuclear_norm

    generator = torch.Generator().manual_seed(0)
    truth = torch.outer(torch.randn(8, generator=generator), torch.randn(8, generator=generator)).double()
    mask = torch.rand(8, 8, generator=generator) < 0.7
    found = least_nuclear_norm(Observed.from_dense(truth, mask))
    assert (found - truth)[mask].abs().max() < 2e-3
    assert torch.linalg.svdvals(found).sum() < torch.linalg.svdvals(truth * mask).sum()
    assert torch.linalg.svdvals(found).sum() < 1.001 * torch.linalg.svdvals(truth).sum()


def test_e1_says_so_where_its_baseline_is_not_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "cvxpy", None)
    truth, observed = completion(None, 0)
    found, (note,) = e1.convex_baseline(observed, truth)
    assert found == {} and note.startswith("no nuclear norm minimisation beside: ") and "cvxpy" in note


def test_e2_starts_as_the_paper_does():
    for depth, (large, small) in e2.RATES.items():
        settings = e2.settings_of(depth, ("gaussian", "balanced"), "paper", "paper", trials=50)
        assert settings.each[0]["lr"] == large[1] and settings.each[-1]["lr"] == small[1]
        model = e2.initial(depth, settings, seed=0, dtype=torch.float64)
        W = model().detach().reshape(2, 2, 50, 2, 2)  # init, std, trial
        assert (torch.linalg.det(W) >= 0).all()
        for found, (std, _) in zip(W.std(dim=(2, 3, 4)).T, (large, small), strict=True):
            assert ((0.5 * std < found) & (found < 2 * std)).all()  # of 50 draws; tails are heavy
        assert not torch.equal(W[0, 0, 0], W[0, 0, 1])


def test_e2_notes_its_extremes_at_every_step(tmp_path):
    """Against the same run recorded step by step, from a start that is not small."""
    pytest.importorskip("matplotlib")
    model = e2.initial(2, e2.settings_of(2, e2.PARAMETERS["init"], "paper", "paper", 1), seed=0, dtype=torch.float64)
    with torch.no_grad():
        for factor in model.factors:
            factor.mul_(300)
    start = [factor.detach().clone() for factor in model.factors]

    def run(record, every):
        with torch.no_grad():
            for factor, value in zip(model.factors, start):
                factor.copy_(value)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.02)
        return fit(model, e2.problem(), optimizer, loss="half_sse", steps=400, record=record, record_every=every,
                   progress=False)

    extremes, each = run(e2.RECORD, 400).metrics, run(["loss", "product"], 1).metrics
    q, corner = (2 * each["loss"]).sqrt(), each["product"][..., 0, 0].abs()
    torch.testing.assert_close(extremes["least det"][-1], torch.linalg.det(each["product"]).amin(0))
    excess = torch.where(q < 1, corner - (1 - q) ** 2 / q, torch.inf).amin(0)
    assert torch.isfinite(excess).all()
    torch.testing.assert_close(extremes["least excess"][-1], excess)
    inside = (each["loss"] >= e2.WINDOW[0]) & (each["loss"] <= e2.WINDOW[1])
    assert inside.any()
    torch.testing.assert_close(extremes["greatest |w_11| q"][-1], torch.where(inside, corner * q, -torch.inf).amax(0))


def test_e2_judges_balanced_trials_at_every_step(tmp_path):
    outcome = tiny(e2, trials=1, steps=500)
    assert not outcome.passed and outcome.eager_seconds > 0 and "times as long" in outcome.beside_eager
    run = outcome.runs[3]
    good = {"loss": 9e-5, "least det": 1e-9, "least excess": 1e-3, "least |w_11| q": 0.98, "greatest |w_11| q": 1.0}
    run.metrics.update({name: torch.full_like(run.metrics[name], value) for name, value in good.items()})
    assert all(criterion.passed for criterion in e2.criteria({3: run, 4: run})[:6])
    run.metrics["least det"][-1, 2] = -1e-9  # a balanced trial
    assert [criterion.passed for criterion in e2.criteria({3: run, 4: run})[:6]].count(False) == 1
    e2.draw(outcome, tmp_path / "e2.png")
    assert (tmp_path / "e2.png").stat().st_size > 10_000
