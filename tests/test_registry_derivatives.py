"""gradcheck and gradgradcheck of every verb over the registry's small products, legacy batching included."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.autograd.gradcheck import gradcheck, gradgradcheck

import irkernels as irk
from irkernels.reference.equation import read_equation
from irkernels.testing import SMALL, Product, sample_coordinates

each_product = pytest.mark.parametrize("product", SMALL, ids=lambda product: product.name)
THOROUGH = 60  # elements up to which every element of the Jacobian is compared, not random projections of it


def hold(function: Callable, inputs: list[Tensor], product: Product, second: bool = True) -> None:
    """First derivatives by reverse and forward mode, second by reverse and forward over reverse, all batched too."""
    fast = sum(each.numel() for each in inputs) > THOROUGH
    given = [each.requires_grad_() if each.is_floating_point() else each for each in inputs]
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # no fallback that torch warns of
        warnings.filterwarnings("ignore", message="Input #.* has a dimension with stride 0")
        warnings.filterwarnings("ignore", message=".*torch.jit.script", category=DeprecationWarning)  # torch's own
        try:
            forward = {"check_forward_ad": True, "check_batched_forward_grad": True}
            gradcheck(function, given, check_batched_grad=True, check_undefined_grad=True, fast_mode=fast, **forward)
            if second:
                both = {"check_rev_over_rev": True, "check_fwd_over_rev": True}
                gradgradcheck(function, given, check_batched_grad=True, fast_mode=True, **both)
        except RuntimeError as error:
            raise AssertionError(f"{product}: {error}") from error


def small(product: Product) -> list[Tensor]:
    """Operands without stride 0, which finite differences cannot move."""
    return [operand.clone(memory_format=torch.contiguous_format) for operand in product.operands(seed=2)]


@each_product
def test_einsum(product: Product) -> None:
    hold(lambda *factors: irk.einsum(product.equation, *factors), small(product), product)


@each_product
def test_entries(product: Product) -> None:
    operands = small(product)
    at = sample_coordinates(product, 5, seed=5)
    hold(lambda *factors: irk.entries(product.equation, *factors, at=at), operands, product)


@each_product
def test_completion_loss(product: Product) -> None:
    operands = small(product)
    at = sample_coordinates(product, 5, seed=5)
    if len(at) == 0:
        return
    shape = read_equation(product.equation, tuple(operands)).shape
    values = 2 * torch.randn(len(at), dtype=torch.float64, generator=torch.Generator().manual_seed(6))
    observed = irk.Observed(at, values, shape, weights=torch.arange(1.0, len(at) + 1))
    # l1 and huber have kinks, but no drawn residual lies within the step of one
    for loss in ("mse", "half_sse", "l1", "huber"):
        hold(
            lambda *factors: irk.completion_loss(product.equation, *factors, observed=observed, loss=loss),
            [operand.detach().clone() for operand in operands],
            product,
            second=loss in ("mse", "huber"),
        )


@each_product
def test_gradients(product: Product) -> None:
    operands = small(product)
    dense = torch.einsum(product.equation, *operands)
    cotangent = torch.randn(dense.shape, dtype=dense.dtype, generator=torch.Generator().manual_seed(7))
    hold(
        lambda cotangent, *factors: irk.gradients(product.equation, *factors, cotangent=cotangent),
        [cotangent, *operands],
        product,
    )


@each_product
def test_gradients_of_sampled_cotangents(product: Product) -> None:
    operands = small(product)
    read = read_equation(product.equation, tuple(operands))
    at = sample_coordinates(product, 5, seed=5)
    values = torch.randn(*read.dense, len(at), dtype=torch.float64, generator=torch.Generator().manual_seed(8))
    hold(
        lambda values, *factors: irk.gradients(product.equation, *factors, cotangent=(at, values)),
        [values, *[operand.detach().clone() for operand in operands]],
        product,
        second=False,
    )
