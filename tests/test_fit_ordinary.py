"""irk.fit with what has no native steps: any torch optimizer, frozen and tied factors; and what it refuses."""

from __future__ import annotations

import pytest
import torch

from irkernels import Observed
from irkernels.nn import MatrixChain, Product
from irkernels.optim import GroupRMSprop
from irkernels.training import Stop, fit

F64 = torch.float64
AT = torch.cartesian_prod(torch.arange(4), torch.arange(4))[::2]
DATA = Observed(AT, torch.linspace(-1, 1, len(AT), dtype=F64), (4, 4))


def chain(trials=None, seed=0, **options):
    return MatrixChain(4, 4, 2, trials=trials, seed=seed, dtype=F64, **{"init_scale": 0.5, **options})


class Ordinary(torch.optim.SGD):
    """SGD that fit does not know."""


def sgd(model, **options):
    return Ordinary([p for p in model.parameters() if p.requires_grad], **{"lr": 0.1, **options})


def eager(model, optimizer, steps):
    for _ in range(steps):
        optimizer.zero_grad()
        model.completion_loss(DATA).sum().backward()
        optimizer.step()


def same(a, b, relative=1e-12):
    for p, q in zip(a.parameters(), b.parameters(), strict=True):
        torch.testing.assert_close(p.detach(), q.detach(), rtol=relative, atol=relative)


def ordinary(*args, **kwargs):
    with pytest.warns(UserWarning, match="ordinary Python loop"):
        return fit(*args, progress=False, **kwargs)


@pytest.mark.parametrize("kind", [torch.optim.NAdam, torch.optim.RMSprop, torch.optim.Adagrad])
@pytest.mark.parametrize("trials", [None, 3])
def test_any_torch_optimizer_runs_in_an_ordinary_loop(kind, trials):
    ours, theirs = chain(trials), chain(trials)
    with pytest.warns(UserWarning, match=f"{kind.__name__} has no native steps"):
        fit(ours, DATA, kind(ours.parameters(), lr=0.01), steps=50, progress=False)
    eager(theirs, kind(theirs.parameters(), lr=0.01), 50)
    same(ours, theirs)
    assert all(p.grad is None for p in ours.parameters())


def test_frozen_factors_stay():
    ours, theirs = chain(), chain()
    for model in (ours, theirs):
        model.factors[0].requires_grad_(False)
    frozen = ours.factors[0].detach().clone()
    ordinary(ours, DATA, sgd(ours), steps=20)
    eager(theirs, sgd(theirs), 20)
    same(ours, theirs)
    assert torch.equal(ours.factors[0], frozen)


def test_tied_factors_move_as_one():
    models = []
    for _ in range(2):
        tied = torch.nn.Parameter(torch.randn(4, 2, dtype=F64, generator=torch.Generator().manual_seed(0)))
        models.append(Product("ij,kj->ik", tied, tied))
    ordinary(models[0], DATA, sgd(models[0]), steps=20)
    eager(models[1], sgd(models[1]), 20)
    same(*models)


@pytest.mark.parametrize("option", ["nesterov", "maximize"])
def test_parameter_groups_that_differ_in_an_option(option):
    ours, theirs = chain(), chain()
    made = [
        torch.optim.SGD([{"params": [m.factors[0]]}, {"params": [m.factors[1]], option: True}], lr=0.02, momentum=0.5)
        for m in (ours, theirs)
    ]
    with pytest.warns(UserWarning, match=f"the optimizer's parameter groups differ in {option}"):
        fit(ours, DATA, made[0], steps=20, progress=False)
    eager(theirs, made[1], 20)
    same(ours, theirs)


def test_numbers_in_place_of_the_optimizers_and_clipping():
    ours, theirs = chain(3), chain(3)
    optimizer, other = sgd(ours), sgd(theirs, lr=0.3)
    run = ordinary(ours, DATA, optimizer, steps=20, lr=0.3, clip=[0.1, 0.2, 10.0], clip_value=0.15)
    assert optimizer.param_groups[0]["lr"] == 0.1 and run.lr.tolist() == [0.3] * 3
    for _ in range(20):
        gradients = torch.autograd.grad(theirs.completion_loss(DATA).sum(), list(theirs.parameters()))
        gradients = [g.clamp(-0.15, 0.15) for g in gradients]
        for trial, most in enumerate([0.1, 0.2, 10.0]):
            norm = sum(g[trial].square().sum() for g in gradients).sqrt()
            for g in gradients:
                g[trial] *= min(1.0, most / (norm + 1e-6))
        for p, g in zip(theirs.parameters(), gradients):
            p.grad = g
        other.step()
    same(ours, theirs)


def test_a_stopped_trial_stays_where_it_is():
    data = Observed(AT, DATA.values * torch.tensor([[1.0], [1.0], [1e6]], dtype=F64), (4, 4))  # the last is far away
    many = chain(3, init_scale=[0.5, 1e160, 0.5])
    start = [p.detach()[1].clone() for p in many.parameters()]
    optimizer = torch.optim.NAdam(many.parameters(), lr=0.05)
    run = ordinary(many, data, optimizer, steps=400, stop=Stop(1e-3, every=5), record="loss")
    assert run.reason == ["converged", "diverged", "steps"]
    assert run.stopped_at[1] == 0 and 0 < run.stopped_at[0] < 350
    assert all(torch.equal(p[1], s) for p, s in zip(many.parameters(), start))
    one = chain(seed=(0, 0))
    eager(one, torch.optim.NAdam(one.parameters(), lr=0.05), int(run.stopped_at[0]))
    for a, b in zip(many.parameters(), one.parameters()):
        torch.testing.assert_close(a[0].detach(), b.detach(), rtol=1e-9, atol=1e-11)


def test_an_ordinary_run_resumes_bit_for_bit(tmp_path):
    whole, half = chain(2), chain(2)
    options = dict(record=["loss"], record_every=7)
    expected = ordinary(whole, DATA, torch.optim.NAdam(whole.parameters(), lr=0.01), steps=60, **options)
    ordinary(half, DATA, torch.optim.NAdam(half.parameters(), lr=0.01), steps=25, checkpoint=tmp_path / "c", **options)
    resumed = chain(2, seed=5)
    optimizer = torch.optim.NAdam(resumed.parameters(), lr=0.01)
    run = ordinary(resumed, DATA, optimizer, steps=60, resume=tmp_path / "c", **options)
    assert all(torch.equal(p, q) for p, q in zip(resumed.parameters(), whole.parameters()))
    assert torch.equal(run.metrics["loss"], expected.metrics["loss"])
    other = torch.optim.NAdam(resumed.parameters(), lr=0.01, betas=(0.5, 0.999))
    with pytest.raises(ValueError, match="was written with optimizer options"), pytest.warns(UserWarning):
        fit(resumed, DATA, other, steps=60, resume=tmp_path / "c", progress=False, **options)


def _call(model=None, data=DATA, optimizer=None, **options):
    model = chain() if model is None else model
    optimizer = sgd(model) if optimizer is None else optimizer
    return fit(model, data, optimizer, **{"steps": 1, "progress": False, **options})


def _foreign():
    return sgd(chain())


@pytest.mark.parametrize(
    "call, error, says",
    [
        (lambda: _call(steps=1.5), TypeError, "steps must be an integer, got 1.5"),
        (lambda: _call(steps=-1), ValueError, "steps must be at least 0, got -1"),
        (lambda: _call(record_every=0), ValueError, "record_every must be at least 1, got 0"),
        (lambda: _call(checkpoint_every=-1), ValueError, "checkpoint_every must be seconds"),
        (lambda: _call(stop=1e-6), TypeError, "stop must be an irk.Stop, got float"),
        (lambda: Stop(0.0), ValueError, "Stop: loss must be a positive number, got 0.0"),
        (lambda: Stop(1.0, patience=0), ValueError, "Stop: patience must be at least 1, got 0"),
        (lambda: Stop(1.0, every=2.5), TypeError, "Stop: every must be an integer, got 2.5"),
        (lambda: _call(progress="yes"), TypeError, "progress must be True, False or a callable, got str"),
        (lambda: _call(loss="rmse"), ValueError, "unknown loss 'rmse'; known are mse"),
        (lambda: _call(loss="huber", delta=0.0), ValueError, "delta must be positive, got 0.0"),
        (lambda: fit(torch.nn.Linear(2, 2), DATA, _foreign(), steps=1), TypeError, "model must be .* got Linear"),
        (lambda: _call(data=[1.0]), TypeError, r"data must be an irkernels\.Observed, .* or a tensor .* got list"),
        (
            lambda: _call(data=DATA.to(torch.float32)),
            TypeError,
            "values are torch.float32, but the factors are torch.float64",
        ),
        (lambda: _call(data=torch.zeros(4, 4)), TypeError, "target are torch.float32"),
        (
            lambda: _call(data=Observed(AT, DATA.values, (4, 5))),
            ValueError,
            r"shape \(4, 5\), but the model's product is \(4, 4\)",
        ),
        (lambda: _call(data=torch.zeros(4, 5, dtype=F64)), ValueError, r"data must be \[4, 4\], got \[4, 5\]"),
        (
            lambda: _call(chain(3), torch.zeros(2, 4, 4, dtype=F64)),
            ValueError,
            r"\[4, 4\] or \[3, 4, 4\], got \[2, 4, 4\]",
        ),
        (
            lambda: _call(data=Observed(AT, torch.zeros(1, 8, dtype=F64), (4, 4))),
            ValueError,
            r"values must be \[8\], got \[1, 8\]",
        ),
        (lambda: _call(data=torch.full((4, 4), torch.nan, dtype=F64)), ValueError, "NaN or infinite.*from_dense"),
        (lambda: _call(data=torch.zeros(4, 4, dtype=F64, requires_grad=True)), ValueError, "must not require grad"),
        (lambda: _call(truth=torch.zeros(3, 4, dtype=F64)), ValueError, r"truth must be \[4, 4\]"),
        (lambda: _call(optimizer="sgd"), TypeError, r"torch\.optim\.Optimizer, got str"),
        (
            lambda: _call(optimizer=_foreign()),
            ValueError,
            "factor 0 of the model is not among the optimizer's parameters",
        ),
        (lambda: _call(lr=[0.1, 0.2]), ValueError, r"lr must be a number, got shape \[2\]"),
        (lambda: _call(lr=-0.1), ValueError, "lr must be finite and not negative"),
        (lambda: _call(record=["losses"]), ValueError, "unknown metric 'losses'; known are loss, determinant, error"),
        (lambda: _call(record={"a": 1}), TypeError, r"expected {name: f\(model\)}, got {'a': 1}"),
        (lambda: _call(record=3), TypeError, "record must be names"),
        (lambda: _call(record="error"), ValueError, "error is the distance to truth=, which was not given"),
        (
            lambda: _call(chain(3), record={"a": lambda m: 1.0}),
            ValueError,
            r"a must be \[3, \.\.\.\], one for each trial",
        ),
    ],
)
def test_bad_arguments_are_named(call, error, says):
    with pytest.raises(error, match=says):
        call()


def test_bad_combinations_are_named():
    model = chain(3)
    with pytest.raises(TypeError, match="LBFGS evaluates its loss several times"):
        _call(model, optimizer=torch.optim.LBFGS(model.parameters()))
    with pytest.raises(TypeError, match="Adafactor may couple trials; with trials use SGD"):
        _call(model, optimizer=torch.optim.Adafactor(model.parameters()))
    with pytest.raises(ValueError, match="lr for each trial needs native steps, but NAdam has no native steps"):
        _call(model, optimizer=torch.optim.NAdam(model.parameters()), lr=[0.1, 0.2, 0.3])
    with pytest.raises(ValueError, match="the optimizer has trials=4, but the model has trials=None"):
        square = chain()
        _call(square, optimizer=GroupRMSprop(square.parameters(), trials=4))
    cube = Product("a,b,c->abc", *(torch.ones(2, dtype=F64) for _ in range(3)))
    with pytest.raises(ValueError, match=r"singular_values is of a matrix, but the model's product is \(2, 2, 2\)"):
        _call(cube, torch.ones(2, 2, 2, dtype=F64), record="singular_values")


@pytest.mark.filterwarnings("ignore:irk.fit takes its steps in an ordinary")
def test_only_trained_factors_move():
    model, extra = chain(), torch.nn.Parameter(torch.ones(3, dtype=F64))
    extra.grad = torch.ones_like(extra)
    optimizer = torch.optim.RMSprop([*model.parameters(), extra], lr=0.01)
    model().sum().backward()
    model.factors[0].requires_grad_(False)
    before = [factor.detach().clone() for factor in model.factors]
    fit(model, DATA, optimizer, steps=5, progress=False)
    assert torch.equal(model.factors[0], before[0]) and torch.equal(extra, torch.ones_like(extra))
    assert not torch.equal(model.factors[1], before[1])
    assert model.factors[0].grad is not None and torch.equal(extra.grad, torch.ones_like(extra))


@pytest.mark.filterwarnings("ignore:irk.fit takes its steps in an ordinary")
def test_steps_are_taken_where_no_gradients_are_recorded():
    models = [chain(), chain()]
    with torch.no_grad():
        fit(models[0], DATA, torch.optim.RMSprop(models[0].parameters(), lr=0.01), steps=5, progress=False)
    fit(models[1], DATA, torch.optim.RMSprop(models[1].parameters(), lr=0.01), steps=5, progress=False)
    assert all(map(torch.equal, models[0].factors, models[1].factors))


@pytest.mark.filterwarnings("ignore:irk.fit takes its steps in")
@pytest.mark.parametrize("kind", ["sgd", "rmsprop", "group", "penalty"])
def test_factors_without_axes_of_their_own(kind):
    """A number for each trial."""
    scales, matrices = torch.tensor([1.0, 0.5, 2.0], dtype=F64), torch.randn(3, 2, 2, dtype=F64)
    makers = {"rmsprop": torch.optim.RMSprop, "group": lambda p, lr: GroupRMSprop(p, lr=lr, trials=3)}

    def trained(model):
        optimizer = makers.get(kind, torch.optim.SGD)(model.parameters(), lr=0.01)
        options = dict(penalty=lambda W: W.sum((-1, -2)), clip=1.0) if kind == "penalty" else {}
        run = fit(
            model, torch.ones(2, 2, dtype=F64), optimizer, steps=6, record="gradient_norm", progress=False, **options
        )
        return run.metrics["gradient_norm"]

    found = trained(Product(",ij->ij", scales.clone(), matrices.clone(), trials=3))
    expected = trained(Product("z,ij->ij", scales[:, None].clone(), matrices.clone(), trials=3))
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)
