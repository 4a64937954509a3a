"""Every dtype over the registry: no less accurate than torch in the same dtype, values and gradients.

One rule: the geometric mean of error ratios over all results is at most 1.05, and no result of a product is worse than
twice torch's error plus one rounding of the result. The second is taken over a product's draws together: a single small
result of torch may be exact by luck, which no other order of the same roundings can be held to.
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

import irkernels as irk
from irkernels.testing import PRODUCTS, Product, factor_gradients

SEEDS = 13  # draws of each product: about 1,000 products and 4,000 results a dtype
MEAN, WORST = 1.05, 2.0


def error(found: Tensor, exact: Tensor, scale: Tensor) -> float:
    """Frobenius error relative to the absolute product's norm, so that no draw counts more for what cancels in it."""
    norm = scale.norm().item()
    return (found.to(torch.float64) - exact).norm().item() / norm if norm else float(found.abs().sum())


def of_torch(equation: str, operands: list[Tensor], cotangent: Tensor) -> list[Tensor]:
    return [torch.einsum(equation, *operands), *factor_gradients(equation, operands, cotangent)]


def of_irkernels(equation: str, operands: list[Tensor], cotangent: Tensor) -> list[Tensor]:
    factors = [operand.detach().clone().requires_grad_() for operand in operands]
    value = irk.einsum(equation, *factors)
    return [value.detach(), *torch.autograd.grad(value, factors, cotangent, materialize_grads=True, allow_unused=True)]


def draws(product: Product, dtype: torch.dtype) -> Iterator[tuple[list[Tensor], Tensor, list[Tensor], list[Tensor]]]:
    """Operands, a cotangent, the exact results and their scales."""
    for seed in range(SEEDS if product.elements < 5_000 else 3):
        operands = product.operands(seed, dtype)
        exact = [operand.to(torch.float64) for operand in operands]
        shape = torch.einsum(product.equation, *exact).shape
        cotangent = torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)
        results = of_torch(product.equation, exact, cotangent.to(torch.float64))
        positive = [operand.abs() for operand in exact]
        yield operands, cotangent, results, of_torch(product.equation, positive, cotangent.abs().to(torch.float64))


@pytest.mark.parametrize("dtype", (torch.float32, torch.bfloat16, torch.float16), ids=str)
def test_no_less_accurate_than_torch(dtype: torch.dtype) -> None:
    rounding = torch.finfo(dtype).eps / 2
    floor = rounding / 8  # keeps results that are exact in both out of the logarithm
    logs: list[float] = []
    for product in PRODUCTS:
        if dtype not in product.dtypes:
            continue
        ours, theirs = [], []
        for operands, cotangent, exact, scales in draws(product, dtype):
            found = of_irkernels(product.equation, operands, cotangent)
            assert [(each.dtype, each.shape) for each in found] == [(dtype, each.shape) for each in exact], str(product)
            peers = of_torch(product.equation, operands, cotangent)
            ours.append(list(map(error, found, exact, scales)))
            theirs.append(list(map(error, peers, exact, scales)))
        logs += [
            math.log((a + floor) / (b + floor))
            for a, b in zip(
                functools.reduce(operator.iadd, ours, []), functools.reduce(operator.iadd, theirs, []), strict=True
            )
        ]
        for which, (a, b) in enumerate(zip(zip(*ours), zip(*theirs), strict=True)):
            found, peer = root_mean_square(a), root_mean_square(b)
            what = "value" if which == 0 else f"gradient of operand {which - 1}"
            assert found <= WORST * peer + rounding, f"{what}: error {found:.2e}, torch {peer:.2e}, {product}"
    assert len(logs) >= 1000
    mean = math.exp(math.fsum(logs) / len(logs))
    assert mean <= MEAN, f"geometric mean of error ratios {mean:.3f} over {len(logs)} results"


def root_mean_square(errors: tuple[float, ...]) -> float:
    return math.sqrt(math.fsum(each**2 for each in errors) / len(errors))


@pytest.mark.parametrize("dtype", (torch.float32, torch.bfloat16, torch.float16), ids=str)
def test_sampled_results_keep_the_dtype_and_its_accuracy(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    operands = [torch.randn(shape, generator=generator).to(dtype) for shape in ((9, 6), (6, 5), (5, 8))]
    at = torch.stack((torch.randint(9, (40,), generator=generator), torch.randint(8, (40,), generator=generator)), 1)
    observed = irk.Observed(at, torch.randn(40, generator=generator).to(dtype), (9, 8))
    factors = [operand.clone().requires_grad_() for operand in operands]
    loss = irk.completion_loss("ij,jk,kl->il", *factors, observed=observed)
    gradients = torch.autograd.grad(loss, factors)
    exact = [operand.to(torch.float64).requires_grad_() for operand in operands]
    exact_loss = irk.reference.completion_loss("ij,jk,kl->il", *exact, observed=observed.to(torch.float64))
    entries = irk.entries("ij,jk,kl->il", *operands, at=at)
    assert {loss.dtype, entries.dtype, *(gradient.dtype for gradient in gradients)} == {dtype}
    bound = 8 * torch.finfo(dtype).eps
    exact_entries = irk.reference.entries("ij,jk,kl->il", *exact, at=at)
    truths = [exact_loss, exact_entries, *torch.autograd.grad(exact_loss, exact, retain_graph=True)]
    for found, truth in zip((loss, entries, *gradients), truths, strict=True):
        assert error(found.detach(), truth.detach(), truth.detach()) <= bound
