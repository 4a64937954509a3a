"""Geometric complexity and slopes along segments (papers 11, 14), penalties and norms (7, 17), and 4, 5, 13."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck

from irkernels import measures
from irkernels.reference import measures as reference
from irkernels.testing.derivatives import assert_equal, normal

NETWORKS = [(3, 2), (2, 5, 3), (1, 6, 5, 4), (2, 4, 1, 3, 3)]


def network(sizes: tuple[int, ...], biased: bool) -> tuple[list[Tensor], list[Tensor | None] | None]:
    factors = [normal(a, b, seed=i) for i, (a, b) in enumerate(itertools.pairwise(sizes))]
    return factors, [normal(len(f), seed=20 + i) / 2 for i, f in enumerate(factors)] if biased else None


@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("sizes", NETWORKS)
def test_geometric_complexity_and_its_gradient(sizes: tuple[int, ...], biased: bool) -> None:
    factors, biases = network(sizes, biased)
    X = normal(6, sizes[-1], seed=30)
    values, gradients = [], []
    for function in (measures.geometric_complexity, reference.geometric_complexity):
        leaves = [factor.clone().requires_grad_() for factor in factors]
        values.append(function(leaves, X, biases))
        gradients.append(torch.autograd.grad(values[-1], leaves))
    assert_equal(*values, sizes)
    assert_equal(*gradients, sizes)
    if len(factors) == 1:
        assert_equal(values[0], factors[0].square().sum(), "linear")
    for j, factor in enumerate(factors):
        others = math.prod(float(torch.linalg.matrix_norm(f, 2)) ** 2 for i, f in enumerate(factors) if i != j)
        assert values[0] <= factor.square().sum() * others * (1 + 1e-12)


def test_geometric_complexity_falls_with_weight_decay() -> None:
    X, noise = normal(20, 2, seed=40), normal(20, 1, seed=41)
    Y = X[:, :1] * X[:, 1:] + noise / 2
    found = []
    for decay in (0.0, 0.05):
        factors = [f.requires_grad_() for f in network((1, 8, 8, 2), False)[0]]
        with torch.no_grad():
            for factor in factors:
                factor /= math.sqrt(factor.shape[1])
        opt = torch.optim.AdamW(factors, lr=3e-2, weight_decay=decay / 3e-2)
        for _ in range(100):
            opt.zero_grad()
            ((reference.relu_network(factors, X) - Y) ** 2).mean().backward()
            opt.step()
        found.append(float(measures.geometric_complexity(factors, X).detach()))
    assert found[1] < 0.8 * found[0]


@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("sizes", NETWORKS[1:])
def test_slopes_along_a_segment(sizes: tuple[int, ...], biased: bool) -> None:
    factors, biases = network(sizes, biased)
    start, end = 3 * normal(sizes[-1], seed=31), 3 * normal(sizes[-1], seed=32)
    found = measures.segment_slopes(factors, start, end, biases)

    def f(x: Tensor) -> Tensor:
        return reference.relu_network(factors, x[None], biases)[0]

    times = torch.cat([start.new_zeros(1), found.breakpoints, start.new_ones(1)])
    assert (times.diff() > 0).all()
    for a, b, slope in zip(times, times[1:], found.slopes):  # on every piece the network is linear, with this slope
        for share in (0.1, 0.5, 0.9):
            x = start + (a + share * (b - a)) * (end - start)
            assert_equal(slope, torch.func.jvp(f, (x,), (end - start,))[1], (sizes, float(a)))
    assert_equal((found.slopes * times.diff()[:, None]).sum(0), f(end) - f(start), "telescoping")
    last = torch.func.jvp(f, (end,), (end - start,))[1]
    assert_equal(found.slopes[0] + found.jumps.sum(0), last, "initial slope and jumps make the final slope")
    assert found.gap.shape == found.deflection.shape == found.breakpoints.shape
    assert (found.deflection >= 0).all() and (found.deflection <= math.pi).all()


def least_squares(n: int = 1000, p: int = 5) -> tuple[Tensor, Tensor]:
    X = normal(n, p, seed=1)
    return X, X @ normal(p, seed=2) + normal(n, seed=3)


@pytest.mark.parametrize("steps", [10, 50, 150, 500])
def test_early_stopping_is_a_ridge(steps: int) -> None:
    X, y = least_squares()
    w, lr = torch.zeros(5, dtype=torch.float64), 0.005
    for _ in range(steps):
        w = w - lr * X.T @ (X @ w - y) / len(X)
    penalty = measures.early_stopping_penalty(X, lr, steps)
    residual = X.T @ (X @ w - y) / len(X) + penalty @ w
    assert residual.norm() < 1e-10


@pytest.mark.parametrize("steps, published", [(10, 0.00946), (50, 0.00153), (150, 0.00028)])
def test_recovered_strength_of_early_stopping(steps: int, published: float) -> None:
    """The draft's table: lambda of n |w|^2, its n 1000, beside the mean square; here inputs are exactly white."""
    X, y = least_squares(100)
    X = torch.linalg.qr(X)[0] * math.sqrt(len(X))
    w = torch.zeros(5, dtype=torch.float64)
    for _ in range(steps):
        w = w - 0.005 * 2 * X.T @ (X @ w - y) / len(X)
    found, share = measures.recover_penalties(lambda w: ((X @ w - y) ** 2).mean(), [lambda w: 1000 * (w**2).sum()], [w])
    assert math.isclose(float(found), published, rel_tol=0.05) and share < 1e-10


def test_recovered_penalties_of_a_trained_product() -> None:
    """At a stationary point of loss + 0.3 nuclear-like + 0.1 ridge the gradients tell both strengths."""
    A, B = normal(3, 3, seed=1), normal(3, 3, seed=2)
    penalties = [lambda a, b: (a**2).sum() + (b**2).sum(), lambda a, b: ((a @ b) ** 4).sum()]
    wanted = torch.tensor([0.3, 0.1], dtype=torch.float64)
    leaves = [A.requires_grad_(), B.requires_grad_()]
    pulls = [torch.autograd.grad(penalty(A, B), leaves) for penalty in penalties]
    forces = [-sum(strength * pull[i] for strength, pull in zip(wanted, pulls)) for i in range(2)]
    found, share = measures.recover_penalties(
        lambda a, b: (a * forces[0]).sum() + (b * forces[1]).sum(), penalties, [A, B]
    )
    assert_equal(found, wanted, "strengths")
    assert share < 1e-12


def test_gradient_flow_has_nearly_the_least_norm_at_its_risk() -> None:
    worst = 0.0
    for seed in range(10):
        X, y = normal(30, 60, seed=seed), normal(30, seed=100 + seed)
        ratio = measures.gradient_flow_norm_ratio(X, y, torch.logspace(-2, 2, 25, dtype=torch.float64))
        assert (ratio >= 1 - 1e-9).all()
        worst = max(worst, float(ratio.max()))
    assert 1.005 < worst < 1.3


def test_selectivity_finds_planted_subclasses() -> None:
    classes, subclasses = torch.arange(4).repeat_interleave(25) // 2, torch.arange(4).repeat_interleave(25)
    noise = normal(100, 8, seed=1)
    planted = noise.clone()
    for subclass in range(4):
        planted[subclasses == subclass, subclass] += 6
    assert measures.selectivity(planted, classes, subclasses) > 2
    assert measures.selectivity(noise, classes, subclasses) < 1
    by_hand = []
    for s in range(4):
        a, b = planted[subclasses == s], planted[(classes == s // 2) & (subclasses != s)]
        by_hand.append(
            float(((a.mean(0) - b.mean(0)) / (a.std(0, correction=0) + b.std(0, correction=0) + 1e-7)).max())
        )
    middle = sum(sorted(by_hand)[1:3]) / 2
    assert math.isclose(float(measures.selectivity(planted, classes, subclasses)), middle, rel_tol=1e-12)
    half = measures.selectivity(planted.bfloat16(), classes, subclasses)  # in float32
    assert half.dtype == torch.float32 and math.isclose(float(half), middle, rel_tol=0.02)


def test_silhouette_by_its_definition() -> None:
    subclasses = torch.tensor([0] * 6 + [1] * 5 + [2] * 7 + [3] * 4 + [4])
    classes = torch.tensor([0] * 18 + [1] * 5)
    activations = normal(23, 4, seed=1) + torch.nn.functional.one_hot(subclasses, 5)[:, :4] * 2
    means = []
    for label in (0, 1):
        inside = classes == label
        unit = activations[inside] / activations[inside].norm(dim=1, keepdim=True)
        scores = reference.silhouette_scores(1 - unit @ unit.T, subclasses[inside])
        means += [scores[subclasses[inside] == s].mean() for s in subclasses[inside].unique()]
    assert_equal(measures.silhouette(activations, classes, subclasses), torch.stack(means).median(), "median of five")


def test_penalties_on_functions() -> None:
    logits = normal(3, 2, 3, seed=1).requires_grad_()
    assert_equal(measures.invariance_penalty(logits), reference.invariance_penalty(logits), "symmetrised KL")
    assert measures.invariance_penalty(logits[:1].expand(3, 2, 3)).abs() < 1e-12
    entropy = torch.distributions.Categorical(logits=logits[0]).entropy().mean()
    assert_equal(measures.confidence_penalty(logits[0]), -entropy, "entropy")
    assert_equal(measures.function_norm(logits[0], 3), logits[0].abs().pow(3).mean(), "norm")
    assert gradcheck(measures.invariance_penalty, [logits])
    assert gradcheck(measures.confidence_penalty, [logits[0].detach().requires_grad_()])
