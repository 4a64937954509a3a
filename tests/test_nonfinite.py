"""NaN and infinity appear exactly where the inputs put them: never from padding, workspaces or unobserved entries."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor

import irkernels as irk
from irkernels.testing import PRODUCTS, Product, absolute_product, factor_gradients, worst_ratio

each_product = pytest.mark.parametrize("product", PRODUCTS, ids=lambda product: product.name)


def planted(product: Product, value: float, positive: bool, dtype: torch.dtype) -> Iterator[tuple[int, list[Tensor]]]:
    """The operands with one element of one of them replaced, for each operand in turn."""
    for position in range(len(product.shapes)):
        operands = product.operands(seed=position, dtype=dtype)
        if positive:
            operands = [operand.abs() + 0.5 for operand in operands]
        operands = [operand.clone(memory_format=torch.contiguous_format) for operand in operands]
        if operands[position].numel():
            operands[position].view(-1)[operands[position].numel() * 2 // 3] = value
            yield position, operands


@each_product
def test_nan_spreads_as_in_torch(product: Product) -> None:
    """Whatever the order of contraction, a NaN reaches the same elements."""
    for dtype in (torch.float64, torch.float32):
        for position, operands in planted(product, math.nan, False, dtype):
            expected = torch.einsum(product.equation, *operands)
            found = irk.einsum(product.equation, *operands)
            assert torch.equal(found.isnan(), expected.isnan()), f"NaN in operand {position} of {product}"
            cotangent = torch.ones_like(expected)
            gradients = irk.gradients(product.equation, *operands, cotangent=cotangent)
            for p, gradient in enumerate(factor_gradients(product.equation, operands, cotangent)):
                assert torch.equal(gradients[p].isnan(), gradient.isnan()), (
                    f"NaN in operand {position}, gradient of operand {p} of {product}"
                )


@each_product
def test_infinity_spreads_as_in_torch(product: Product) -> None:
    """Positive factors, so that every order of contraction agrees that the result is +infinity and not NaN."""
    for position, operands in planted(product, math.inf, True, torch.float64):
        expected = torch.einsum(product.equation, *operands)
        found = irk.einsum(product.equation, *operands)
        assert torch.equal(found.isposinf(), expected.isposinf()), f"infinity in operand {position} of {product}"
        assert not found.isnan().any(), f"infinity in operand {position} of {product}"
        finite = expected.isfinite()
        assert torch.allclose(found[finite], expected[finite], rtol=1e-10)


def test_zero_times_infinity_is_nan(verbs) -> None:
    A = torch.tensor([[0.0, 1.0], [2.0, 3.0]])
    B = torch.tensor([[math.inf, 1.0], [1.0, -math.inf]])
    found = verbs.einsum("ij,jk->ik", A, B)
    assert found.isnan().tolist() == [[True, False], [False, False]]
    assert found[0, 1] == -math.inf and found[1, 0] == math.inf and found[1, 1] == -math.inf
    hadamard = verbs.einsum("i,i,i->i", torch.tensor([0.0, 1.0]), torch.tensor([math.inf, math.inf]), torch.ones(2))
    assert hadamard.isnan().tolist() == [True, False]


@pytest.mark.parametrize("value", (math.nan, math.inf), ids=("nan", "inf"))
def test_unobserved_rows_do_not_matter(verbs, value: float) -> None:
    """Row 2 of the first factor and column 4 of the last are never observed: what stands there reaches nothing."""
    generator = torch.Generator().manual_seed(0)
    operands = [torch.randn(shape, dtype=torch.float64, generator=generator) for shape in ((5, 3), (3, 4), (4, 6))]
    at = torch.tensor([[0, 0], [1, 3], [4, 5], [3, 1], [1, 3]])
    clean = [operand.clone().requires_grad_() for operand in operands]
    operands[0][2], operands[2][:, 4] = value, value
    spoilt = [operand.requires_grad_() for operand in operands]
    equation = "ij,jk,kl->il"
    expected, found = (verbs.entries(equation, *factors, at=at) for factors in (clean, spoilt))
    assert torch.allclose(found, expected, rtol=1e-12)
    observed = irk.Observed(at, torch.ones(5, dtype=torch.float64), (5, 6))
    for loss in ("mse", "half_sse", "l1", "huber"):
        grads = [
            torch.autograd.grad(verbs.completion_loss(equation, *factors, observed=observed, loss=loss), factors)
            for factors in (clean, spoilt)
        ]
        for p, (a, b) in enumerate(zip(*grads, strict=True)):
            assert torch.allclose(a, b, rtol=1e-12), f"gradient of operand {p}, {loss}"
    for cotangent in (observed, (at, observed.values)):
        for a, b in zip(*(verbs.gradients(equation, *f, cotangent=cotangent) for f in (clean, spoilt)), strict=True):
            assert torch.allclose(a, b, rtol=1e-12)


def test_non_finite_entries_stay_in_their_trial(verbs) -> None:
    A, B = torch.randn(5, 3, 4, dtype=torch.float64), torch.randn(5, 4, 2, dtype=torch.float64)
    A[2, 1, 1] = math.nan
    observed = irk.Observed([[1, 0], [2, 1]], torch.ones(2, dtype=torch.float64), (3, 2))
    A.requires_grad_()
    loss = verbs.completion_loss("...ij,...jk->...ik", A, B, observed=observed)
    assert loss.isnan().tolist() == [False, False, True, False, False]
    (gradient,) = torch.autograd.grad(loss.sum(), A)
    assert gradient.isnan().flatten(1).any(1).tolist() == [False, False, True, False, False]


@pytest.mark.parametrize("value", (math.nan, math.inf), ids=("nan", "inf"))
def test_an_entry_of_weight_zero_is_not_observed(verbs, value: float) -> None:
    """Whatever is predicted there, in the trials whose weight is 0."""
    A, B = torch.randn(2, 3, 4, dtype=torch.float64), torch.randn(2, 4, 2, dtype=torch.float64)
    A[:, 1, 1] = value
    weights = torch.tensor([[0.0, 2.0], [1.0, 2.0]], dtype=torch.float64)
    observed = irk.Observed([[1, 0], [2, 1]], torch.ones(2, dtype=torch.float64), (3, 2), weights=weights)
    for loss in ("mse", "half_sse", "l1", "huber"):
        found = verbs.completion_loss("...ij,...jk->...ik", A, B, observed=observed, loss=loss)
        assert found.isfinite().tolist() == [True, False], loss


def test_a_weight_of_zero_drops_an_overflow_from_the_gradient(verbs) -> None:
    """Finite factors whose product is beyond the range: also where the gradient is differentiated."""
    u, v = torch.tensor([1e200, 2.0], dtype=torch.float64), torch.tensor([1e200, 3.0], dtype=torch.float64)
    factors = [u.requires_grad_(), v.requires_grad_()]
    weights = torch.tensor([0.0, 1.0], dtype=torch.float64)
    observed = irk.Observed([[0], [1]], torch.zeros(2, dtype=torch.float64), (2,), weights=weights)
    for loss, slope in (("mse", 12.0), ("half_sse", 6.0), ("l1", 1.0), ("huber", 1.0)):
        value = verbs.completion_loss("i,i->i", *factors, observed=observed, loss=loss)
        for graph in (True, False):
            found = torch.autograd.grad(value, factors, create_graph=graph, retain_graph=True)
            expected = ([0.0, 3 * slope], [0.0, 2 * slope])
            assert [gradient.tolist() for gradient in found] == list(expected), loss


@contextmanager
def memory_filled_with_nan() -> Iterator[None]:
    """torch.empty gives NaN instead of whatever lay there."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        assert torch.utils.deterministic.fill_uninitialized_memory and torch.empty(1).isnan()
        yield
    finally:
        torch.use_deterministic_algorithms(before)


@each_product
def test_nothing_reads_memory_that_was_not_written(product: Product) -> None:
    operands = product.operands(seed=4)
    expected = torch.einsum(product.equation, *operands)
    scale = absolute_product(product.equation, operands)
    cotangent = torch.ones_like(expected)
    expected_gradients = factor_gradients(product.equation, operands, cotangent)
    scales = factor_gradients(product.equation, [operand.abs() for operand in operands], cotangent)
    with memory_filled_with_nan():
        assert worst_ratio(irk.einsum(product.equation, *operands), expected, scale) <= 1e-10, str(product)
        gradients = irk.gradients(product.equation, *operands, cotangent=cotangent)
    for p, gradient in enumerate(gradients):
        assert worst_ratio(gradient, expected_gradients[p], scales[p]) <= 1e-10, f"operand {p} of {product}"
