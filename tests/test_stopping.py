"""When trials stop: at the very step, with patience, by divergence, and what is recorded of them afterwards."""

from __future__ import annotations

import math

import pytest
import torch
from test_recording import engine, history, observed, run_fit, square  # noqa: F401 (engine is a fixture)

from irkernels import Observed, Running, Stop, fit
from irkernels.nn import MatrixChain, Product

F64 = torch.float64
pytestmark = pytest.mark.filterwarnings("ignore:irk.fit takes its steps in an ordinary")


def first_stop(losses, bound, patience, every):
    """Per trial: the step at which the rule is met, by reading all losses."""
    ends = []
    for trial in range(losses.shape[1]):
        streak, end = 0, len(losses) - 1
        for step in range(0, len(losses), every):
            streak = streak + 1 if losses[step, trial] < bound else 0
            if streak == patience:
                end = step
                break
        ends.append(end)
    return ends


@pytest.mark.parametrize("patience, every", [(1, 1), (3, 1), (2, 7)])
def test_a_trial_stops_at_the_very_step(engine, patience, every):
    data = observed(square())
    losses, _ = history(square, data, steps=40)
    bound = losses[25, 0].item()
    expected = first_stop(losses, bound, patience, every)
    assert len(set(expected)) > 1 and min(expected) < 40
    model = square()
    stop = Stop(bound, patience=patience, every=every)
    run = run_fit(model, data, steps=40, stop=stop, record="loss", record_every=3)
    assert run.stopped_at.tolist() == expected
    for trial, end in enumerate(expected):
        assert run.reason[trial] == ("converged" if end < 40 else "steps")
        alone = square()
        run_fit(alone, data, steps=end)
        assert torch.equal(model.factors[1][trial], alone.factors[1][trial])
        grid = torch.minimum(run.steps, torch.tensor(end))
        torch.testing.assert_close(run.metrics["loss"][:, trial], losses[grid, trial], rtol=1e-9, atol=1e-15)
    assert run.steps[-1] == max(expected)


def test_patience_counts_checks_on_end_only(engine):
    """Momentum carries the product to and fro through its target: the loss dips below the bound again and again."""
    model = Product("i->i", torch.ones(1, 1, dtype=F64), trials=1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    stop = Stop(0.05, patience=4, every=1)
    options = dict(steps=200, stop=stop, record="loss", record_every=1, progress=False)
    run = fit(model, torch.zeros(1, dtype=F64), optimizer, **options)
    below = run.metrics["loss"][:, 0] < 0.05
    end = run.stopped_at.item()
    assert below[end - 3 :].all() and not below[end - 4] and below[: end - 4].sum() >= 4


def test_the_last_state_is_checked_once(engine):
    """The state after the last step is judged, and a resumed run does not judge it a second time."""
    data = observed(square())
    losses, _ = history(square, data, steps=12)
    bound = losses[10].min().item() * (1 + 1e-9)  # one trial meets it from step 10 on
    run = run_fit(square(), data, steps=10, stop=Stop(bound, every=1))
    assert run.stopped_at.tolist() == [10] * 3 and sorted(run.reason) == ["converged", "steps", "steps"]


def test_patience_survives_resuming(engine, tmp_path):
    data, file = observed(square()), tmp_path / "run.pt"
    losses, _ = history(square, data, steps=40)
    options = dict(stop=Stop(losses[20].max().item(), patience=6, every=2), record=["loss", Running("max", "loss")])
    whole = run_fit(square(), data, steps=40, record_every=5, **options)
    for steps in (21, 24, 24, 27, 40):
        run = run_fit(
            square(), data, steps=steps, record_every=5, checkpoint=file, resume=file if steps > 21 else None, **options
        )
    assert torch.equal(run.stopped_at, whole.stopped_at) and run.reason == whole.reason
    assert torch.equal(run.steps, whole.steps)
    assert all(torch.equal(run.metrics[name], values) for name, values in whole.metrics.items())
    assert min(whole.stopped_at.tolist()) < 40


def test_a_loss_above_a_bound_is_a_divergence(engine):
    model = MatrixChain(2, 2, 2, trials=2, init_scale=[0.5, 50.0], seed=0, dtype=F64)
    before = model.factors[0][1].detach().clone()
    run = run_fit(model, observed(square()), steps=30, lr=1e-3, stop=Stop(diverged_above=100.0, every=1), record="loss")
    assert run.reason == ["steps", "diverged"] and run.stopped_at.tolist() == [30, 0]
    assert torch.equal(model.factors[0][1], before)
    assert (run.metrics["loss"][:, 1] == run.metrics["loss"][0, 1]).all() and run.metrics["loss"][0, 1] > 100


def test_what_is_not_finite_stops_at_once_and_is_recorded(engine):
    model = MatrixChain(2, 2, 2, trials=2, init_scale=[0.5, 1e160], seed=0, dtype=F64)
    record = ["loss", Running("max", "loss"), Running("min", "determinant")]
    run = run_fit(model, observed(square()), steps=30, record=record, record_every=10)
    assert run.reason == ["steps", "diverged"] and run.stopped_at.tolist() == [30, 0]
    assert run.metrics["loss"][:, 1].isinf().all() and run.metrics["max loss"][-1, 1] == math.inf
    assert run.metrics["loss"][:, 0].isfinite().all()


def test_stop_says_what_is_wrong_with_it():
    with pytest.raises(ValueError, match="give loss=, diverged_above= or both"):
        Stop()
    with pytest.raises(ValueError, match="loss must be a positive number, got 0"):
        Stop(0)
    with pytest.raises(ValueError, match="diverged_above must be a positive number, got -1"):
        Stop(0.1, diverged_above=-1)
    with pytest.raises(ValueError, match="patience must be at least 1, got 0"):
        Stop(0.1, patience=0)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_recording_and_stopping_do_not_depend_on_threads_or_neighbours(threads):
    data = observed(square(3, trials=None))
    record = ["loss", "determinant", Running("min", "loss")]
    options = dict(steps=300, stop=Stop(0.05, patience=2, every=3), record=record)

    def run(trials):
        model = MatrixChain(3, 3, 3, trials=trials, init_scale=0.8, seed=4, dtype=F64)
        return run_fit(model, data, record_every=7, **options)

    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        many = run(5)
    finally:
        torch.set_num_threads(before)
    for trials in (1, 3):
        few = run(trials)
        assert torch.equal(few.stopped_at, many.stopped_at[:trials])
        for name, values in few.metrics.items():
            length = min(len(values), len(many.metrics[name]))
            same = few.steps[:length] == many.steps[:length]
            assert same[:-1].all()
            assert torch.equal(values[:length][same], many.metrics[name][:length, :trials][same])


def test_a_large_trial_is_watched_by_its_whole_team():
    """One trial shared by several threads step by step."""
    n = 200
    data = Observed(torch.randint(n, (4000, 2)), torch.ones(4000, dtype=F64), (n, n))
    lone = torch.get_num_threads()
    runs = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        model = MatrixChain(n, n, 3, init_scale=1.0, seed=0, dtype=F64)
        from irkernels import Entry

        record = ["loss", Entry(3, 4), Running("max", Entry(5, 6))]
        runs.append(run_fit(model, data, steps=5, record=record, record_every=2, stop=Stop(1e-30, every=1)))
        torch.testing.assert_close(runs[-1].metrics["W[3, 4]"][-1], model()[3, 4].detach(), rtol=1e-10, atol=1e-14)
    torch.set_num_threads(lone)
    for name, values in runs[0].metrics.items():
        assert torch.equal(values, runs[1].metrics[name]), name


def test_a_trial_that_ended_early_cannot_go_on_under_another_rule(tmp_path):
    def run(steps, bound, **options):
        model = Product("i->i", torch.ones(2, 1), trials=2)
        return fit(
            model, torch.zeros(1), torch.optim.SGD(model.parameters(), lr=0.1), lr=torch.tensor([0.1, 0.001]),
            steps=steps, stop=Stop(loss=bound, every=1), record="loss", progress=False, **options,
        )  # fmt: skip

    path = tmp_path / "run.pt"
    assert run(100, 0.5, checkpoint=path).stopped_at.tolist() == [2, 100]
    with pytest.raises(ValueError, match="trial 0 has converged at step 2, others are at 100"):
        run(120, 1e-30, resume=path)
    assert run(120, 0.5, resume=path).stopped_at.tolist() == [2, 120]
