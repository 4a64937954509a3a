"""Velocities of end-to-end matrices: from factors, from balanced W alone, of singular values, of Hadamard chains."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

import irkernels as irk
from irkernels.dynamics import (
    balanced_hadamard_velocity,
    balanced_velocity,
    balancedness,
    conserved_quantities,
    end_to_end_velocity,
    hadamard_velocity,
    singular_value_velocity,
)
from irkernels.reference import velocities as reference
from irkernels.testing import normal

F64 = torch.float64
SHAPES = [(4, 4), (3, 6), (6, 3), (1, 5)]
SPECTRA = {
    "distinct": [2.0, 1.1, 0.6, 0.3],
    "repeated": [1.5, 1.5, 0.7, 0.7],
    "tiny": [1.0, 1e-7, 1e-14, 1e-14],  # along axes, or rounding would be as large
    "zero": [1.2, 1.2, 0.0, 0.0],
}


def frame(rows: int, cols: int, seed: int, values: list[float]) -> Tensor:
    """Orthonormal columns."""
    return torch.eye(rows, cols, dtype=F64) if values[-1] == 1e-14 else torch.linalg.qr(normal(rows, cols, seed=seed)).Q


def with_spectrum(rows: int, cols: int, values: list[float], seed: int = 0) -> Tensor:
    k = min(rows, cols)
    return frame(rows, k, seed, values) * torch.tensor(values[:k], dtype=F64) @ frame(cols, k, seed + 1, values).T


def balanced_chain(rows: int, cols: int, values: list[float], depth: int, seed: int = 0) -> list[Tensor]:
    """U s^{1/N} Q_1^T, Q_1 s^{1/N} Q_2^T, .., Q_{N-1} s^{1/N} V^T."""
    k = min(rows, cols)
    frames = [
        frame(rows, k, seed, values),
        *(frame(k + j % 2, k, seed + 5 + j, values) for j in range(depth - 1)),
        frame(cols, k, seed + 1, values),
    ]
    roots = torch.tensor(values[:k], dtype=F64) ** (1 / depth)
    return [left * roots @ right.T for left, right in itertools.pairwise(frames)]


def close(found: Tensor, expected: Tensor, tolerance: float = 1e-12) -> None:
    torch.testing.assert_close(found, expected, rtol=0, atol=tolerance * max(1.0, expected.abs().max().item()))


@pytest.mark.parametrize("depth", range(1, 7))
def test_chain_velocity_equals_the_reference_for_any_factors(depth: int) -> None:
    sizes = [3, 5, 2, 4, 1, 3, 6][: depth + 1]
    factors = [normal(2, 3, *pair, seed=j) for j, pair in enumerate(itertools.pairwise(sizes))]
    G = normal(2, 3, sizes[0], sizes[-1], seed=9)
    found = end_to_end_velocity(factors, G)
    for trial in ((0, 0), (1, 2)):
        close(found[trial], reference.end_to_end_velocity([F[trial] for F in factors], G[trial]))


def test_velocity_of_any_equation_and_of_observed_entries() -> None:
    factors = [normal(*shape, seed=i) for i, shape in enumerate([(3, 4), (5, 4), (2, 4)])]
    G = normal(3, 5, 2, seed=9)
    equation = "ar,br,cr->abc"
    step = 1e-6
    slopes = irk.gradients(equation, *factors, cotangent=G)
    ahead, behind = (
        irk.einsum(equation, *(F - sign * step * slope for F, slope in zip(factors, slopes))) for sign in (1, -1)
    )
    close(end_to_end_velocity(factors, G, equation), (ahead - behind) / (2 * step), 1e-8)
    at = torch.tensor([[0, 1], [2, 2], [0, 1]])
    values = normal(3, seed=4)
    chain = [normal(3, 4, seed=1), normal(4, 3, seed=2)]
    dense = torch.zeros(3, 3, dtype=F64).index_put_(tuple(at.T), values, accumulate=True)
    close(end_to_end_velocity(chain, (at, values)), end_to_end_velocity(chain, dense))


@pytest.mark.parametrize("depth", range(1, 7))
@pytest.mark.parametrize("values", SPECTRA.values(), ids=SPECTRA)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_balanced_velocity_is_that_of_balanced_factors(shape: tuple[int, int], values: list[float], depth: int) -> None:
    """(4) = (5) = (6), and the singular values' own rates are those along their components."""
    factors = balanced_chain(*shape, values, depth)
    W = with_spectrum(*shape, values)
    G = normal(*shape, seed=3)
    close(irk.multi_dot(factors) if depth > 1 else factors[0], W)
    close(balancedness(factors), torch.zeros((), dtype=F64))
    velocity = balanced_velocity(W, G, depth)
    close(velocity, end_to_end_velocity(factors, G))
    if values is not SPECTRA["tiny"]:  # whose squares the reference's Gram matrices cannot hold
        close(velocity, reference.balanced_velocity(W, G, depth), 1e-11)
    U, s, V = irk.spectrum.svd(W)
    rates = singular_value_velocity(W, G, depth)
    kept = s > 1e-10  # vectors of smaller ones are rounding
    close(rates[kept], (U.T @ velocity @ V).diagonal()[kept])
    assert depth == 1 or (rates[~kept].abs() < 1e-8).all()


@pytest.mark.parametrize("depth", [1, 2, 3, 6])
def test_singular_values_move_at_their_rates(depth: int) -> None:
    W, G, step = with_spectrum(4, 6, SPECTRA["distinct"]), normal(4, 6, seed=3), 1e-6
    velocity = balanced_velocity(W, G, depth)
    ahead, behind = (irk.spectrum.singular_values(W + sign * step * velocity) for sign in (1, -1))
    rates = singular_value_velocity(W, G, depth)
    close(rates, (ahead - behind) / (2 * step), 1e-8)
    close(rates, reference.singular_value_velocity(W, G, depth))


def test_batches_half_types_and_what_is_not_finite() -> None:
    W, G = normal(3, 2, 4, 5, seed=1), normal(3, 2, 4, 5, seed=2)
    for verb in (balanced_velocity, singular_value_velocity):
        found = verb(W, G, 3)
        for trial in ((0, 1), (2, 0)):
            close(found[trial], verb(W[trial], G[trial], 3))
        half = verb(W.bfloat16(), G.bfloat16(), 3)
        assert half.dtype == torch.float32
        torch.testing.assert_close(half, verb(W.bfloat16().float(), G.bfloat16().float(), 3))
        broken = W.clone()
        broken[1, 1, 0, 0] = torch.inf
        once = verb(broken, G, 3)
        assert once[1, 1].isnan().all() and torch.equal(once[0], found[0]) and torch.equal(once[2], found[2])
        assert verb(W.mT, G.mT, 3).shape == found.mT.shape if verb is balanced_velocity else found.shape


def test_tiny_and_equal_values_are_as_accurate_in_float32() -> None:
    """Errors are of rounding at the scale of W, where a quotient of differences would lose all digits."""
    W, G = torch.tensor([1.0, 1.0 + 2e-7, 1e-9, 1e-12]).diag(), normal(4, 4, seed=3).float()
    for depth in (2, 4, 6):
        exact = balanced_velocity(W.double(), G.double(), depth, tolerance=0.0)
        close(balanced_velocity(W, G, depth, tolerance=0.0).double(), exact, 1e-6)
        assert (balanced_velocity(W, G, depth).double() - exact)[2:, 2:].abs().max() < 1e-3 * exact.abs().max()
        assert (balanced_velocity(W, G, depth)[2:, 2:] == 0).all()


@pytest.mark.parametrize("depth", range(1, 7))
def test_hadamard_velocity(depth: int) -> None:
    factors = [normal(3, 5, seed=j) for j in range(depth)]
    factors[0][:, 1] = 0.0
    if depth > 1:
        factors[1][0, 1] = 0.0
    g = normal(3, 5, seed=9)
    close(hadamard_velocity(factors, g), reference.hadamard_velocity(factors, g))
    close(hadamard_velocity(factors, g), end_to_end_velocity(factors, g, ",".join("ti" for _ in factors) + "->ti"))
    root = normal(3, 5, seed=20)
    root[0, 0] = 0.0
    signs = [torch.ones_like(root)] * (depth - 1) + [torch.sign(root)]
    balanced = [root.abs() * sign for sign in signs]
    beta = torch.stack(balanced).prod(0)
    close(balanced_hadamard_velocity(beta, g, depth), hadamard_velocity(balanced, g))


def test_conserved_quantities_stay_and_vanish_where_balanced() -> None:
    """Their rates under gradient flow are zero, whatever the product and its gradient."""
    cases = {
        None: [(3, 4), (4, 2), (2, 5)],
        "ar,br,cr->abc": [(3, 4), (5, 4), (2, 4)],
        "rst,ar,bs,ct->abc": [(2, 3, 2), (4, 2), (3, 3), (5, 2)],
        "i,i,i->i": [(4,)] * 3,
        "ar,brs,cs->abc": [(3, 2), (4, 2, 3), (2, 3)],
        "i,j->ij": [(2,), (3,)],
    }
    for equation, shapes in cases.items():
        factors = [normal(2, *shape, seed=i) for i, shape in enumerate(shapes)]
        written = equation or "ab,bc,cd->ad"
        dotted = ",".join("..." + term for term in written.split("->")[0].split(",")) + "->..." + written.split("->")[1]
        G = torch.randn(irk.einsum(dotted, *factors).shape, dtype=F64)
        moves = [-slope for slope in irk.gradients(dotted, *factors, cotangent=G)]
        for at in range(len(conserved_quantities(factors, equation))):
            kept = lambda *f, at=at: conserved_quantities(f, equation)[at]  # noqa: E731
            _, rate = torch.func.jvp(kept, tuple(factors), tuple(moves))
            close(rate, torch.zeros_like(rate))
        found = balancedness(factors, equation)
        assert found.shape == (2,) and (found > 0.1).all()
    chain = balanced_chain(4, 3, SPECTRA["distinct"], 3)
    close(balancedness(chain, "ab,bc,cd->ad"), torch.zeros((), dtype=F64))
    assert balancedness(chain[:1]) == 0
    assert [tuple(each.shape) for each in conserved_quantities(chain)] == [(3, 3), (4, 4)]
