"""What belongs to a family's field: component norms, balanced factors, papers' initial factors."""

from __future__ import annotations

import math

import pytest
import torch

import irkernels as irk
from irkernels import reference
from irkernels.nn import CP, HadamardChain, HierarchicalTucker, TensorTrain, Tucker
from irkernels.testing.random_families import FAMILY_MEMBERS, random_member

F64 = torch.float64
DRAWN = {"init_scale": 1.0, "seed": 3, "dtype": F64}


def close(found: torch.Tensor, expected: torch.Tensor, tolerance: float = 1e-12) -> None:
    torch.testing.assert_close(found.detach(), expected.detach(), rtol=tolerance, atol=tolerance)


def singular_values(W: torch.Tensor, modes: tuple[int, ...]) -> torch.Tensor:
    others = [mode for mode in range(W.dim()) if mode not in modes]
    rows = math.prod(W.shape[mode] for mode in modes)
    return torch.linalg.svdvals(W.permute(*modes, *others).reshape(rows, -1))


@pytest.mark.parametrize("depth, chains", [(1, "column"), (3, "column"), (2, "factor")])
def test_cp_component_norms(depth: int, chains: str) -> None:
    model = CP((3, 4, 2), 5, depth, chains=chains, trials=2, **DRAWN)
    for trial in range(2):
        close(model.component_norms()[trial], reference.cp_component_norms([part[trial] for part in model.parts()]))
    vectors = [model.factors[depth * n + depth - 1] for n in range(3)]  # [trials, ., rank]
    close(model.vector_norms(), math.prod(vector.norm(dim=-2) for vector in vectors))


def test_tucker_component_norms_are_those_of_core_slices() -> None:
    core = Tucker((3, 4, 5), (2, 4, 3), 2, trials=2, **DRAWN)
    norms = core.component_norms()
    assert [tuple(each.shape) for each in norms] == [(2, 2), (2, 4), (2, 3)]
    close(norms[1][1, 3], core.factors[0][1, :, 3].norm())
    close(Tucker((3,), 2, **DRAWN).component_norms()[0], Tucker((3,), 2, **DRAWN).factors[0].abs())


def test_hadamard_component_norms() -> None:
    model = HadamardChain(5, 3, **DRAWN)
    close(model.component_norms(), model().abs())
    signed = HadamardChain(5, 3, signed=True, shared=True, **DRAWN)
    close(signed.component_norms(), signed.factors[0].abs() ** 3)


@pytest.mark.parametrize("trials", [None, 2])
def test_singular_values_at_bonds_and_nodes(trials: int | None) -> None:
    models = [
        TensorTrain((3, 4, 2, 3), (2, 4, 3), 2, trials=trials, **DRAWN),
        HierarchicalTucker((3, 2, 4, 3), (2, 3), transfer="full", trials=trials, **DRAWN),
        HierarchicalTucker((2, 3, 2, 3, 2), 3, ((0, 4, 1), (2, 3)), 2, transfer="full", trials=trials, **DRAWN),
    ]
    for model in models:
        norms = model.component_norms()
        if isinstance(norms, list):
            norms = {tuple(range(k + 1)): each for k, each in enumerate(norms)}
        for modes, found in norms.items():
            W, found = (model(), found) if trials is None else (model()[1], found[1])
            expected = singular_values(W, modes)[: len(found)]
            close(found[: len(expected)], expected, 1e-11)
    with pytest.raises(ValueError, match="one bond of a ring"):
        TensorTrain((2, 2), 2, ring=True).component_norms()


def test_local_component_norms() -> None:
    """Razin et al. 2022: the product of the norms of a component's weight vectors, one more than it has children."""
    model = HierarchicalTucker((3, 2, 4, 3), (2, 3), **DRAWN)
    a, b, ab, _, _, cd, w = model.factors
    norms = model.component_norms()
    assert list(norms) == [(0, 1), (2, 3), (0, 1, 2, 3)]
    for r in range(2):
        close(norms[(0, 1)][r], a[:, r].norm() * b[:, r].norm() * ab[r].norm())
    for r in range(3):
        close(norms[(0, 1, 2, 3)][r], ab[:, r].norm() * cd[:, r].norm() * w[r].abs())


def test_training_records_norms_by_mode_and_node() -> None:
    deep = HierarchicalTucker((3, 2, 4, 3), (2, 3), trials=2, **DRAWN)
    for model, names in [
        (deep, ["component_norms[0, 1]", "component_norms[2, 3]", "component_norms[0, 1, 2, 3]"]),
        (Tucker((3, 4), (2, 3), **DRAWN), ["component_norms[0]", "component_norms[1]"]),
    ]:
        target = torch.zeros_like(model().detach())
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        run = irk.fit(
            model, target, optimizer, steps=4, record=["component_norms", "loss"], record_every=2, progress=False
        )
        assert list(run.metrics) == [*names, "loss"]
        norms = model.component_norms()
        for name, expected in zip(names, norms.values() if isinstance(norms, dict) else norms):
            assert run.metrics[name].shape[0] == 3
            close(torch.as_tensor(run.metrics[name][-1]), expected)


@pytest.mark.parametrize("family", FAMILY_MEMBERS)
def test_balanced_factors_have_the_gaussian_product_and_conserve_nothing_but_zero(family: str) -> None:
    for seed in (0, 1, 2, 4, 5, 7, 8, 9):
        options = {"trials": None, "init": "balanced", "init_scale": 0.5}
        model = random_member(family, seed, **options).model
        gaussian = random_member(family, seed, **options | {"init": "gaussian"}).model
        if len(set(model.factors)) == len(model.factors):  # a shared factor is balanced as it is
            close(model(), gaussian(), 1e-10 * gaussian().abs().max().item())
        if isinstance(model, HadamardChain):
            sizes = [factor.abs() for factor in model.factors]
            assert all(torch.allclose(size, sizes[0], rtol=1e-12) for size in sizes)
        else:
            largest = max(factor.square().sum().item() for factor in model.factors)
            assert model.unbalancedness().item() <= 1e-12 * largest, f"seed {seed}: {model}"


def test_balanced_by_definition() -> None:
    """The conservation laws written out, not through families/balance.py."""
    factors = CP((3, 4, 5), 4, init="balanced", **DRAWN).factors
    for F in factors[1:]:
        close(F.norm(dim=0), factors[0].norm(dim=0))
    core, F, G = Tucker((4, 5), (2, 3), init="balanced", **DRAWN).factors
    close(core @ core.T, F.T @ F)
    close(core.T @ core, G.T @ G)
    first, middle, last = TensorTrain((3, 4, 3), (2, 3), init="balanced", **DRAWN).factors
    close(first.T @ first, torch.einsum("aib,cib->ac", middle, middle))
    close(torch.einsum("aib,aic->bc", middle, middle), last @ last.T)
    A, w, *others = CP((3, 4), 2, 2, init="balanced", **DRAWN).factors  # A_r^T A_r = w_r w_r^T: rank one, norm of w_r
    for r in range(2):
        close(A[r].T @ A[r], torch.outer(w[:, r], w[:, r]))
        close(w[:, r].norm(), others[1][:, r].norm())


@pytest.mark.parametrize("family", FAMILY_MEMBERS)
def test_gradient_flow_conserves_unbalancedness(family: str) -> None:
    """One small step changes it by the square of the step only."""
    if family == "hadamard":
        return
    model = random_member(family, 5, trials=None).model
    observed = model().detach() + 1.0
    before, changes = model.unbalancedness(), []
    for lr in (1e-4, 1e-5):
        stepped = random_member(family, 5, trials=None).model
        (0.5 * (stepped() - observed).square().sum()).backward()
        torch.optim.SGD(stepped.parameters(), lr=lr).step()
        changes.append((stepped.unbalancedness() - before).abs().item())
    assert changes[0] <= 1e-5 * max(1.0, before.item()) and changes[1] <= 0.02 * changes[0] + 1e-14


@pytest.mark.parametrize("family", FAMILY_MEMBERS)
def test_scale_is_the_spread_of_the_product(family: str) -> None:
    if family == "hadamard":  # few entries, heavy tails: the law itself
        W = HadamardChain(40_000, 2, init_scale=0.3, seed=0, dtype=F64)()
        assert W.std().item() == pytest.approx(0.3, rel=0.05)
        return
    squares = random_member(family, 4, trials=3000, init_scale=0.3).model().detach().square()
    assert squares.mean().sqrt().item() == pytest.approx(0.3, rel=0.25)


def test_papers_initial_factors() -> None:
    beta = HadamardChain(3, 2, shared=True, init="constant", init_scale=0.01, dtype=F64)  # w_0 = 0.1 (1, 1, 1)
    close(beta.factors[0], torch.full((3,), 0.1, dtype=F64))
    near_one = CP((2,) * 8, 5, init_std=1e-3, init_mean=1.0, seed=0, dtype=F64)
    assert all((F - 1.0).abs().max() < 6e-3 and F.std() > 5e-4 for F in near_one.factors)
    deep = Tucker((6, 5, 4), (3, 2, 4), 3, init="slice_norms", init_std=0.1, seed=0, dtype=F64)
    for n, norms in enumerate(deep.component_norms()):
        P, Q, c = deep.factors[1 + 3 * n : 4 + 3 * n]
        for block in (P.flatten(1).norm(dim=1), Q.flatten(1).norm(dim=1), c.norm(dim=0)):
            close(block, norms)
    assert deep.factors[0].std().item() == pytest.approx(0.1, rel=0.5)
