"""Gradient flow through SciPy, beside discrete runs and closed forms; what papers 8, 9, 16 and 17 show."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from test_velocities import F64, balanced_chain, close
from torch import Tensor

import irkernels as irk
from irkernels.dynamics import balanced_velocity, balancedness, end_to_end_flow, factor_flow, integrate
from irkernels.testing import normal

scipy_optimize = pytest.importorskip("scipy.optimize", reason="flows are integrated by SciPy")
TIMES = [0.0, 0.3, 1.0, 3.0]


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_the_end_to_end_flow_is_that_of_balanced_factors(depth: int) -> None:
    """Of a squared error with unseen entries; the factors' own flow conserves their balance."""
    target, seen = normal(3, 4, seed=1), normal(3, 4, seed=2) > -0.5
    factors = balanced_chain(3, 4, [1.0, 0.6, 0.2], depth)

    def product(factors: list[Tensor]) -> Tensor:
        return irk.multi_dot(factors) if depth > 1 else factors[0]

    def loss(*factors: Tensor) -> Tensor:
        return ((product(list(factors)) - target) * seen).square().sum() / 2

    W = end_to_end_flow(lambda W: (W - target) * seen, product(factors), TIMES, depth)
    moved = factor_flow(loss, factors, TIMES)
    for at in range(len(TIMES)):
        now = [factor[at] for factor in moved]
        close(product(now), W[at], 1e-7)
        close(balancedness(now), torch.zeros((), dtype=F64), 1e-8)
    step, now = 1e-3, [factor.clone() for factor in factors]
    for _ in range(300):
        leaves = [factor.requires_grad_() for factor in now]
        now = [(F - step * g).detach() for F, g in zip(leaves, torch.autograd.grad(loss(*leaves), leaves))]
    close(product(now), W[1], 1e-2)


def test_depth_one_has_a_closed_form_and_trials_go_together() -> None:
    target, start = normal(2, 3, 2, seed=1), normal(2, 3, 2, seed=2)
    found = end_to_end_flow(lambda W: W - target, start, TIMES, 1)
    for at, time in enumerate(TIMES):
        close(found[at], target + np.exp(-time) * (start - target), 1e-8)
    assert torch.equal(integrate(lambda x: -x, start, [2.0]), start[None])


def test_what_stops_a_flow() -> None:
    with pytest.raises(RuntimeError, match="was not integrated up to 2"):
        integrate(lambda x: x.square(), torch.ones(1, dtype=F64), [0.0, 2.0])  # 1 / (1 - t)


@pytest.mark.parametrize("method", ["DOP853", "RK45", "LSODA", "BDF", "Radau"])
def test_a_flow_ends_where_its_evaluations_do(method: str) -> None:
    with pytest.raises(RuntimeError, match=r"not integrated up to 1e\+18: 100 evaluations of the velocity led to \d"):
        integrate(lambda x: x.cos(), torch.ones(1, dtype=F64), [0.0, 1e18], method=method, evaluations=100)
    few = integrate(lambda x: -x, torch.ones(1, dtype=F64), [0.0, 0.1], method=method, evaluations=1000)
    close(few[-1], torch.tensor([np.exp(-0.1)], dtype=F64), 1e-6)


def test_without_scipy_the_error_says_what_to_install(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy.integrate", None)
    with pytest.raises(ImportError, match=r"irkernels\[dynamics\]"):
        integrate(lambda x: x, torch.ones(1), [0.0, 1.0])


def test_diagonal_networks_find_small_l1_norms() -> None:
    """Paper 8: beta = u^2 - v^2 from u = v = alpha; arcsinh(beta / 2 alpha^2) lies in X's row space."""
    alpha, n, d = 1e-3, 10, 30
    X = normal(n, d, seed=1)
    y = X @ torch.cat([torch.tensor([1.0, -0.8, 0.6]), torch.zeros(d - 3)]).to(F64)

    def loss(u: Tensor, v: Tensor) -> Tensor:
        return (X @ (irk.einsum("i,i->i", u, u) - irk.einsum("i,i->i", v, v)) - y).square().sum() / (2 * n)

    start = torch.full((d,), alpha, dtype=F64)
    u, v = (each[-1] for each in factor_flow(loss, [start, start], [0.0, 400.0], method="LSODA", rtol=1e-8))
    beta = u.square() - v.square()
    assert (X @ beta - y).norm() < 1e-3 * y.norm()
    dual = torch.arcsinh(beta / (2 * alpha**2))
    outside = dual - X.T @ torch.linalg.solve(X @ X.T, X @ dual)
    assert outside.norm() < 1e-2 * dual.norm()
    least = scipy_optimize.linprog(np.ones(2 * d), A_eq=torch.cat([X, -X], 1).numpy(), b_eq=y.numpy()).fun
    assert 0.99 * least < beta.abs().sum() < 1.01 * least


def test_variational_linear_models_end_at_a_projection() -> None:
    """Paper 9: q = N(mu, S S^T) trained on the expected loss; Sigma follows the symmetric flow of depth 2."""
    p, n = 12, 5
    X, y, S, mu = normal(n, p, seed=1), normal(n, seed=2), normal(p, p, seed=3), normal(p, seed=4)
    off = torch.eye(p, dtype=F64) - torch.linalg.pinv(X) @ X
    ends = mu + torch.linalg.pinv(X) @ (y - X @ mu)

    def expected_loss(mu: Tensor, S: Tensor) -> Tensor:
        return (y - X @ mu).square().sum() / 2 + (X @ S).square().sum() / 2

    solver = {"rtol": 1e-12, "atol": 1e-13}
    slowest = torch.linalg.svdvals(X)[-1] ** 2
    end = 30 / slowest.item()
    found_mu, found_S = (each[-1] for each in factor_flow(expected_loss, [mu, S], [0.0, end], **solver))
    close(found_mu, ends, 1e-10)
    close(found_S, off @ S, 1e-10)
    Sigma, G = S @ S.T, X.T @ X
    close(balanced_velocity(Sigma, G, 2), -(G @ Sigma + Sigma @ G), 1e-11)
    short = [0.0, 1 / slowest.item()]
    moved = factor_flow(expected_loss, [mu, S], short, **solver)[1][-1]
    close(end_to_end_flow(lambda _: G, Sigma, short, 2, **solver)[-1], moved @ moved.T, 1e-8)


INPUT = torch.tensor([1.0, 2.0, 4.0], dtype=F64)  # E8: f = sum w_i^2 x_i, y = 1
TABLE = {  # eta / eta_c -> final sharpness, squared l2 norm of w, l1 norm of w
    0.10: (14.961, 0.2907, 0.8377),
    0.50: (14.867, 0.2943, 0.8508),
    0.90: (14.770, 0.2980, 0.8636),
    1.10: (13.483, 0.3461, 0.9866),
    1.40: (10.423, 0.4601, 1.1313),
}


def residual(w: Tensor) -> Tensor:
    return irk.einsum("ti,ti,i->t", w, w, INPUT) - 1


def sharpness(w: Tensor) -> Tensor:
    """The largest eigenvalue of each trial's Hessian of residual^2 / 2."""
    hessian = torch.func.vmap(torch.func.hessian(lambda w: (INPUT @ w.square() - 1).square() / 2))(w)
    return torch.linalg.eigvalsh(hessian)[..., -1]


def test_edge_of_stability_of_a_diagonal_network() -> None:
    """Paper 16, experiment E8: below 2 / S_GF the flow's end, above it sharpness 2 / eta and a rising norm."""
    start = torch.full((3,), 0.1, dtype=F64)
    path = factor_flow(lambda w: (INPUT @ w.square() - 1).square() / 2, [start], list(np.linspace(0, 20, 400)))[0]
    S_flow = sharpness(path).max().item()
    assert abs(S_flow - 14.98751) < 1e-4
    ratios = torch.tensor(list(TABLE), dtype=F64)
    eta = ratios * 2 / S_flow
    w = start.expand(len(TABLE), 3).clone()
    for _ in range(20_000):
        error = residual(w)
        running = error.square() / 2 >= 1e-8
        if not running.any():
            break
        w -= torch.where(running, eta * error, 0.0)[:, None] * 2 * w * INPUT
    assert not running.any()
    S, squares, absolute = sharpness(w), w.square().sum(1), w.abs().sum(1)
    close(torch.stack([S, squares, absolute], 1) / torch.tensor(list(TABLE.values()), dtype=F64),
          torch.ones(len(TABLE), 3, dtype=F64), 1e-3)  # fmt: skip
    assert ((S / S_flow - 1).abs() < 0.02)[ratios <= 0.9].all()
    assert ((S * eta / 2 > 0.95) & (S * eta / 2 <= 1))[ratios >= 1.1].all()
    assert (squares.diff() > 0).all()


def test_stopped_least_squares_are_nearly_of_least_norm() -> None:
    """Paper 17: a gradient-flow iterate against the smallest predictor of equal risk, which is a ridge solution."""
    worst = 0.0
    for seed in range(3):
        X, y = normal(30, 60, seed=seed), normal(30, seed=100 + seed)
        times = [0.0, *np.geomspace(1e-3, 0.3, 6)]
        flow = end_to_end_flow(lambda w: X.T @ (X @ w - y[:, None]), torch.zeros(60, 1, dtype=F64), times, 1)
        U, s, _ = torch.linalg.svd(X, full_matrices=False)
        parts = U.T @ y
        for w in flow[1:, :, 0]:
            risk = (X @ w - y).square().sum()
            low, high = -40.0, 40.0  # of log lambda; the ridge solution's risk rises with lambda
            for _ in range(100):
                middle = (low + high) / 2
                shrink = np.exp(middle) / (s.square() + np.exp(middle))
                low, high = (middle, high) if (shrink * parts).square().sum() < risk else (low, middle)
            least = (s * parts / (s.square() + np.exp(low))).norm()
            ratio = (w.norm() / least).item()
            assert 1 - 1e-6 <= ratio <= 1.3
            worst = max(worst, ratio)
    assert worst > 1.01
