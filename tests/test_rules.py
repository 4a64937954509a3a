"""The update rules of irk.fit against torch's own optimizers: options, state exchanged, trials, clipping."""

from __future__ import annotations

import copy

import pytest
import torch
from test_fit import F64, chain, eager, engine, observed, quiet  # noqa: F401 (engine is a fixture)

from irkernels.nn import Product
from irkernels.optim import GroupRMSprop

SGD, Adam, AdamW = torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW
OPTIONS = {
    "adam": (Adam, {}),
    "adam, decay and betas": (Adam, dict(weight_decay=0.1, betas=(0.8, 0.95), eps=1e-3)),
    "adam, amsgrad": (Adam, dict(amsgrad=True, betas=(0.5, 0.6))),
    "adam, beta1 zero": (Adam, dict(betas=(0.0, 0.99), eps=1e-2)),
    "adamw": (AdamW, {}),
    "adamw, all": (AdamW, dict(weight_decay=0.3, amsgrad=True, betas=(0.7, 0.9), eps=1e-2)),
    "sgd, maximize": (SGD, dict(maximize=True, weight_decay=30.0)),
    "sgd, all": (SGD, dict(momentum=0.8, dampening=0.2, weight_decay=0.01)),
    "sgd, nesterov": (SGD, dict(momentum=0.8, nesterov=True)),
    "group_rmsprop": (GroupRMSprop, dict(alpha=0.9, eps=1e-3)),
}


def made(kind, parameters, **more):
    optimizer, options = OPTIONS[kind]
    return optimizer(parameters, **{"lr": 3e-3, **options, **more})


def close(ours, theirs, tolerance):
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(p.detach(), q.detach(), rtol=tolerance, atol=tolerance)


def same_state(mine, ours, other, theirs, tolerance=1e-9):
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert mine.state[p].keys() == other.state[q].keys()
        for name, value in mine.state[p].items():
            expected = other.state[q][name]
            assert value.dtype == expected.dtype and value.shape == expected.shape and value.device == expected.device
            torch.testing.assert_close(value, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("kind", OPTIONS)
@pytest.mark.parametrize("trials", [None, 3])
def test_a_thousand_steps_and_the_state_after_them(kind, trials, request):
    steps = 1000 if "native" in request.node.callspec.id else 60  # the other engine is as slow as eager PyTorch
    ours, theirs, data = chain(trials), chain(trials), observed()
    mine, other = made(kind, ours.parameters()), made(kind, theirs.parameters())
    start = copy.deepcopy(ours)
    quiet(ours, data, mine, steps=steps)
    eager(theirs, data, other, steps)
    close(ours, theirs, 1e-10)
    same_state(mine, ours, other, theirs)
    with pytest.raises(AssertionError):
        close(ours, start, 1e-3)


@pytest.mark.parametrize("kind", OPTIONS)
def test_native_steps_and_the_optimizers_own_interchange(kind):
    ours, theirs, data = chain(2), chain(2), observed()
    mine, other = made(kind, ours.parameters()), made(kind, theirs.parameters())
    for taken, steps in ((eager, 5), (quiet, 30), (eager, 3), (quiet, 7), (quiet, 2)):
        taken(ours, data, mine, steps=steps)
    eager(theirs, data, other, 47)
    close(ours, theirs, 1e-11)
    same_state(mine, ours, other, theirs)


@pytest.mark.parametrize("kind", OPTIONS)
def test_float32(kind):
    ours, theirs = (chain(2, dtype=torch.float32, depth=2) for _ in range(2))
    data = observed(dtype=torch.float32)
    mine, other = made(kind, ours.parameters()), made(kind, theirs.parameters())
    quiet(ours, data, mine, steps=50)
    eager(theirs, data, other, 50)
    close(ours, theirs, 1e-4)
    same_state(mine, ours, other, theirs, 1e-3)


RATES = [1e-3, 3e-3, 1e-2]
OWN = {
    "sgd, all": dict(momentum=[0.0, 0.5, 0.9], dampening=[0.3, 0.0, 0.1], weight_decay=[0.0, 0.1, 0.01]),
    "sgd, nesterov": dict(momentum=[0.0, 0.5, 0.9]),
    "adam": dict(betas=[(0.9, 0.999), (0.5, 0.9), (0.0, 0.99)], eps=[1e-2, 1e-3, 1e-1], weight_decay=[0.0, 0.1, 1.0]),
    "adamw, all": dict(betas=[(0.9, 0.999), (0.5, 0.9), (0.7, 0.8)], weight_decay=[0.0, 0.1, 1.0]),
    "group_rmsprop": dict(alpha=[0.5, 0.9, 0.99], eps=[1e-6, 1e-3, 1e-2]),
}


@pytest.mark.parametrize("kind", OWN)
def test_each_trial_with_its_own_numbers_is_the_single_run(kind):
    many, data = chain(3), observed()
    quiet(many, data, made(kind, many.parameters()), steps=60, lr=RATES, hyper=OWN[kind], clip=[0.2, 10.0, 0.1])
    for trial in range(3):
        one = chain(seed=(0, trial))
        own = {name: values[trial] for name, values in OWN[kind].items()}
        if own.get("momentum") == 0.0 and "nesterov" in kind:
            optimizer = SGD(one.parameters(), lr=RATES[trial])  # torch has no Nesterov without momentum
        else:
            optimizer = made(kind, one.parameters(), lr=RATES[trial], **own)
        for _ in range(60):
            optimizer.zero_grad()
            one.completion_loss(data).backward()
            torch.nn.utils.clip_grad_norm_(one.parameters(), [0.2, 10.0, 0.1][trial])
            optimizer.step()
        for a, b in zip(many.parameters(), one.parameters()):
            torch.testing.assert_close(a[trial].detach(), b.detach(), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("kind", ["adam", "sgd, all", "group_rmsprop"])
def test_clipping_by_value_and_then_by_norm(kind):
    ours, theirs, data = chain(), chain(), observed()
    quiet(ours, data, made(kind, ours.parameters()), steps=40, clip_value=0.05, clip=0.2)
    optimizer = made(kind, theirs.parameters())
    for _ in range(40):
        optimizer.zero_grad()
        theirs.completion_loss(data).backward()
        before = torch.cat([p.grad.flatten() for p in theirs.parameters()])
        torch.nn.utils.clip_grad_value_(theirs.parameters(), 0.05)
        norm = torch.nn.utils.clip_grad_norm_(theirs.parameters(), 0.2)
        optimizer.step()
    assert before.abs().max() > 0.05 and norm > 0.2
    close(ours, theirs, 1e-11)


@pytest.mark.parametrize("kind", ["adam", "adamw, all", "sgd, all", "group_rmsprop"])
@pytest.mark.parametrize("trials", [None, 2])
def test_parameter_groups_with_their_own_numbers(kind, trials):
    ours, theirs, data = chain(trials), chain(trials), observed()

    def grouped(model):
        a, b, c = model.parameters()
        other = {"group_rmsprop": dict(alpha=0.5), "sgd, all": dict(momentum=0.0)}.get(
            kind, dict(betas=(0.5, 0.6), amsgrad=True)
        )
        return made(kind, [{"params": [a, c]}, {"params": [b], "lr": 1e-2, **other}])

    mine, other = grouped(ours), grouped(theirs)
    quiet(ours, data, mine, steps=20)
    quiet(ours, data, mine, steps=20)
    eager(theirs, data, other, 40)
    close(ours, theirs, 1e-11)
    same_state(mine, ours, other, theirs)


def test_parameters_that_have_made_different_numbers_of_steps():
    ours, theirs, data = chain(2), chain(2), observed()
    mine, other = made("adam", ours.parameters()), made("adam", theirs.parameters())
    for model, optimizer in ((ours, mine), (theirs, other)):
        model.factors[1].requires_grad_(False)
        eager(model, data, optimizer, 5)
        model.factors[1].requires_grad_(True)
    quiet(ours, data, mine, steps=20)
    eager(theirs, data, other, 20)
    close(ours, theirs, 1e-11)
    same_state(mine, ours, other, theirs)
    assert [mine.state[p]["step"].item() for p in ours.parameters()] == [25, 20, 25]


@pytest.mark.parametrize("kind", ["adam", "sgd, all", "group_rmsprop"])
@pytest.mark.parametrize("trials", [None, 2])
def test_frozen_factors_stay(kind, trials):
    ours, theirs, data = chain(trials), chain(trials), observed()
    for model in (ours, theirs):
        model.factors[1].requires_grad_(False)
    frozen = ours.factors[1].detach().clone()
    mine, other = made(kind, ours.parameters()), made(kind, theirs.parameters())
    quiet(ours, data, mine, steps=30)
    eager(theirs, data, other, 30)
    close(ours, theirs, 1e-11)
    same_state(mine, ours, other, theirs)
    assert torch.equal(ours.factors[1], frozen)


@pytest.mark.parametrize("kind", ["adam", "sgd, all", "group_rmsprop"])
@pytest.mark.parametrize("trials", [None, 2])
def test_tied_factors_move_as_one(kind, trials):
    target = torch.linspace(-1, 1, 16, dtype=F64).view(4, 4)
    models = []
    for _ in range(2):
        lead = () if trials is None else (trials,)
        draw = torch.Generator().manual_seed(0)
        tied = torch.nn.Parameter(torch.randn(*lead, 4, 4, dtype=F64, generator=draw))
        own = torch.nn.Parameter(torch.randn(*lead, 4, dtype=F64, generator=draw))
        models.append(Product("ij,j,kj,kl->il", tied, own, tied, tied, trials=trials))
    optimizers = [made(kind, model.parameters()) for model in models]
    quiet(models[0], target, optimizers[0], steps=30)
    for _ in range(30):
        optimizers[1].zero_grad()
        ((models[1]() - target) ** 2).flatten(-2).mean(-1).sum().backward()
        optimizers[1].step()
    close(*models, 1e-11)
    same_state(optimizers[0], models[0], optimizers[1], models[1])


def test_a_learning_rate_that_is_a_tensor_and_the_default_dtype():
    ours, theirs, data = chain(), chain(), observed()
    torch.set_default_dtype(F64)
    try:
        mine, other = (Adam(m.parameters(), lr=torch.tensor(3e-3, dtype=F64)) for m in (ours, theirs))
        quiet(ours, data, mine, steps=20)
        eager(theirs, data, other, 20)
    finally:
        torch.set_default_dtype(torch.float32)
    close(ours, theirs, 1e-11)
    same_state(mine, ours, other, theirs)
    assert mine.state[ours.factors[0]]["step"].dtype == F64


@pytest.mark.parametrize("flag", ["foreach", "fused", "capturable"])
def test_how_torch_would_run_its_steps_shows_in_the_state_only(flag):
    ours, theirs, data = chain(2), chain(2), observed()
    mine = made("adam", ours.parameters(), **{flag: True})
    other = made(
        "adam", theirs.parameters(), **({} if flag == "capturable" else {flag: True})
    )  # capturable is for GPUs
    quiet(ours, data, mine, steps=20)
    eager(theirs, data, other, 20)
    close(ours, theirs, 1e-11)
    same_state(mine, ours, other, theirs)


def test_a_late_start():
    """Bias corrections of the 100,000th step."""
    ours, theirs, data = chain(2), chain(2), observed()
    mine, other = made("adam, decay and betas", ours.parameters()), made("adam, decay and betas", theirs.parameters())
    for model, optimizer in ((ours, mine), (theirs, other)):
        optimizer.param_groups[0]["betas"] = (0.9, 0.99999)
        eager(model, data, optimizer, 1)
        for p in model.parameters():
            optimizer.state[p]["step"].fill_(99_999)
    quiet(ours, data, mine, steps=300)
    eager(theirs, data, other, 300)
    close(ours, theirs, 1e-10)
    same_state(mine, ours, other, theirs)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_types_follow_adam(dtype):
    model, exact = chain(2, dtype=dtype), chain(2)
    quiet(model, observed(dtype=dtype), Adam(model.parameters(), lr=1e-2, eps=1e-3), steps=60)
    quiet(exact, observed(), Adam(exact.parameters(), lr=1e-2, eps=1e-3), steps=60)
    for p, q in zip(model.parameters(), exact.parameters()):
        assert p.dtype == dtype and (p.double() - q).norm() < 0.1 * q.norm()  # each of 60 updates is rounded
