"""Mini-batches of irk.fit: the same draws natively and in the reference, steps against eager torch, resuming, bits."""

from __future__ import annotations

import pytest
import torch
from test_fit import engine, equal, quiet  # noqa: F401 (engine is a fixture)
from test_fit_data import CP, F64, KINDS, LOSSES, MATRIX, close, draw, model_of, native_only, one_thread  # noqa: F401 (a fixture)
from torch.profiler import ProfilerActivity, profile

import irkernels as irk
from irkernels import _batches, _fit
from irkernels.observed import Observed
from irkernels.reference.sampler import batch_indices
from irkernels.training.engines import NativeSteps
from irkernels.training.objective import Objective, with_batches
from irkernels.training.overrides import Overrides

SEED = 11


def coordinates(seed, shape, nnz):
    drawn = torch.Generator().manual_seed(seed)
    return torch.stack([torch.randint(extent, (nnz,), generator=drawn) for extent in shape], 1)


def entries_data(trials, weighted, shape=(4, 5), nnz=37):
    lead = () if trials is None else (trials,)
    weights = (
        torch.randint(0, 3, (*lead, nnz), generator=torch.Generator().manual_seed(3)).to(F64) if weighted else None
    )
    return Observed(coordinates(2, shape, nnz), draw(4, *lead, nnz), shape, weights)


def eager_entries(model, data, size, optimizer, steps, loss, delta):
    """autograd and torch.optim on the entries of each batch, nothing of ours but the factors and the draws."""
    terms, output = model.equation.split("->")
    spread = model.equation if model.trials is None else ",".join("T" + t for t in terms.split(",")) + "->T" + output
    for step in range(steps):
        chosen = batch_indices(data.nnz, size, SEED, step)
        optimizer.zero_grad()
        W = torch.einsum(spread, *model.factors)
        residual = W[(..., *data.at[chosen].unbind(1))] - data.values[..., chosen]
        if data.weights is None:
            value = LOSSES[loss](residual, delta)
        else:
            w = data.weights[..., chosen]
            mean = {"mse": residual**2, "l1": residual.abs(), "half_sse": residual**2 / 2}[loss] * w
            value = mean.sum(-1) / (1 if loss == "half_sse" else w.sum(-1))
        value.sum().backward()
        optimizer.step()


@pytest.mark.parametrize("trials", [None, 3], ids=["single", "trials"])
@pytest.mark.parametrize(
    "loss, weighted", [*((loss, False) for loss in LOSSES), ("mse", True), ("l1", True), ("half_sse", True)]
)
@pytest.mark.parametrize("case", [MATRIX, CP], ids=["matrix", "CP"])
def test_steps_on_entries_equal_eager_steps(case, loss, weighted, trials):
    shape = (4, 5) if case is MATRIX else (3, 4, 2)
    data = entries_data(trials, weighted, shape)
    ours, theirs, start = (model_of(*case, trials) for _ in range(3))
    optimizers = [torch.optim.SGD(m.parameters(), lr=3e-3, momentum=0.5) for m in (ours, theirs)]
    quiet(ours, data, optimizers[0], steps=100, loss=loss, delta=0.7, batch_size=8, sampler_seed=SEED)
    eager_entries(theirs, data, 8, optimizers[1], 100, loss, 0.7)
    close(ours, theirs)
    with pytest.raises(AssertionError):
        close(ours, start, 1e-3)


@pytest.mark.parametrize("trials", [None, 3], ids=["single", "trials"])
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("kind", KINDS)
def test_steps_on_measurements_equal_eager_steps(kind, loss, trials):
    (equation, shapes), data_of, shape, predict = KINDS[kind]
    y = draw(20, *(() if trials is None else (trials,)), *shape)
    ours, theirs = model_of(equation, shapes, trials), model_of(equation, shapes, trials)
    mine, other = (torch.optim.SGD(m.parameters(), lr=1e-3, momentum=0.5) for m in (ours, theirs))
    quiet(ours, data_of(y), mine, steps=60, loss=loss, delta=0.7, batch_size=3, sampler_seed=SEED)
    terms, output = equation.split("->")
    spread = equation if trials is None else ",".join("T" + t for t in terms.split(",")) + "->T" + output
    for step in range(60):
        chosen = batch_indices(shape[0], 3, SEED, step)
        W = torch.einsum(spread, *theirs.factors)
        prediction = predict(W if trials is not None else W[None])[:, chosen]
        target = y[:, chosen] if trials is not None else y[chosen]
        other.zero_grad()
        LOSSES[loss]((prediction - target).flatten(1), 0.7).sum().backward()
        other.step()
    close(ours, theirs)


def test_a_dense_target_is_sampled_by_entries():
    target = draw(5, 2, 4, 5)
    everywhere = torch.cartesian_prod(torch.arange(4), torch.arange(5))
    ours, theirs = model_of(*MATRIX, 2), model_of(*MATRIX, 2)
    for model, data in ((ours, target), (theirs, Observed(everywhere, target.flatten(1), (4, 5)))):
        quiet(model, data, torch.optim.SGD(model.parameters(), lr=0.01), steps=40, batch_size=6)
    assert equal(ours, theirs)


def test_a_trial_that_observes_nothing_of_a_batch_stays_where_it_is():
    weights = torch.zeros(2, 37, dtype=F64)
    weights[0], weights[1, 5] = 1, 1
    data = Observed(coordinates(2, (4, 5), 37), draw(4, 37), (4, 5), weights)
    model = model_of(*MATRIX, 2)
    start = [p.detach().clone() for p in model.parameters()]
    seen = [5 in batch_indices(37, 4, 0, step) for step in range(9)]
    assert any(seen) and not seen[0]
    first = seen.index(True)
    run = quiet(model, data, torch.optim.SGD(model.parameters(), lr=0.01), steps=first, batch_size=4)
    assert run.reason == ["steps"] * 2
    assert all(torch.equal(p[1], s[1]) and not torch.equal(p[0], s[0]) for p, s in zip(model.parameters(), start))


def problems():
    yield "entries", MATRIX, entries_data(3, True)
    for kind, (case, data_of, shape, _) in KINDS.items():
        yield kind, case, data_of(draw(20, 3, *shape))


@pytest.mark.parametrize("case, data", [pytest.param(c, d, id=name) for name, c, d in problems()])
def test_resuming_and_drawing_few_steps_at_once_change_no_bit(case, data, tmp_path, monkeypatch):
    def run(model, steps, **more):
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.5)
        return quiet(model, data, optimizer, steps=steps, batch_size=4, sampler_seed=SEED, **more)

    whole, part, again = (model_of(*case, 3) for _ in range(3))
    run(whole, 50)
    monkeypatch.setattr(_batches, "_MOST_STEPS", 3)
    run(part, 17, checkpoint=tmp_path / "run")
    run(again, 50, resume=tmp_path / "run")
    assert equal(whole, again)
    with pytest.raises(ValueError, match="sampler_seed"):
        quiet(
            again, data, torch.optim.SGD(again.parameters(), lr=1e-3, momentum=0.5), steps=50, batch_size=4,
            resume=tmp_path / "run",
        )  # fmt: skip


@pytest.mark.parametrize("case, data", [pytest.param(c, d, id=name) for name, c, d in problems()])
def test_threads_and_neighbours_change_no_bit(case, data):
    native_only()
    before, ends = torch.get_num_threads(), []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        model = model_of(*case, 3)
        quiet(model, data, torch.optim.SGD(model.parameters(), lr=1e-3), steps=40, batch_size=4)
        ends.append(model)
    torch.set_num_threads(before)
    assert equal(ends[0], ends[1]) and equal(ends[0], ends[2])
    alone = irk.nn.Product(case[0], *(p.detach()[1:2] for p in model_of(*case, 3).parameters()), trials=1)
    quiet(alone, one_trial(data, 1), torch.optim.SGD(alone.parameters(), lr=1e-3), steps=40, batch_size=4)
    for p, q in zip(alone.parameters(), ends[0].parameters()):
        assert torch.equal(p[0], q[1])


def one_trial(data, trial):
    part = slice(trial, trial + 1)
    if isinstance(data, Observed):
        return Observed(data.at, data.values[part], data.shape, data.weights[part])
    first = data.vectors if isinstance(data, irk.RankOneSensing) else data.constants[0]
    return type(data)(first, data.target[part])


def test_other_optimizers_see_the_same_batches():
    data, ours, theirs = entries_data(None, False), model_of(*MATRIX, None), model_of(*MATRIX, None)
    quiet_adam = torch.optim.Adamax(ours.parameters(), lr=1e-3)
    with pytest.warns(UserWarning, match="ordinary Python loop"):
        quiet(ours, data, quiet_adam, steps=30, batch_size=8, sampler_seed=SEED)
    eager_entries(theirs, data, 8, torch.optim.Adamax(theirs.parameters(), lr=1e-3), 30, "mse", 1.0)
    close(ours, theirs)


@pytest.mark.parametrize("options, error, words", [
    ({"batch_size": 0}, ValueError, "batch_size must be at least 1"),
    ({"batch_size": 2.5}, TypeError, "batch_size must be an integer"),
    ({"batch_size": 38}, ValueError, "batch_size is 38, but the data are 37 observations"),
    ({"batch_size": 4, "sampler_seed": -1}, ValueError, "sampler_seed must be at least 0"),
    ({"batch_size": 4, "sampler_seed": 2**63}, ValueError, "below 2\\^63"),
])  # fmt: skip
def test_bad_arguments(options, error, words):
    model = model_of(*MATRIX, None)
    with pytest.raises(error, match=words):
        quiet(model, entries_data(None, False), torch.optim.SGD(model.parameters(), lr=1e-3), steps=1, **options)


def allocated(run) -> tuple[int, int]:
    """Bytes and number of all that torch's allocator gives out."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as found:
        run()
    events = [event.nbytes() for event in found.profiler.kineto_results.events() if event.name() == "[memory]"]
    taken = [size for size in events if size > 0]
    return sum(taken), len(taken)


@pytest.mark.parametrize("case, data", [pytest.param(c, d, id=name) for name, c, d in problems()])
def test_more_steps_take_no_more_memory(case, data, monkeypatch):
    native_only()
    monkeypatch.setattr(_batches, "_MOST_STEPS", 5)
    model = model_of(*case, 3)
    objective = with_batches(Objective(data), model, 4, SEED)
    problem = NativeSteps(model, objective, torch.optim.SGD(model.parameters(), lr=1e-3), Overrides()).problem
    _fit.fit_steps(problem, 10)
    few, many = (allocated(lambda steps=steps: _fit.fit_steps(problem, steps)) for steps in (10, 100))
    assert few == many and few[0] > 0


@pytest.mark.parametrize("trials", [None, 3])
@pytest.mark.parametrize("listed", [False, True])
def test_batches_of_a_number(listed, trials):
    """A product without axes has one entry, which may be listed many times."""
    lead = () if trials is None else (trials,)
    observed = Observed(torch.zeros(5, 0, dtype=torch.int64), torch.ones(5, dtype=F64), ())
    model = irk.nn.Product(
        "ij,jk->", torch.randn(*lead, 3, 4, dtype=F64) / 4, torch.randn(*lead, 4, 2, dtype=F64) / 4, trials=trials
    )
    data = observed if listed else torch.ones((), dtype=F64)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02)
    run = irk.fit(model, data, optimizer, steps=400, batch_size=1, record="loss", progress=False)
    assert (run.metrics["loss"][-1] < 1e-6).all()
