"""irk.fit: its steps against eager PyTorch's, trials, stopping, divergence."""

from __future__ import annotations

import copy

import pytest
import torch

from irkernels import Observed
from irkernels.nn import MatrixChain, Product
from irkernels.optim import GroupRMSprop
from irkernels.training import Stop, engines, fit

F64 = torch.float64


def _native_engine():
    try:
        from irkernels._launch_fit import fit_steps
    except ImportError as error:
        pytest.skip(f"native engine: {error}")
    return fit_steps


@pytest.fixture(params=["reference", "native"], autouse=True)
def engine(request, monkeypatch):
    """Every test runs on both implementations of fit_steps."""
    from irkernels.reference.fit import fit_steps

    monkeypatch.setattr(engines, "_engine", fit_steps if request.param == "reference" else _native_engine())


OPTIMIZERS = {
    "gradient descent": lambda p: torch.optim.SGD(p, lr=0.1),
    "momentum": lambda p: torch.optim.SGD(p, lr=0.02, momentum=0.9),
    "nesterov": lambda p: torch.optim.SGD(p, lr=0.02, momentum=0.9, nesterov=True, weight_decay=1e-3),
    "dampening": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.7, dampening=0.3),
    "group_rmsprop": lambda p: GroupRMSprop(p, lr=1e-3),
}


def chain(trials=None, seed=0, dtype=F64, depth=3, scale=0.3):
    return MatrixChain(6, 5, depth, trials=trials, init_scale=scale, seed=seed, dtype=dtype)


def observed(trials=None, dtype=F64, weighted=False):
    draw = torch.Generator().manual_seed(1)
    at = torch.stack([torch.randint(6, (14,), generator=draw), torch.randint(5, (14,), generator=draw)], 1)
    lead = () if trials is None else (trials,)
    values = torch.randn(*lead, 14, generator=draw, dtype=F64).to(dtype)
    weights = torch.randint(0, 3, (*lead, 14), generator=draw).to(dtype) if weighted else None
    return Observed(at, values, (6, 5), weights)


def eager(model, data, optimizer, steps, loss="mse", delta=1.0):
    for _ in range(steps):
        optimizer.zero_grad()
        model.completion_loss(data, loss=loss, delta=delta).sum().backward()
        optimizer.step()


def quiet(*args, **kwargs):
    return fit(*args, progress=False, **kwargs)


def assert_same(a, b, relative):
    scale = max(p.detach().abs().max().item() for p in b.parameters())
    for p, q in zip(a.parameters(), b.parameters(), strict=True):
        torch.testing.assert_close(p.detach(), q.detach(), rtol=0, atol=relative * scale)


def equal(a, b):
    return all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))


@pytest.mark.parametrize("kind", OPTIMIZERS)
@pytest.mark.parametrize("trials", [None, 3])
def test_a_thousand_steps_equal_a_thousand_eager_steps(kind, trials):
    ours, theirs, data = chain(trials), chain(trials), observed()
    mine, other = OPTIMIZERS[kind](ours.parameters()), OPTIMIZERS[kind](theirs.parameters())
    start = copy.deepcopy(ours)
    run = quiet(ours, data, mine, steps=1000)
    eager(theirs, data, other, 1000)
    assert_same(ours, theirs, 1e-10)
    with pytest.raises(AssertionError):
        assert_same(ours, start, 1e-2)
    for p, q in zip(ours.parameters(), theirs.parameters()):
        assert mine.state[p].keys() == other.state[q].keys()
        for name, value in mine.state[p].items():
            torch.testing.assert_close(value, other.state[q][name], rtol=1e-8, atol=1e-10)
    assert run.reason == ("steps" if trials is None else ["steps"] * 3)


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_native_and_ordinary_steps_interchange(kind):
    ours, theirs, data = chain(2), chain(2), observed()
    mine, other = OPTIMIZERS[kind](ours.parameters()), OPTIMIZERS[kind](theirs.parameters())
    for taken in (quiet, eager, quiet, eager):
        taken(ours, data, mine, steps=7)
    eager(theirs, data, other, 28)
    assert_same(ours, theirs, 1e-12)


@pytest.mark.parametrize("loss, delta", [("mse", 1.0), ("half_sse", 1.0), ("l1", 1.0), ("huber", 0.3)])
@pytest.mark.parametrize("trials, weighted", [(None, False), (None, True), (3, False), (3, True)])
def test_losses_weights_and_values_of_each_trial(loss, delta, trials, weighted):
    ours, theirs, data = chain(trials), chain(trials), observed(trials, weighted=weighted)
    quiet(ours, data, torch.optim.SGD(ours.parameters(), lr=0.01), steps=20, loss=loss, delta=delta)
    eager(theirs, data, torch.optim.SGD(theirs.parameters(), lr=0.01), 20, loss, delta)
    assert_same(ours, theirs, 1e-12)


@pytest.mark.parametrize("loss", ["mse", "half_sse", "l1", "huber"])
@pytest.mark.parametrize("per_trial", [False, True])
def test_a_dense_target_is_every_entry_observed(loss, per_trial):
    target = torch.randn(3, 6, 5, dtype=F64, generator=torch.Generator().manual_seed(2))
    target = target if per_trial else target[0]
    everywhere = torch.cartesian_prod(torch.arange(6), torch.arange(5))
    data = Observed(everywhere, target.flatten(-2), (6, 5))
    ours, theirs = chain(3), chain(3)
    quiet(ours, target, torch.optim.SGD(ours.parameters(), lr=0.01), steps=20, loss=loss)
    eager(theirs, data, torch.optim.SGD(theirs.parameters(), lr=0.01), 20, loss)
    assert_same(ours, theirs, 1e-12)


@pytest.mark.parametrize("trials", [None, 2])
def test_constants_stay_and_other_equations_train(trials):
    draw = torch.Generator().manual_seed(3)
    lead = () if trials is None else (trials,)

    def model():
        a, b = (torch.randn(*lead, 3, 3, dtype=F64, generator=draw.manual_seed(s)) for s in (4, 5))
        inputs = torch.randn(3, 9, dtype=F64, generator=draw.manual_seed(6))
        return Product("ij,jx,jk->ikx", a, b, constants={1: inputs}, trials=trials)

    ours, theirs = model(), model()
    target = torch.randn(3, 3, 9, dtype=F64, generator=draw.manual_seed(7))
    quiet(ours, target, torch.optim.SGD(ours.parameters(), lr=0.05, momentum=0.5), steps=30)
    optimizer = torch.optim.SGD(theirs.parameters(), lr=0.05, momentum=0.5)
    for _ in range(30):
        optimizer.zero_grad()
        ((theirs() - target) ** 2).flatten(-3).mean(-1).sum().backward()
        optimizer.step()
    assert_same(ours, theirs, 1e-12)
    assert torch.equal(ours.constants[1], theirs.constants[1])


@pytest.mark.parametrize("kind", ["momentum", "group_rmsprop"])
def test_each_trial_with_its_own_rate_is_the_single_run(kind):
    rates = [0.001, 0.01, 0.03]
    many, data = chain(3), observed()
    run = quiet(many, data, OPTIMIZERS[kind](many.parameters()), steps=200, lr=rates)
    assert run.lr.tolist() == rates
    for trial, rate in enumerate(rates):
        one = chain(seed=(0, trial))
        quiet(one, data, OPTIMIZERS[kind](one.parameters()), steps=200, lr=rate)
        for a, b in zip(many.parameters(), one.parameters()):
            torch.testing.assert_close(a[trial].detach(), b.detach(), rtol=1e-10, atol=1e-12)


def test_float32_and_parameters_that_are_not_contiguous():
    ours, theirs, data = chain(dtype=torch.float32), chain(dtype=torch.float32), observed(dtype=torch.float32)
    for p in ours.parameters():
        p.data = p.data.t().contiguous().t()
    quiet(ours, data, torch.optim.SGD(ours.parameters(), lr=0.1, momentum=0.5), steps=50)
    eager(theirs, data, torch.optim.SGD(theirs.parameters(), lr=0.1, momentum=0.5), 50)
    assert_same(ours, theirs, 1e-5)
    assert not any(p.is_contiguous() for p in ours.parameters())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_types_train_and_stay_half(dtype):
    model, data = chain(2, dtype=dtype), observed(dtype=dtype)
    run = quiet(
        model,
        data,
        torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.5),
        steps=60,
        record=["loss", "effective_rank"],
    )
    exact = chain(2)
    quiet(exact, observed(), torch.optim.SGD(exact.parameters(), lr=0.1, momentum=0.5), steps=60)
    assert all(p.dtype == dtype for p in model.parameters()) and run.metrics["loss"].dtype == dtype
    for p, q in zip(model.parameters(), exact.parameters()):
        assert (p.double() - q).norm() < 0.1 * q.norm()  # 60 updates, each rounded at 2^-9 or 2^-11


def test_a_graph_from_before_the_fit_is_refused():
    model, data = chain(), observed()
    loss = model.completion_loss(data)
    quiet(model, data, torch.optim.SGD(model.parameters(), lr=0.1), steps=1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()
    assert all(p.grad is None for p in model.parameters())


def test_a_trial_converges_alone():
    rates = [0.05, 0.2, 0.0]
    # without repeated coordinates, so that the loss can vanish
    data = Observed(
        observed().at.unique(dim=0), torch.linspace(-1, 1, len(observed().at.unique(dim=0)), dtype=F64), (6, 5)
    )
    many = chain(3, depth=2, scale=1.0)
    optimizer = torch.optim.SGD(many.parameters(), lr=1.0)
    run = quiet(
        many,
        data,
        optimizer,
        steps=3000,
        lr=rates,
        record=["loss"],
        record_every=25,
        stop=Stop(0.05, patience=3, every=10),
    )
    assert run.reason == ["converged", "converged", "steps"]
    ends = run.stopped_at.tolist()
    assert 0 < ends[1] < ends[0] < ends[2] == 3000 and ends[0] % 10 == ends[1] % 10 == 0
    for trial in (0, 1):
        one = chain(seed=(0, trial), depth=2, scale=1.0)
        alone = torch.optim.SGD(one.parameters(), lr=rates[trial])
        quiet(one, data, alone, steps=ends[trial] - 30)
        assert one.completion_loss(data) >= 0.05  # the first of three checks was not yet passed
        quiet(one, data, alone, steps=10)
        assert one.completion_loss(data) < 0.05
        quiet(one, data, alone, steps=20)
        for a, b in zip(many.parameters(), one.parameters()):
            torch.testing.assert_close(a[trial].detach(), b.detach(), rtol=1e-10, atol=1e-12)
        later = run.metrics["loss"][run.steps >= ends[trial], trial]
        assert len(later) > 2 and (later == later[0]).all()
        assert later[0].item() == pytest.approx(one.completion_loss(data).item(), rel=1e-9)


def test_a_model_that_is_good_enough_takes_no_step():
    model, data = chain(), observed()
    before = copy.deepcopy(model)
    run = quiet(model, data, torch.optim.SGD(model.parameters(), lr=0.1), steps=100, stop=Stop(1e6), record="loss")
    assert (run.reason, run.stopped_at, run.steps.tolist()) == ("converged", 0, [0])
    assert equal(model, before)


@pytest.mark.parametrize("kind", ["gradient descent", "momentum", "group_rmsprop"])
def test_divergence_keeps_the_last_finite_parameters_and_leaves_the_others_alone(kind):
    many, data = chain(2), observed()
    lr = [1e-3, 1e3 if kind != "group_rmsprop" else 1e90]
    run = quiet(many, data, OPTIMIZERS[kind](many.parameters()), steps=60, lr=lr, record=["loss", "effective_rank"])
    assert run.reason == ["steps", "diverged"]
    end = run.stopped_at[1].item()
    assert 0 < end < 60
    assert all(torch.isfinite(p).all() for p in many.parameters())
    one = chain(seed=(0, 1))
    optimizer = OPTIMIZERS[kind](one.parameters())
    optimizer.param_groups[0]["lr"] = lr[1]
    eager(one, data, optimizer, end)
    for a, b in zip(many.parameters(), one.parameters()):
        torch.testing.assert_close(a[1].detach(), b.detach(), rtol=1e-6, atol=0)
    loss = one.completion_loss(data)
    gradients = torch.autograd.grad(loss, list(one.parameters()))
    assert not (torch.isfinite(loss) and all(torch.isfinite(g).all() for g in gradients))
    well = chain(seed=(0, 0))
    quiet(well, data, OPTIMIZERS[kind](well.parameters()), steps=60, lr=lr[0])
    for a, b in zip(many.parameters(), well.parameters()):
        torch.testing.assert_close(a[0].detach(), b.detach(), rtol=1e-10, atol=1e-12)
    assert torch.isfinite(run.metrics["loss"][:, 0]).all()


def test_a_run_whose_only_trial_diverges_ends_there():
    model, data = chain(), observed()
    run = quiet(model, data, torch.optim.SGD(model.parameters(), lr=1e3), steps=10**6, record="loss", record_every=1000)
    assert run.reason == "diverged" and 0 < run.stopped_at < 50
    assert run.steps.tolist() == [0, run.stopped_at]


def test_a_gradient_that_overflows_stops_its_trial_before_the_step():
    def factor(*entries):
        return torch.tensor([[e] for e in entries], dtype=torch.float32)

    model = Product("i,i->i", factor(1.0, 1e-20), factor(1.0, 1e30), trials=2)  # loss 1e20, gradient 2e40
    run = quiet(model, torch.zeros(1), torch.optim.SGD(model.parameters(), lr=1e-30, momentum=0.5), steps=3)
    assert run.reason == ["steps", "diverged"] and run.stopped_at.tolist() == [3, 0]
    assert model.factors[0][1].item() == pytest.approx(1e-20) and model.factors[1][1].item() == pytest.approx(1e30)
