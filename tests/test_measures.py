"""Path norms and Path-SGD, products of layer norms, expected sharpness: definitions, symmetries (papers 1 and 18)."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck

from irkernels import curvature, measures
from irkernels.reference import measures as reference
from irkernels.testing.derivatives import assert_equal, normal

SIZES = [(3, 4), (2, 3, 4), (2, 1, 3, 2), (2, 3, 2, 3, 2)]


def chain(*sizes: int, trials: tuple[int, ...] = ()) -> list[Tensor]:
    return [normal(*trials, a, b, seed=i) for i, (a, b) in enumerate(itertools.pairwise(sizes))]


def rescaled(factors: list[Tensor]) -> list[Tensor]:
    """The same function: every hidden unit's incoming weights times c > 0, its outgoing ones over c."""
    factors = [factor.clone() for factor in factors]
    for layer in range(len(factors) - 1):
        c = 10 ** normal(factors[layer].shape[-1], seed=40 + layer)
        factors[layer] = factors[layer] / c
        factors[layer + 1] = factors[layer + 1] * c[:, None]
    return factors


@pytest.mark.parametrize("p", [0.5, 1, 1.5, 2, 3])
@pytest.mark.parametrize("sizes", SIZES)
def test_path_norm_sums_over_all_paths(sizes: tuple[int, ...], p: float) -> None:
    factors = chain(*sizes)
    found = measures.path_norm(factors, p)
    assert_equal(found, reference.path_norm(factors, p), (sizes, p))
    assert torch.allclose(measures.path_norm(rescaled(factors), p), found, rtol=1e-12)
    trials = measures.path_norm([torch.stack([factor, 2 * factor]) for factor in factors], p)
    assert_equal(trials, torch.stack([found, 2 ** len(factors) * found]), "trials")
    assert gradcheck(lambda *f: measures.path_norm(f, p), [factor.requires_grad_() for factor in factors])


@pytest.mark.parametrize("sizes", SIZES)
def test_path_scales_are_the_derivative_by_squares(sizes: tuple[int, ...]) -> None:
    factors = chain(*sizes)
    assert_equal(measures.path_scales(factors), reference.path_scales(factors), sizes)


def stepped(optimizer: type, factors: list[Tensor], X: Tensor, Y: Tensor) -> list[Tensor]:
    factors = [factor.clone().requires_grad_() for factor in factors]
    opt = optimizer(factors, lr=1e-3)
    ((reference.relu_network(factors, X) - Y) ** 2).sum().backward()
    opt.step()
    return [factor.detach() for factor in factors]


def test_path_sgd_commutes_with_rescaling_and_sgd_does_not() -> None:
    factors, X, Y = chain(2, 6, 5, 3), normal(20, 3, seed=30), normal(20, 2, seed=31)
    probes = normal(50, 3, seed=32)
    moved = {}
    for optimizer in (measures.PathSGD, torch.optim.SGD):
        one, other = (stepped(optimizer, f, X, Y) for f in (factors, rescaled(factors)))
        a, b = (reference.relu_network(f, probes) for f in (one, other))
        moved[optimizer] = float((a - b).norm() / a.norm())
        assert not torch.allclose(a, reference.relu_network(factors, probes))
    assert moved[measures.PathSGD] < 1e-6
    assert moved[torch.optim.SGD] > 1e-3


def test_path_sgd_leaves_weights_that_no_path_passes() -> None:
    factors = chain(2, 3, 2)
    factors[0][:, 1] = 0
    factors[1][1] = 0
    moved = stepped(measures.PathSGD, factors, normal(5, 2, seed=1), normal(5, 2, seed=2))
    assert torch.equal(moved[0][:, 1], factors[0][:, 1]) and torch.equal(moved[1][1], factors[1][1])
    assert all(torch.isfinite(factor).all() for factor in moved)


def test_products_of_layer_norms() -> None:
    """By the definitions of the papers' public code: incoming p-norms, a q-norm over units, a product over layers."""
    factors = chain(3, 5, 4, 2)
    for p, q in ((1, math.inf), (2, 2), (3, 1.5)):
        expected = math.prod(float(f.norm(p=p, dim=1).norm(q)) for f in factors)
        assert math.isclose(float(measures.norm_product(factors, p, q)), expected, rel_tol=1e-12)
    for p in (math.inf, 1.5, 1):
        expected = math.prod(float(torch.linalg.svdvals(f).norm(p)) for f in factors)
        assert math.isclose(float(measures.norm_product(factors, p, schatten=True)), expected, rel_tol=1e-12)


def test_complexities_over_the_margin() -> None:
    factors, ones = chain(3, 5, 4, 2), torch.ones(2, dtype=torch.float64)
    l1, l2 = ones, ones
    for factor in reversed(factors):
        l1, l2 = (2 * factor).abs() @ l1, 4 * len(factor) * factor**2 @ l2
    expected = {
        "frobenius": math.prod(4 * float(f.square().sum()) for f in factors),
        "spectral": math.prod(len(f) * float(torch.linalg.matrix_norm(f, 2)) ** 2 for f in factors),
        "l1_path": float(l1.sum()) ** 2,
        "l2_path": float(l2.sum()),
    }
    for kind, value in expected.items():
        found = measures.spectral_complexity(factors, kind, margin=0.5)
        assert math.isclose(float(found), value / 0.25, rel_tol=1e-12), kind


def test_margin() -> None:
    outputs = torch.tensor([[3.0, 1.0, 0.0], [0.0, 2.0, 5.0], [1.0, 1.5, 1.0]])
    labels = torch.tensor([0, 1, 2])
    assert measures.margin(outputs, labels, 0.5) == -0.5
    assert measures.margin(outputs, labels, 0.0) == -3.0


def test_expected_sharpness_is_half_the_trace_for_small_noise() -> None:
    A, B = chain(3, 4, 3)
    target, std = (A @ B), 1e-4  # at the minimum the first-order term is absent
    found = measures.expected_sharpness(lambda a, b: ((a @ b - target) ** 2).sum(), [A, B], std, samples=4000)
    trace = curvature.hessian("ij,jk->ik", A, B, target=target, loss="half_sse").diagonal().sum()
    assert math.isclose(float(found), float(std**2 * trace), rel_tol=0.05)
    again = measures.expected_sharpness(lambda a, b: ((a @ b - target) ** 2).sum(), [A, B], std, samples=4000)
    assert found == again
    frozen = measures.expected_sharpness(lambda a: (a**2).sum(), [torch.zeros(3)], 1.0, samples=5, relative=True)
    assert frozen == 0


def test_early_stopping_where_nothing_is_measured() -> None:
    torch.testing.assert_close(measures.early_stopping_penalty(torch.zeros(4, 2), 0.1, 5), 2 * torch.eye(2))
