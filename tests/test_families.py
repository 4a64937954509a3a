"""Every family against its plain-torch reference: random shapes, depths 1 to 4, trials; derivatives and training."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch

import irkernels as irk
from irkernels.testing.random_families import FAMILY_MEMBERS, Member, random_member

F64 = torch.float64
each_family = pytest.mark.parametrize("family", FAMILY_MEMBERS)


def reference_value(member: Member, operands: list[torch.Tensor]) -> torch.Tensor:
    """[*shape], or [trials, *shape]: trial by trial."""
    trials = member.model.trials
    if trials is None:
        return member.value(operands)
    return torch.stack([member.value([operand[trial] for operand in operands]) for trial in range(trials)])


def assert_near(found: torch.Tensor, expected: torch.Tensor, what: str) -> None:
    scale = max(expected.abs().max().item(), 1e-3)
    assert found.shape == expected.shape, what
    assert (found - expected).abs().max().item() <= 1e-10 * scale, what


@each_family
def test_value_and_gradients_of_200_shapes(family: str) -> None:
    for seed in range(200):
        member = random_member(family, seed)
        what = f"seed {seed}: {member.model}"
        factors = list(member.model.parameters())
        copies = [factor.detach().clone().requires_grad_() for factor in factors]
        by_factor = dict(zip(map(id, factors), copies))
        expected = reference_value(member, [by_factor[id(factor)] for factor in member.model.factors])
        W = member.model()
        assert_near(W.detach(), expected.detach(), what)
        cotangent = torch.randn_like(expected)
        for found, wanted in zip(
            torch.autograd.grad(W, factors, cotangent), torch.autograd.grad(expected, copies, cotangent)
        ):
            assert_near(found, wanted, what)


@each_family
def test_entries_and_loss_are_the_dense_products(family: str) -> None:
    for seed in range(24):
        model = random_member(family, seed).model
        observed = observations(model, seed)
        at = observed.at
        W = model().detach()[(..., *at.T)]
        assert_near(model.entries(at).detach(), W, str(model))
        assert_near(model.completion_loss(observed).detach(), (W - observed.values).square().mean(-1), str(model))


def observations(model: irk.nn.Product, seed: int) -> irk.Observed:
    generator = torch.Generator().manual_seed(seed)
    at = torch.stack([torch.randint(extent, (7,), generator=generator) for extent in model.shape], dim=1)
    return irk.Observed(at, torch.randn(7, dtype=F64, generator=generator), model.shape)


@each_family
def test_second_derivatives(family: str) -> None:
    checked = 0
    for seed in range(4, 40):
        model = random_member(family, seed, trials=None).model
        factors = [factor.detach().clone().requires_grad_() for factor in model.factors]
        if sum(factor.numel() for factor in factors) > 40 or checked == 3:
            continue
        constants = list(model.constants.values())

        def product(*operands: torch.Tensor) -> torch.Tensor:
            return irk.einsum(model.equation, *operands, *constants)

        assert torch.autograd.gradgradcheck(product, factors, fast_mode=True), str(model)
        checked += 1
    assert checked == 3


@each_family
@pytest.mark.parametrize("trials", [None, 3])
def test_fit_equals_eager_steps(family: str, trials: int | None) -> None:
    seed = 4 if trials is None else 5  # depth 1 and 2
    model = random_member(family, seed, trials=trials, init_scale=0.3).model
    eager, observed = copy.deepcopy(model), observations(model, seed)
    irk.fit(model, observed, torch.optim.SGD(model.parameters(), lr=0.02), steps=500, progress=False)
    optimizer = torch.optim.SGD(eager.parameters(), lr=0.02)
    for _ in range(500):
        optimizer.zero_grad()
        W = torch.einsum(eager.verb_equation, *eager.operands())[(..., *observed.at.T)]
        (W - observed.values).square().mean(-1).sum().backward()
        optimizer.step()
    for found, expected in zip(model.parameters(), eager.parameters()):
        assert_near(found.detach(), expected.detach(), str(model))


@each_family
def test_copies_and_state(family: str) -> None:
    model = random_member(family, 5, trials=2).model
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(other(), model())
        with torch.no_grad():
            other.factors[0].add_(1.0)
        assert not torch.equal(other(), model())
        other.load_state_dict(model.state_dict())
        assert torch.equal(other(), model())
        assert [factor.trials for factor in other.parameters()] == [2] * len(list(model.parameters()))


@each_family
def test_a_trial_of_many_is_the_single_run(family: str) -> None:
    for init in ("gaussian", "balanced"):
        many = random_member(family, 5, trials=3, init=init).model
        for trial in range(3):
            one = random_member(family, 5, trials=None, init=init, seed=(5, trial)).model
            for a, b in zip(many.parameters(), one.parameters()):
                assert torch.equal(a[trial], b)
