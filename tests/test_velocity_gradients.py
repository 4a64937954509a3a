"""Derivatives through velocities and spectra: first and second, at distinct, repeated and zero singular values."""

from __future__ import annotations

import pytest
import torch
from test_velocities import F64, close, with_spectrum
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

import irkernels as irk
from irkernels.dynamics import (
    balanced_velocity,
    component_velocity,
    end_to_end_velocity,
    hadamard_velocity,
    local_component_velocity,
    singular_value_velocity,
    slice_velocity,
)
from irkernels.reference import velocities as reference
from irkernels.spectrum import effective_rank, nuclear_norm, nuclear_to_frobenius, schatten, stable_rank, svd
from irkernels.testing import normal

FULL_RANK = {"distinct": [1.4, 0.8, 0.5], "repeated": [1.3, 1.3, 0.6], "all equal": [0.9, 0.9, 0.9]}
SHAPES = [(3, 3), (2, 4), (4, 2)]
each_spectrum = pytest.mark.parametrize("values", FULL_RANK.values(), ids=FULL_RANK)


def leaf(tensor: Tensor) -> Tensor:
    return tensor.detach().clone().requires_grad_()


@each_spectrum
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_balanced_velocity_twice(shape: tuple[int, int], values: list[float]) -> None:
    W, G = leaf(with_spectrum(*shape, values)), leaf(normal(*shape, seed=3))
    for depth in (1, 2, 5):
        velocity = lambda W, G, depth=depth: balanced_velocity(W, G, depth)  # noqa: E731
        assert gradcheck(velocity, (W, G))
        assert gradgradcheck(velocity, (W, G), atol=1e-4)


def test_balanced_velocity_three_times_and_of_batches() -> None:
    W, G = leaf(normal(2, 3, 2, seed=1)), leaf(normal(2, 3, 2, seed=2))
    assert gradgradcheck(lambda W, G: balanced_velocity(W, G, 3), (W, G), atol=1e-4)
    W, G = leaf(with_spectrum(2, 3, FULL_RANK["repeated"])), normal(2, 3, seed=3)

    def slope(W: Tensor) -> Tensor:
        (found,) = torch.autograd.grad(balanced_velocity(W, G, 3).square().sum(), W, create_graph=True)
        return found

    assert gradgradcheck(slope, (W,), atol=1e-4)


def test_slopes_equal_those_of_matrix_powers() -> None:
    """autograd through the reference's eigenvectors, whose values are all different."""
    for depth in (2, 3, 6):
        results = []
        for verb in (balanced_velocity, reference.balanced_velocity):
            W, G = leaf(with_spectrum(4, 4, [2.0, 1.1, 0.6, 0.3])), leaf(normal(4, 4, seed=3))
            results.append(torch.autograd.grad((verb(W, G, depth) * normal(4, 4, seed=5)).sum(), (W, G)))
        for found, expected in zip(*results):
            close(found, expected, 1e-11)


@pytest.mark.parametrize("values", [[1.2, 1.2, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0]], ids=str)
def test_slopes_at_zero_values_are_finite(values: list[float]) -> None:
    """In G exact: the map is linear and self-adjoint.  In W of the values that are not zero."""
    for shape in SHAPES:
        W, G, Z = leaf(with_spectrum(*shape, values)), leaf(normal(*shape, seed=3)), normal(*shape, seed=5)
        for depth in (2, 3, 6):
            in_W, in_G = torch.autograd.grad((balanced_velocity(W, G, depth) * Z).sum(), (W, G))
            close(in_G, balanced_velocity(W, Z, depth).detach())
            assert in_W.isfinite().all()
            if values[0] and depth > 2:  # along W itself velocities scale with the power 2 - 2 / N
                scaled = (2 - 2 / depth) * (balanced_velocity(W, G, depth) * Z).sum()
                close((in_W * W).sum(), scaled, 1e-11)


def test_transforms() -> None:
    """torch.func's gradients, and one call for all copies of vmap."""
    W, G = normal(3, 2, 4, seed=1), normal(3, 2, 4, seed=2)
    each = torch.stack([balanced_velocity(w, g, 3) for w, g in zip(W, G)])
    close(torch.func.vmap(lambda w, g: balanced_velocity(w, g, 3))(W, G), each)
    slopes = torch.func.vmap(torch.func.grad(lambda w, g: balanced_velocity(w, g, 3).square().sum()))(W, G)
    leaves = leaf(W)
    close(slopes, torch.autograd.grad(balanced_velocity(leaves, G, 3).square().sum(), leaves)[0])


@each_spectrum
def test_spectral_functions(values: list[float]) -> None:
    for shape in SHAPES:
        W = leaf(with_spectrum(*shape, values))
        for function in (nuclear_norm, nuclear_to_frobenius):
            assert gradcheck(function, (W,))
            assert gradgradcheck(function, (W,))
        for p in (0.5, 1, 2, 3):
            assert gradcheck(lambda W, p=p: schatten(W, p), (W,))
        assert gradcheck(effective_rank, (W,))
        if values is FULL_RANK["distinct"]:  # elsewhere the largest value has a kink, vectors are a choice
            assert gradcheck(stable_rank, (W,))
            assert gradcheck(lambda W: schatten(W, torch.inf), (W,))
            G = leaf(normal(*shape, seed=3))
            velocity = lambda W, G: singular_value_velocity(W, G, 3)  # noqa: E731
            assert gradcheck(velocity, (W, G))
            assert gradgradcheck(velocity, (W, G))


def test_vectors_of_repeated_values() -> None:
    """What does not depend on the choice of vectors has the right slope; nothing is NaN."""
    W = leaf(with_spectrum(4, 3, FULL_RANK["repeated"]))

    def projector(W: Tensor) -> Tensor:
        U, _, V = svd(W)
        return U[:, :2] @ U[:, :2].T @ normal(4, 3, seed=1) @ V[:, :2] @ V[:, :2].T

    assert gradcheck(projector, (W,))
    for values in ([1.3, 1.3, 0.6], [1.0, 0.0, 0.0]):
        W = leaf(with_spectrum(3, 3, values))
        U, s, V = svd(W)
        assert all(torch.autograd.grad(x.square().sum() + x.sum(), W, retain_graph=True)[0].isfinite().all()
                   for x in (U, s, V))  # fmt: skip


@pytest.mark.parametrize(
    "function", [effective_rank, stable_rank, nuclear_norm, nuclear_to_frobenius, lambda W: schatten(W, 0.5)]
)
def test_zero_values_and_zero_matrices_have_finite_slopes(function) -> None:
    for W in (torch.tensor([1.0, 0.5, 0.0], dtype=F64).diag(), torch.zeros(3, 2, dtype=F64)):
        W = leaf(W)
        (slope,) = torch.autograd.grad(function(W), W)
        assert slope.isfinite().all()


def test_velocities_of_factors() -> None:
    G = leaf(normal(3, 2, 2, seed=9))
    cp = [leaf(normal(d, 2, seed=i)) for i, d in enumerate((3, 2, 2))]
    cases = [
        (lambda G, *f: end_to_end_velocity(f, G[..., 0]), [leaf(normal(3, 2, seed=1)), leaf(normal(2, 2, seed=2))]),
        (lambda G, *f: hadamard_velocity(f, G[:, 0, 0]), [leaf(normal(3, seed=i)) for i in range(3)]),
        (lambda G, *f: component_velocity(f, G), cp),
        (lambda G, core, *f: slice_velocity(core, f, G)[1], [leaf(normal(2, 2, 2, seed=5)), *cp]),
        (
            lambda G, *f: local_component_velocity(f, G, (0, (1, 2)))[0, 1, 2],
            [*cp, leaf(normal(2, 2, seed=6)), leaf(normal(2, seed=7))],
        ),
    ]
    for function, factors in cases:
        assert gradcheck(function, (G, *factors), check_undefined_grad=False)
        assert gradgradcheck(function, (G, *factors), atol=1e-4)


def test_the_ratio_joins_the_losss_cotangent() -> None:
    """penalised_gradients is what autograd has of loss + weight R, and of R alone."""
    factors = [leaf(normal(2, *shape, seed=i)) for i, shape in enumerate([(4, 5), (5, 3), (3, 6)])]
    weight = torch.tensor([0.3, 2.0], dtype=F64)
    W = irk.multi_dot(factors)
    loss, penalty = W.square().flatten(1).sum(1) / 2, nuclear_to_frobenius(W)
    for total, gradient in ((loss + weight * penalty, W), (weight * penalty, None)):
        expected = torch.autograd.grad(total.sum(), factors, retain_graph=True)
        value, found = irk.spectrum.penalised_gradients(factors, weight, gradient)
        close(value, penalty.detach())
        for ours, theirs in zip(found, expected, strict=True):
            close(ours.detach(), theirs)
