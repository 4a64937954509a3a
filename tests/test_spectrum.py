"""Spectra: ranks, norms, the ratio penalty, unfoldings, and the CP rank by alternating least squares."""

from __future__ import annotations

import math
import sys

import pytest
import torch
from test_velocities import F64, close, with_spectrum

import irkernels as irk
from irkernels import spectrum
from irkernels.nn import HierarchicalTucker
from irkernels.reference import spectra as reference
from irkernels.testing import normal

VALUES = [2.0, 2.0, 0.5, 0.5]


def test_measures_of_a_matrix_equal_their_definitions() -> None:
    W = torch.stack([with_spectrum(4, 6, VALUES), normal(4, 6, seed=1)])
    measures = ["singular_values", "effective_rank", "stable_rank", "nuclear_to_frobenius"]
    for name in measures:
        for found, matrix in zip(getattr(spectrum, name)(W), W):
            close(found, getattr(reference, name)(matrix))
    for p in (0.5, 2 / 3, 1, 2, 3.5, math.inf):
        for found, matrix in zip(spectrum.schatten(W, p), W):
            close(found, reference.schatten(matrix, p))
    close(spectrum.nuclear_norm(W), spectrum.schatten(W, 1))
    close(spectrum.schatten(W, 2), torch.linalg.matrix_norm(W))
    close(spectrum.effective_rank(torch.eye(5, dtype=F64)), torch.tensor(5.0, dtype=F64))
    close(spectrum.stable_rank(W)[0], torch.tensor(2 * (4 + 0.25) / 4, dtype=F64))


def test_scale_never_overflows_and_zero_is_zero() -> None:
    for scale in (1e-200, 1e200):
        W = with_spectrum(4, 4, VALUES)
        close(spectrum.schatten(scale * W, 0.5) / scale, spectrum.schatten(W, 0.5))
        close(spectrum.stable_rank(scale * W), spectrum.stable_rank(W))
    for measure in (spectrum.stable_rank, spectrum.nuclear_norm, spectrum.nuclear_to_frobenius,
                    lambda W: spectrum.schatten(W, 0.5), lambda W: spectrum.schatten(W, math.inf)):  # fmt: skip
        assert measure(torch.zeros(3, 2)) == 0
        half = measure(normal(2, 3, 4, seed=1).bfloat16())
        assert half.dtype == torch.float32 and half.shape == (2,)
        broken = normal(2, 3, 4, seed=1)
        broken[1, 0, 0] = torch.nan
        assert measure(broken)[1].isnan() and measure(broken)[0] == measure(broken[0])


def test_svd_is_a_decomposition() -> None:
    for shape in ((2, 3, 5), (2, 5, 3)):
        W = normal(*shape, seed=1)
        U, s, V = spectrum.svd(W)
        close((U * s[:, None]) @ V.mT, W)
        close(U.mT @ U, torch.eye(3, dtype=F64).expand(2, 3, 3))


@pytest.mark.parametrize("shape", [(4, 4), (3, 6), (6, 3)], ids=str)
def test_ratio_slope(shape: tuple[int, int]) -> None:
    """(19) against its formula, central differences, and scales, which change neither value nor direction."""
    W, step = normal(*shape, seed=1), 1e-6
    value, slope = spectrum.nuclear_to_frobenius_slope(torch.stack([W, 10 * W]))
    close(slope[0], reference.nuclear_to_frobenius_slope(W))
    close(slope[1] * 10, slope[0])
    close(value, spectrum.nuclear_to_frobenius(W).expand(2))
    direction = normal(*shape, seed=2)
    ahead, behind = (spectrum.nuclear_to_frobenius(W + sign * step * direction) for sign in (1, -1))
    close((slope[0] * direction).sum(), (ahead - behind) / (2 * step), 1e-8)
    leaf = W.clone().requires_grad_()
    close(torch.autograd.grad(spectrum.nuclear_to_frobenius(leaf), leaf)[0], slope[0])
    assert 1 <= value[0] <= math.sqrt(min(shape))


def test_ratio_penalty_moves_singular_values_apart() -> None:
    """The spectrum's velocity is that of the balanced flow on R; only values above ||W||_F^2 / ||W||_* grow."""
    values = torch.tensor([2.0, 1.1, 0.6, 0.3], dtype=F64)
    W = with_spectrum(4, 5, values.tolist())
    _, slope = spectrum.nuclear_to_frobenius_slope(W)
    for depth in (1, 2, 4):
        found = spectrum.nuclear_to_frobenius_velocity(values, depth)
        close(found, irk.dynamics.singular_value_velocity(W, slope, depth))
        assert ((found > 0) == (values > values.square().sum() / values.sum())).all()


def test_unfoldings() -> None:
    T = normal(2, 3, 4, 2, seed=1)
    for modes in ([0], [1], [2, 0], [0, 1, 2]):
        found = spectrum.matricisation(T, modes, order=3)
        for trial in range(2):
            assert torch.equal(found[trial], reference.matricisation(T[trial], sorted(modes)))
    ranks = spectrum.multilinear_effective_rank(T, order=3)
    close(ranks[1], reference.multilinear_effective_rank(T[1]))
    close(spectrum.multilinear_effective_rank(T[0]), ranks[0])
    close(spectrum.unfolding_singular_values(T, 3)[1][0], reference.singular_values(reference.matricisation(T[0], [1])))
    close(spectrum.matricisation_singular_values(T, (1, 2), 3), spectrum.singular_values(T.reshape(2, 3, 8)))


@pytest.mark.parametrize("tree", [((0, 1), (2, 3)), (0, (1, (2, 3)))], ids=str)
def test_hierarchical_rank(tree: tuple) -> None:
    """Ranks that a hierarchical product was built with are found at its nodes; a tolerance cuts them down."""
    model = HierarchicalTucker((4, 4, 4, 4), 2, tree, transfer="full", init_scale=1.0, seed=1, trials=2, dtype=F64)
    found = spectrum.hierarchical_rank(model().detach(), tree, order=4)
    assert set(found) == set(model.component_norms()) and all((rank == 2).all() for rank in found.values())
    T = torch.diag_embed(torch.tensor([1.0, 0.1, 0.01]))
    assert spectrum.matricisation_rank(T, 0) == 3 and spectrum.matricisation_rank(T, 0, tolerance=0.05) == 2


def test_cp_rank_by_alternating_least_squares() -> None:
    pytest.importorskip("tensorly")
    factors = [normal(4, 2, seed=i) for i in range(3)]
    T = irk.cp_to_tensor((None, factors))
    assert spectrum.cp_rank(T, 4) == 2
    assert spectrum.cp_rank(T * 0, 4) == 0
    assert spectrum.cp_rank(T[..., 0].float(), 4) == 2
    with pytest.raises(ValueError, match="most = 1"):
        spectrum.cp_rank(T, 1)


def test_without_tensorly_the_error_says_what_to_install(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorly", None)
    with pytest.raises(ImportError, match=r"irkernels\[dynamics\]"):
        spectrum.cp_rank(torch.ones(2, 2, 2), 1)


@pytest.mark.parametrize("size", [1e-36, 1e-24, 1e-22, 1.0, 1e20, 1e30])
def test_the_ratio_of_norms_has_no_scale(size: float) -> None:
    W = torch.diag(torch.tensor([2.0, 1.0]))
    torch.testing.assert_close(spectrum.nuclear_to_frobenius(size * W), torch.tensor(3 / math.sqrt(5)))
    ratio, slope = spectrum.nuclear_to_frobenius_slope(size * W)
    torch.testing.assert_close(ratio, torch.tensor(3 / math.sqrt(5)))
    expected = spectrum.nuclear_to_frobenius_slope(W.double())[1] / size
    torch.testing.assert_close(slope.double(), expected, rtol=1e-5, atol=1e-7 / size)
    assert spectrum.nuclear_to_frobenius(0 * W) == 0 and not spectrum.nuclear_to_frobenius_slope(0 * W)[1].any()
