"""The state of irk.fit's rules: what goes back into the optimizer, what cannot, resumed runs, bits, bad arguments."""

from __future__ import annotations

import pytest
import torch
from test_fit import F64, chain, eager, observed, quiet
from test_rules import OPTIONS, OWN, RATES, made, same_state

import irkernels as irk
from irkernels.nn import MatrixChain
from irkernels.training import Stop

SGD, Adam = torch.optim.SGD, torch.optim.Adam
STOP = Stop(0.5, every=5)


def equal(a, b):
    return all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))


@pytest.mark.parametrize("kind", OPTIONS)
@pytest.mark.parametrize("trials, dtype", [(None, F64), (3, torch.float32)])
def test_a_resumed_run_is_the_uninterrupted_one_bit_for_bit(tmp_path, kind, trials, dtype):
    data, file = observed(dtype=dtype), tmp_path / "run.pt"
    options = dict(clip=0.5, record="loss", record_every=10)
    if trials and kind in OWN:
        options.update(lr=RATES, hyper=OWN[kind])
    whole, resumed = chain(trials, dtype=dtype), chain(trials, dtype=dtype, seed=7)
    mine, other = made(kind, whole.parameters()), made(kind, resumed.parameters())
    expected = quiet(whole, data, mine, steps=700, **options)
    cut = chain(trials, dtype=dtype)
    quiet(cut, data, made(kind, cut.parameters()), steps=333, checkpoint=file, **options)
    run = quiet(resumed, data, other, steps=700, resume=file, **options)
    assert equal(resumed, whole)
    assert torch.equal(run.metrics["loss"], expected.metrics["loss"])
    if expected.optimizer_state is None:
        same_state(other, resumed, mine, whole, 0)
    else:
        for name in ("step", "v"):
            a, b = run.optimizer_state[name], expected.optimizer_state[name]
            assert (a is b is None) or torch.equal(a, b)


@pytest.mark.parametrize("kind", OPTIONS)
def test_a_fit_in_two_parts_is_the_whole_bit_for_bit(kind):
    whole, parts, data = chain(2), chain(2), observed()
    quiet(whole, data, made(kind, whole.parameters()), steps=600)
    optimizer = made(kind, parts.parameters())
    quiet(parts, data, optimizer, steps=257)
    quiet(parts, data, optimizer, steps=343)
    assert equal(whole, parts)


@pytest.mark.parametrize("kind", ["adam", "adamw, all", "sgd, nesterov", "group_rmsprop"])
@pytest.mark.parametrize("trials", [None, 5])
def test_bits_depend_neither_on_threads_nor_on_neighbours(kind, trials):
    """Large enough that a single trial is shared by a team."""
    draw = torch.Generator().manual_seed(0)
    target = torch.randn(150, 150, generator=draw)
    results = []
    for threads in (1, 2, 3):
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            model = MatrixChain(150, 150, 2, trials=trials, init_scale=0.5, seed=0)
            optimizer = made(kind, model.parameters())
            with irk.deterministic():
                quiet(model, target, optimizer, steps=5, clip=0.01)
        finally:
            torch.set_num_threads(before)
        results.append([*model.parameters(), *(v for p in model.parameters() for v in optimizer.state[p].values())])
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))
    if trials:
        alone = MatrixChain(150, 150, 2, init_scale=0.5, seed=(0, 3))
        with irk.deterministic():
            quiet(alone, target, made(kind, alone.parameters()), steps=5, clip=0.01)
        assert all(torch.equal(a[3], b) for a, b in zip(results[0], alone.parameters()))


@pytest.mark.parametrize("kind", OWN)
@pytest.mark.parametrize("dtype", [F64, torch.float32])
def test_numbers_of_the_neighbours_change_no_bit(kind, dtype):
    many, data = chain(3, dtype=dtype), observed(dtype=dtype)
    quiet(many, data, made(kind, many.parameters()), steps=300, lr=RATES, hyper=OWN[kind], clip=[0.2, 10.0, 0.1])
    for trial, clip in enumerate([0.2, 10.0, 0.1]):
        one = chain(seed=(0, trial), dtype=dtype)
        own = {name: values[trial] for name, values in OWN[kind].items()}
        quiet(one, data, made(kind, one.parameters()), steps=300, lr=RATES[trial], hyper=own, clip=clip)
        assert all(torch.equal(a[trial], b) for a, b in zip(many.parameters(), one.parameters()))


def test_parameters_that_are_not_contiguous():
    ours, theirs, data = chain(2), chain(2), observed()
    for model in (ours, theirs):
        for p in model.parameters():
            p.data = p.data.mT.contiguous().mT
    mine, other = made("adamw, all", ours.parameters()), made("adamw, all", theirs.parameters())
    for taken in (quiet, eager, quiet):
        taken(ours, data, mine, steps=10)
    eager(theirs, data, other, 30)
    for p, q in zip(ours.parameters(), theirs.parameters()):
        assert not p.is_contiguous() and mine.state[p]["exp_avg"].stride() == other.state[q]["exp_avg"].stride()
        torch.testing.assert_close(p, q, rtol=1e-11, atol=1e-11)
    same_state(mine, ours, other, theirs)


def test_a_diverged_trial_withholds_adams_state_and_keeps_its_factors():
    """Its loss is finite nowhere from the start, the others' everywhere."""
    model, data = chain(3, scale=[0.3, 1e160, 0.3]), observed()
    before = [p.detach()[1].clone() for p in model.parameters()]
    run = quiet(model, data, made("adam", model.parameters()), steps=20)
    assert run.reason == ["steps", "diverged", "steps"] and run.optimizer_state["step"].tolist() == [[20, 0, 20]]
    assert all(torch.equal(p[1], old) for p, old in zip(model.parameters(), before))
    assert all((moment[1] == 0).all() for each in run.optimizer_state["moments"] for moment in each)


def test_trials_that_ended_apart_keep_their_state_in_the_trajectory():
    many, data = chain(3, depth=2, scale=1.0), observed()
    optimizer = made("adam", many.parameters(), lr=2e-2)
    run = quiet(many, data, optimizer, steps=100, stop=STOP)
    made_steps = run.stopped_at.tolist()
    assert len(set(made_steps)) > 1 and run.optimizer_state["step"].tolist() == [made_steps]
    assert not optimizer.state
    for p in many.parameters():
        p.grad = torch.zeros_like(p)
    with pytest.raises(
        ValueError, match=r"its trials made \d+ to \d+ updates, and Adam keeps one state for all trials"
    ):
        optimizer.step()
    with pytest.raises(ValueError, match=r"go on with irk.fit\(\.\.\., optimizer_state=run\.optimizer_state\)"):
        quiet(many, data, optimizer, steps=10)
    quiet(many, data, optimizer, steps=10, optimizer_state=run.optimizer_state)
    for trial, steps in enumerate(made_steps):
        one = chain(depth=2, scale=1.0, seed=(0, trial))
        eager(one, data, made("adam", one.parameters(), lr=2e-2), steps + 10)
        for a, b in zip(many.parameters(), one.parameters()):
            torch.testing.assert_close(a[trial].detach(), b.detach(), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("kind", ["adam", "sgd, all", "group_rmsprop"])
def test_trials_with_their_own_numbers_keep_their_state_in_the_trajectory(kind, tmp_path):
    whole, parts, data = chain(3), chain(3), observed()
    quiet(whole, data, made(kind, whole.parameters()), steps=40, lr=RATES, hyper=OWN[kind])
    optimizer = made(kind, parts.parameters())
    run = quiet(parts, data, optimizer, steps=25, lr=RATES, hyper=OWN[kind])
    for p in parts.parameters():
        p.grad = torch.zeros_like(p)
    with pytest.raises(ValueError, match="its trials had their own lr"):
        optimizer.step()
    run.save(tmp_path / "run")
    state = irk.Trajectory.load(tmp_path / "run").optimizer_state
    quiet(parts, data, optimizer, steps=15, lr=RATES, hyper=OWN[kind], optimizer_state=state)
    assert equal(parts, whole)


def test_a_state_that_can_be_held_again_is_handed_back():
    ours, theirs, data = chain(3), chain(3), observed()
    mine, other = made("adam", ours.parameters()), made("adam", theirs.parameters())
    run = quiet(ours, data, mine, steps=20, lr=RATES)
    assert not mine.state and run.optimizer_state is not None
    done = quiet(ours, data, mine, steps=20, optimizer_state=run.optimizer_state)
    assert done.optimizer_state is None
    eager(ours, data, mine, 5)
    quiet(theirs, data, other, steps=20, lr=RATES)
    assert mine.state[ours.factors[0]]["step"].item() == 45


def test_without_momentum_there_is_nothing_to_keep():
    model, data = chain(3), observed()
    optimizer = SGD(model.parameters(), lr=0.1)
    run = quiet(model, data, optimizer, steps=20, lr=RATES, stop=STOP)
    assert run.optimizer_state is None
    quiet(model, data, optimizer, steps=20)
    eager(model, data, optimizer, 1)


def call(model=None, optimizer=None, **options):
    model = chain(3) if model is None else model
    optimizer = Adam(model.parameters()) if optimizer is None else optimizer
    return quiet(model, observed(), optimizer, **{"steps": 1, **options})


@pytest.mark.parametrize(
    "options, error, says",
    [
        (dict(hyper=[0.9]), TypeError, r"hyper must be \{name: values\}, got list"),
        (
            dict(hyper={"momentum": 0.9}),
            ValueError,
            "hyper: Adam does not read 'momentum'; known are betas, eps, weight_decay",
        ),
        (dict(hyper={"lr": 0.9}), ValueError, "hyper: lr is an argument of its own, lr="),
        (
            dict(hyper={"eps": [1.0, 2.0]}),
            ValueError,
            r"hyper: eps must be .* \[3\], one for each trial, got shape \[2\]",
        ),
        (dict(hyper={"eps": -1.0}), ValueError, "hyper: eps must be finite and not negative, got -1.0"),
        (dict(hyper={"betas": 0.9}), ValueError, r"hyper: betas must be \[2\] or \[trials, 2\], got \[\]"),
        (dict(hyper={"betas": "ab"}), TypeError, "hyper: betas must be a pair of numbers or one for each trial"),
        (dict(hyper={"betas": (0.9, 1.0)}), ValueError, r"hyper: beta2 must be in \[0, 1\), got 1.0"),
        (dict(clip=[1.0, 2.0]), ValueError, r"clip must be a number or \[3\], one for each trial, got shape \[2\]"),
        (dict(clip_value=float("nan")), ValueError, "clip_value must be finite and not negative, got nan"),
        (
            dict(optimizer_state=3),
            TypeError,
            "optimizer_state must be the optimizer_state of a Trajectory that has one",
        ),
    ],
)
def test_bad_arguments_are_named(options, error, says):
    with pytest.raises(error, match=says):
        call(**options)


def test_a_state_and_a_checkpoint_are_one_too_many(tmp_path):
    model = chain(3)
    run = call(model, lr=RATES, checkpoint=tmp_path / "run")
    with pytest.raises(ValueError, match="optimizer_state: the checkpoint to resume from has a state of its own"):
        call(model, resume=tmp_path / "run", optimizer_state=run.optimizer_state, steps=2, lr=RATES)


def test_a_state_of_another_fit_is_refused():
    model = chain(3)
    state = call(model, made("sgd, all", model.parameters()), lr=RATES).optimizer_state
    with pytest.raises(ValueError, match=r"optimizer_state is of another fit: it has .*sgd.* but this one .*adam"):
        call(optimizer_state=state)
    larger = chain(4)
    with pytest.raises(ValueError, match="optimizer_state is of another fit"):
        call(larger, made("sgd, all", larger.parameters()), optimizer_state=state)


@pytest.mark.parametrize(
    "change, says", [(dict(clip=2.0), "clip"), (dict(hyper={"eps": 1.0}), "eps"), (dict(lr=1.0), "lr")]
)
def test_resume_says_which_number_differs(tmp_path, change, says):
    call(checkpoint=tmp_path / "run")
    with pytest.raises(ValueError, match=f"was written with {says} .*, but now it is"):
        call(resume=tmp_path / "run", steps=2, **change)
