"""Every registered product, in every stride layout: values and gradients against torch in float64."""

from __future__ import annotations

import pytest
import torch

import irkernels as irk
from irkernels.reference.equation import read_equation
from irkernels.testing import (
    PRODUCTS,
    STRIDES,
    Product,
    absolute_product,
    dense_completion_loss,
    dense_entries,
    factor_gradients,
    sample_coordinates,
    worst_ratio,
)

RELATIVE = 1e-10
each_product = pytest.mark.parametrize("product", PRODUCTS, ids=lambda product: product.name)


def layouts(product: Product) -> list[Product]:
    return [product] + [product.with_strides(how) for how in STRIDES]


def draw(like: torch.Tensor, seed: int = 7) -> torch.Tensor:
    return torch.randn(like.shape, dtype=like.dtype, generator=torch.Generator().manual_seed(seed))


@each_product
def test_value_and_gradients(product: Product) -> None:
    for case in layouts(product):
        operands = case.operands()
        expected = torch.einsum(case.equation, *operands)
        scale = absolute_product(case.equation, operands)
        factors = [operand.requires_grad_() if p in case.trained else operand for p, operand in enumerate(operands)]
        product_found = irk.einsum(case.equation, *factors)
        assert worst_ratio(product_found.detach(), expected, scale) <= RELATIVE, str(case)
        cotangent = draw(expected)
        wanted = [factors[p] for p in case.trained]
        by_autograd = dict(
            zip(case.trained, torch.autograd.grad(product_found, wanted, cotangent, materialize_grads=True))
        )
        by_verb = irk.gradients(case.equation, *factors, cotangent=cotangent)
        expected_gradients = factor_gradients(case.equation, operands, cotangent)
        scales = factor_gradients(case.equation, [operand.abs() for operand in operands], cotangent.abs())
        for p, gradient in enumerate(by_verb):
            assert worst_ratio(gradient.detach(), expected_gradients[p], scales[p]) <= RELATIVE, (
                f"operand {p} of {case}"
            )
        for p, gradient in by_autograd.items():
            assert worst_ratio(gradient, expected_gradients[p], scales[p]) <= RELATIVE, f"operand {p} of {case}"


@each_product
def test_powers_of_two_are_exact(product: Product) -> None:
    """Products and sums that no order can round: equality to the last bit."""
    for case in layouts(product):
        operands = case.operands(seed=3, values="powers of two")
        expected = torch.einsum(case.equation, *operands)
        assert torch.equal(irk.einsum(case.equation, *operands), expected), str(case)
        cotangent = torch.sign(draw(expected))
        found = irk.gradients(case.equation, *operands, cotangent=cotangent)
        for p, gradient in enumerate(factor_gradients(case.equation, operands, cotangent)):
            assert torch.equal(found[p], gradient), f"operand {p} of {case}"


@each_product
def test_trials_are_independent_copies(product: Product) -> None:
    if "..." in product.equation:
        product = Product(
            product.name, product.equation.replace("...", ""), per_trial(product), trainable=product.trainable
        )
    for trials in (1, 3):
        case = product.with_trials(trials)
        operands = case.operands()
        found = irk.einsum(case.equation, *operands)
        for trial in range(trials):
            own = [operand[trial] if p in case.trained else operand for p, operand in enumerate(operands)]
            expected = torch.einsum(product.equation, *own)
            scale = absolute_product(product.equation, own)
            assert worst_ratio(found[trial], expected, scale) <= RELATIVE, f"trial {trial} of {case}"


def per_trial(product: Product) -> tuple[tuple[int, ...], ...]:
    """The shapes of a product whose `...` are taken away."""
    shapes = []
    for term, shape in zip(product.equation.partition("->")[0].split(","), product.shapes):
        before, dots, after = term.strip().partition("...")
        spread = len(shape) - len(before) - len(after) if dots else 0
        shapes.append(shape[: len(before)] + shape[len(before) + spread :])
    return tuple(shapes)


@each_product
def test_entries_and_completion_loss(product: Product) -> None:
    for case in layouts(product):
        operands = case.operands(seed=1)
        read = read_equation(case.equation, tuple(operands))
        at = sample_coordinates(case, 9, seed=11)
        nnz = len(at)
        expected = dense_entries(case.equation, *operands, at=at)
        scale = dense_entries(case.equation, *(operand.abs() for operand in operands), at=at)
        found = irk.entries(case.equation, *operands, at=at)
        assert worst_ratio(found, expected, scale) <= RELATIVE, str(case)
        if nnz == 0:
            continue
        values = torch.randn(nnz, generator=torch.Generator().manual_seed(12), dtype=torch.float64)
        observed = irk.Observed(at, values, read.shape)
        for loss in ("mse", "half_sse", "l1", "huber"):
            wanted = dense_completion_loss(
                case.equation, *operands, at=at, values=values, weights=None, loss=loss, delta=1.0
            )
            found = irk.completion_loss(case.equation, *operands, observed=observed, loss=loss)
            bound = nnz * (1 + scale.amax(-1) + values.abs().max()) ** 2
            assert worst_ratio(found, wanted, bound) <= RELATIVE, f"{loss} of {case}"
