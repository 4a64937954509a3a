"""irk.optim.GroupRMSprop against its formula written out, per trial, and as a torch optimizer."""

from __future__ import annotations

import copy
import io
import math

import pytest
import torch

from irkernels.nn import MatrixChain
from irkernels.optim import GroupRMSprop

F64 = torch.float64


def _loss(model: MatrixChain) -> torch.Tensor:
    target = torch.linspace(-1, 1, 20, dtype=model.factors[0].dtype).view(4, 5)
    return ((model() - target) ** 2).flatten(-2).sum(-1)


def _train(model: MatrixChain, optimizer: torch.optim.Optimizer, steps: int) -> None:
    for _ in range(steps):
        optimizer.zero_grad()
        _loss(model).sum().backward()
        optimizer.step()


def _chain(trials: int | None = None, seed: object = 0, dtype: torch.dtype = F64) -> MatrixChain:
    return MatrixChain(4, 5, 2, trials=trials, init_scale=0.5, seed=seed, dtype=dtype)


def test_steps_follow_the_formula():
    model = _chain()
    optimizer = GroupRMSprop(model.parameters(), lr=0.02, alpha=0.9, eps=1e-3)
    expected = [p.detach().clone() for p in model.parameters()]
    v = 0.0
    for step in range(1, 21):
        leaves = [e.clone().requires_grad_() for e in expected]
        target = torch.linspace(-1, 1, 20, dtype=F64).view(4, 5)
        gradients = torch.autograd.grad(((leaves[0] @ leaves[1] - target) ** 2).sum(), leaves)
        v = 0.9 * v + 0.1 * sum(g.square().sum().item() for g in gradients)
        rate = 0.02 / (math.sqrt(v / (1 - 0.9**step)) + 1e-3)
        expected = [e - rate * g for e, g in zip(expected, gradients)]
    _train(model, optimizer, 20)
    for parameter, value in zip(model.parameters(), expected):
        torch.testing.assert_close(parameter.detach(), value, rtol=1e-12, atol=1e-14)
    state = optimizer.state[model.factors[0]]
    assert state["step"].item() == 20 and state["v"].item() == pytest.approx(v, rel=1e-12)


def test_trials_never_couple():
    many = _chain(trials=3)
    optimizer = GroupRMSprop(many.parameters(), lr=torch.tensor([0.01, 0.02, 0.03], dtype=F64))
    _train(many, optimizer, 30)
    assert optimizer.state[many.factors[0]]["v"].shape == (3,)
    for trial, lr in enumerate((0.01, 0.02, 0.03)):
        one = _chain(seed=(0, trial))
        single = GroupRMSprop(one.parameters(), lr=lr)
        _train(one, single, 30)
        for a, b in zip(many.parameters(), one.parameters()):
            torch.testing.assert_close(a[trial], b, rtol=1e-11, atol=1e-13)
        torch.testing.assert_close(optimizer.state[many.factors[0]]["v"][trial], single.state[one.factors[0]]["v"])


def test_trials_of_ones_own_parameters():
    start = torch.randn(3, 4, dtype=F64, generator=torch.Generator().manual_seed(0))
    per_trial, common = torch.nn.Parameter(start.clone()), torch.nn.Parameter(start.clone())
    for parameter, trials in ((per_trial, 3), (common, None)):
        optimizer = GroupRMSprop([parameter], lr=0.1, trials=trials)
        parameter.grad = start * torch.tensor([[1.0], [10.0], [100.0]], dtype=F64)
        optimizer.step()
    moved = (per_trial.detach() - start).norm(dim=1)
    # at the first step sqrt(v / (1 - alpha)) is the gradient's own norm, so every trial moves by lr
    torch.testing.assert_close(moved, torch.full((3,), 0.1, dtype=F64), rtol=1e-4, atol=0)
    assert (common.detach() - start).norm().item() == pytest.approx(0.1, rel=1e-4)


def test_balancedness_is_conserved_as_by_gradient_descent():
    model = MatrixChain(4, 4, 2, init="balanced", init_scale=0.5, seed=0, dtype=F64)
    optimizer = GroupRMSprop(model.parameters(), lr=1e-4)
    target = torch.eye(4, dtype=F64)
    start = model.factors[0].detach().clone()
    for _ in range(200):
        optimizer.zero_grad()
        ((model() - target) ** 2).sum().backward()
        optimizer.step()
    first, second = (f.detach() for f in model.factors)
    assert (first - start).norm() > 1e-2
    assert (first.T @ first - second @ second.T).abs().max() < 1e-4


def test_closure_and_parameters_without_gradients():
    model = _chain()
    model.factors[1].requires_grad_(False)
    kept = model.factors[1].detach().clone()
    optimizer = GroupRMSprop(model.parameters(), lr=0.01)

    def closure():
        optimizer.zero_grad()
        loss = _loss(model)
        loss.backward()
        return loss

    first = optimizer.step(closure)
    assert optimizer.step(closure) < first
    assert torch.equal(model.factors[1], kept)


@pytest.mark.parametrize("trials", [None, 3])
def test_a_state_dict_continues_bit_for_bit(trials):
    # float32 parameters with v in float64: torch's own loading would round it
    model = _chain(trials, dtype=torch.float32)
    optimizer = GroupRMSprop(model.parameters(), lr=0.01)
    _train(model, optimizer, 7)
    other = copy.deepcopy(model)
    file = io.BytesIO()
    torch.save(optimizer.state_dict(), file)
    file.seek(0)
    resumed = GroupRMSprop(other.parameters(), lr=1.0)
    resumed.load_state_dict(torch.load(file, weights_only=True))
    _train(model, optimizer, 5)
    _train(other, resumed, 5)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters()))
    assert resumed.state[other.factors[0]]["v"].dtype == F64
    assert torch.equal(resumed.state[other.factors[0]]["v"], optimizer.state[model.factors[0]]["v"])


def test_parameter_groups_have_their_own_norm_and_rate():
    a, b = (torch.nn.Parameter(torch.ones(2, dtype=F64)) for _ in range(2))
    optimizer = GroupRMSprop([{"params": [a]}, {"params": [b], "lr": 0.5}], lr=0.1)
    a.grad, b.grad = torch.tensor([3.0, 4.0], dtype=F64), torch.tensor([300.0, 400.0], dtype=F64)
    optimizer.step()
    assert (1 - a.detach()).norm().item() == pytest.approx(0.1, rel=1e-4)
    assert (1 - b.detach()).norm().item() == pytest.approx(0.5, rel=1e-4)


@pytest.mark.parametrize(
    "options, error, says",
    [
        ({"lr": -1.0}, ValueError, "lr must be finite and not negative, got -1.0"),
        ({"lr": torch.ones(2)}, ValueError, r"lr must be a number, got shape \[2\]"),
        ({"alpha": 1.0}, ValueError, r"alpha must be in \[0, 1\), got 1.0"),
        ({"eps": -1e-6}, ValueError, "eps must be finite and not negative"),
        ({"trials": 5}, ValueError, r"parameter 0 must be \[5, \.\.\.\], .* got \[4, 4\]"),
    ],
)
def test_errors_name_the_argument(options, error, says):
    with pytest.raises(error, match=says):
        GroupRMSprop(_chain().parameters(), **options)


def test_errors_name_the_parameter():
    with pytest.raises(ValueError, match="parameter 2 has no trial axis, but parameter 0 has 3 trials"):
        GroupRMSprop([*_chain(3).parameters(), *_chain().parameters()])
    with pytest.raises(TypeError, match=r"parameter 0 must be real floating-point, got torch.complex64"):
        GroupRMSprop([torch.nn.Parameter(torch.ones(2, dtype=torch.complex64))])
    optimizer = GroupRMSprop(_chain(3).parameters())
    with pytest.raises(ValueError, match="parameter 0"):
        optimizer.add_param_group({"params": [torch.nn.Parameter(torch.ones(2))], "trials": 3})
    assert len(optimizer.param_groups) == 1
