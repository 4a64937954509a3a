"""Hessian-vector products, Hessians and sharpness against differentiating the reference twice."""

from __future__ import annotations

import itertools
import warnings

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck

import irkernels as irk
from irkernels import curvature
from irkernels.reference import curvature as reference
from irkernels.reference.equation import read_equation
from irkernels.testing.derivatives import assert_equal, normal
from irkernels.testing.product import Product
from irkernels.testing.registry import FAMILIES, PRODUCTS
from irkernels.testing.sampling import sample_coordinates

LOSSES = ("mse", "half_sse", "l1", "huber")
CHAIN = "ij,jk,kl->il"


def operands_and_tangents(product: Product) -> tuple[list[Tensor], list[Tensor]]:
    operands = [operand.clone() for operand in product.operands(seed=1)]
    return operands, [normal(*operand.shape, seed=position) for position, operand in enumerate(operands)]


def factors(*sizes: int, trials: tuple[int, ...] = ()) -> list[Tensor]:
    return [normal(*trials, a, b, seed=a + 10 * b + i) for i, (a, b) in enumerate(itertools.pairwise(sizes))]


@pytest.mark.parametrize("product", PRODUCTS, ids=lambda product: product.name)
def test_hvp_of_any_function_of_the_product(product: Product) -> None:
    operands, tangents = operands_and_tangents(product)
    found = curvature.hvp(product.equation, *operands, tangents=tangents, loss=_energy)
    assert_equal(found, reference.hvp(product.equation, *operands, tangents=tangents, loss=_energy), product)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("product", FAMILIES, ids=lambda product: product.name)
def test_hvp_of_a_loss_on_data(product: Product, loss: str) -> None:
    operands, tangents = operands_and_tangents(product)
    read = read_equation(product.equation, tuple(operands))
    at = sample_coordinates(product, 6, seed=5)
    weights = torch.arange(0.0, len(at), dtype=torch.float64)
    observed = irk.Observed(at, normal(len(at), seed=6), read.shape, weights)
    for data in ({"observed": observed}, {"target": normal(*read.output_shape, seed=7)}):
        data |= {"loss": loss, "delta": 0.5}
        found = curvature.hvp(product.equation, *operands, tangents=tangents, **data)
        assert_equal(found, reference.hvp(product.equation, *operands, tangents=tangents, **data), (product, loss))


def measurements(trials: tuple[int, ...]) -> list[irk.Sensing | irk.RankOneSensing | irk.Regression]:
    y = normal(*trials, 7, seed=1)
    return [
        irk.Sensing(normal(7, 5, 6, seed=2), y),
        irk.RankOneSensing((normal(7, 5, seed=3), normal(7, 6, seed=4)), y),
        irk.Regression(normal(7, 6, seed=5), normal(*trials, 7, 5, seed=6)),
    ]


@pytest.mark.parametrize("trials", [(), (3,)])
@pytest.mark.parametrize("kind", range(3), ids=("sensing", "rank one", "regression"))
def test_hvp_on_measurements(kind: int, trials: tuple[int, ...]) -> None:
    operands = factors(5, 4, 6, trials=trials)
    tangents = [normal(*operand.shape, seed=9) for operand in operands]
    equation = "...ij,...jk->...ik" if trials else "ij,jk->ik"
    target = measurements(trials)[kind]
    found = curvature.hvp(equation, *operands, tangents=tangents, target=target)
    assert_equal(found, reference.hvp(equation, *operands, tangents=tangents, target=target), target)


def test_cross_terms_are_blocks_of_the_hessian() -> None:
    operands = factors(3, 4, 2, 3)
    target = normal(3, 3, seed=1)
    whole = reference.hessian(CHAIN, *operands, target=target)
    tangent = normal(4, 2, seed=2)
    found = curvature.hvp(CHAIN, *operands, tangents=[None, tangent, None], target=target, wrt=(0, 2))
    assert found[1] is None
    block = whole[:, 12:20] @ tangent.flatten()
    assert_equal([found[0].flatten(), found[2].flatten()], [block[:12], block[20:]], "blocks")


def test_entries_of_high_order_come_from_gathered_rows() -> None:
    order = 24
    letters = "abcdefghijklmnopqstuvwxy"
    equation = ",".join(letter + "r" for letter in letters) + "->" + letters
    operands = [1 + normal(2, 3, seed=i) / 4 for i in range(order)]
    tangents = [None if i == 5 else normal(2, 3, seed=50 + i) for i in range(order)]
    at = torch.randint(0, 2, (9, order), generator=torch.Generator().manual_seed(0))
    observed = irk.Observed(at, normal(9, seed=1), (2,) * order)
    found = curvature.hvp(equation, *operands, tangents=tangents, observed=observed)
    assert_equal(found, reference.hvp(equation, *operands, tangents=tangents, observed=observed), "order 24")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_hvp_in_other_dtypes(dtype: torch.dtype) -> None:
    operands = [factor.to(dtype) for factor in factors(5, 4, 6)]
    tangents, target = [torch.ones_like(operand) for operand in operands], normal(5, 6, seed=1).to(dtype)
    found = curvature.hvp("ij,jk->ik", *operands, tangents=tangents, target=target)
    wide = [each.double() for each in operands]
    exact = reference.hvp("ij,jk->ik", *wide, tangents=[t.double() for t in tangents], target=target.double())
    for a, b in zip(found, exact):
        assert a.dtype == dtype
        assert (a.double() - b).abs().max() <= 4 * torch.finfo(dtype).eps * b.abs().max()


def test_hvp_is_differentiable_in_operands_and_tangents() -> None:
    operands = factors(2, 3, 2, 2)
    observed = irk.Observed([[0, 0], [1, 0], [1, 1]], normal(3, seed=1), (2, 2))

    def function(*tensors: Tensor) -> tuple[Tensor, ...]:
        return curvature.hvp(CHAIN, *tensors[:3], tangents=tensors[3:], observed=observed)

    inputs = [t.requires_grad_() for t in (*operands, *(normal(*o.shape, seed=7) for o in operands))]
    assert gradcheck(function, inputs)


@pytest.mark.parametrize("loss", LOSSES)
def test_hessian_of_trials_and_of_each_alone(loss: str) -> None:
    operands, target = factors(3, 2, 3, trials=(2,)), normal(2, 3, 3, seed=1)
    found = curvature.hessian("...ij,...jk->...ik", *operands, target=target, loss=loss)
    assert found.shape == (2, 12, 12)
    for trial in range(2):
        alone = [operand[trial] for operand in operands]
        expected = reference.hessian("ij,jk->ik", *alone, target=target[trial], loss=loss)
        assert_equal(found[trial], expected, loss)


@pytest.mark.parametrize("sizes", [(4, 4, 4, 4), (3, 5), (2, 6, 1, 3), (1, 1, 1)])
def test_sharpness_of_trials_is_the_largest_eigenvalue_of_each(sizes: tuple[int, ...]) -> None:
    operands = factors(*sizes, trials=(3,))
    letters = "ijklm"[: len(sizes)]
    terms = [a + b for a, b in itertools.pairwise(letters)]
    output = letters[0] + letters[-1]
    target = normal(3, sizes[0], sizes[-1], seed=1)
    equation = ",".join("..." + term for term in terms) + "->..." + output
    found = curvature.sharpness(equation, *operands, target=target, tolerance=1e-9)
    for trial in range(3):
        alone, wanted = [operand[trial] for operand in operands], target[trial]
        plain = ",".join(terms) + "->" + output
        assert_equal(found[trial], reference.sharpness(plain, *alone, target=wanted), (sizes, trial))
        single = curvature.sharpness(plain, *alone, target=wanted, tolerance=1e-9)
        assert torch.allclose(found[trial], single, rtol=1e-12, atol=0)


def test_sharpness_may_be_negative_or_zero() -> None:
    w = torch.tensor([0.5, 2.0], dtype=torch.float64)
    found = curvature.sharpness("i->i", w, loss=lambda W: -(W**2).sum())
    assert torch.allclose(found, torch.tensor(-2.0, dtype=torch.float64), rtol=1e-12)
    assert curvature.sharpness("i->i", w, loss=lambda W: W.sum()) == 0


def test_sharpness_of_a_weight_shared_network() -> None:
    """f = sum w_i^2 x_i, L = (f - y)^2 / 2: where f = y, S = 4 sum w_i^2 x_i^2 (Matveev et al. 2026)."""
    x = torch.tensor([1.0, 2.0, 4.0], dtype=torch.float64)
    w = torch.tensor([0.3, 0.2, 0.45], dtype=torch.float64)
    y = (w**2 * x).sum()
    found = curvature.sharpness("i,i,i->", w, w, x, wrt=(0, 1), target=y, loss="half_sse", tolerance=1e-10)
    assert torch.allclose(found, 4 * (w**2 * x**2).sum(), rtol=1e-12)


def test_sharpness_agrees_with_itself_and_warns_short_of_its_tolerance() -> None:
    operands, target = factors(6, 6, 6), normal(6, 6, seed=1)
    first, second = (curvature.sharpness("ij,jk->ik", *operands, target=target) for _ in range(2))
    assert first == second
    with pytest.warns(RuntimeWarning, match="tolerance 1e-12 in 2 iterations"):
        curvature.sharpness("ij,jk->ik", *operands, target=target, tolerance=1e-12, iterations=2)


def test_sharpness_of_a_trial_that_is_not_finite() -> None:
    operands, target = factors(3, 3, 3, trials=(2,)), normal(3, 3, seed=1)
    operands[0][0, 0, 0] = torch.nan
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = curvature.sharpness("...ij,...jk->...ik", *operands, target=target)
    assert torch.isnan(found[0]) and torch.isfinite(found[1])


def test_sharpness_is_differentiable() -> None:
    operands, target = [f.requires_grad_() for f in factors(2, 3, 2)], normal(2, 2, seed=1)
    assert gradcheck(lambda *f: curvature.sharpness("ij,jk->ik", *f, target=target, tolerance=1e-10), operands)


def _energy(W: Tensor) -> Tensor:
    return (W**3 + W**2).sum()
