"""Random equations against torch.einsum: values, gradients, double backward, and what torch.einsum refuses."""

from __future__ import annotations

import random

import pytest
import torch
from torch import Tensor

import irkernels as irk
from irkernels.testing import Product, absolute_product, factor_gradients, random_product, worst_ratio

RELATIVE = 1e-10
# other dtypes: the sum of absolute values times roundings of every intermediate (orders differ) and of the result
ROUNDINGS = {torch.float64: RELATIVE, torch.float32: 2e-5, torch.bfloat16: 0.1, torch.float16: 0.02}
CHUNK = 250


@pytest.mark.parametrize("first", range(0, 2000, CHUNK))
def test_values_and_gradients(first: int) -> None:
    for seed in range(first, first + CHUNK):
        case = random_product(seed)
        dtype = case.dtypes[0]
        operands = case.operands(seed, dtype)
        exact = [operand.to(torch.float64) for operand in operands]
        expected = torch.einsum(case.equation, *exact)
        factors = [operand.requires_grad_(p in case.trained) for p, operand in enumerate(operands)]
        found = irk.einsum(case.equation, *factors)
        assert found.dtype == dtype
        scale = absolute_product(case.equation, exact)
        compare(found.detach(), expected, scale, case, "value")
        cotangent = torch.randn(expected.shape, generator=torch.Generator().manual_seed(seed)).to(dtype)
        wanted = [factors[p] for p in case.trained]
        gradients = torch.autograd.grad(found, wanted, cotangent, materialize_grads=True, allow_unused=True)
        exact_gradients = factor_gradients(case.equation, exact, cotangent.to(torch.float64))
        scales = factor_gradients(case.equation, [each.abs() for each in exact], cotangent.abs().to(torch.float64))
        for p, gradient in zip(case.trained, gradients):
            assert gradient.dtype == dtype and gradient.shape == operands[p].shape
            compare(gradient, exact_gradients[p], scales[p], case, f"gradient of operand {p}")


def compare(found: Tensor, expected: Tensor, scale: Tensor, case: Product, what: str) -> None:
    if case.dtypes[0] in (torch.float16, torch.bfloat16):
        limits = torch.finfo(case.dtypes[0])
        inside = (scale < limits.max / 16) & (scale > 16 * limits.tiny)  # neither overflow nor subnormal intermediates
        scale = torch.where(inside, scale, torch.inf)
        found = torch.where(inside, found, expected.to(found.dtype))
        expected = torch.where(inside, expected, found.to(torch.float64))
    ratio = worst_ratio(found, expected, scale)
    assert ratio <= ROUNDINGS[case.dtypes[0]], (
        f"{what}: error {ratio:.2e} of the absolute product, {case}, {case.dtypes}"
    )


def second_derivatives(einsum, equation: str, operands: list[Tensor], cotangent: Tensor) -> tuple[Tensor, ...]:
    """Gradients of sum_p <dL/dF_p, F_p^2> in the factors and in the cotangent."""
    factors = [operand.detach().clone().requires_grad_() for operand in operands]
    cotangent = cotangent.clone().requires_grad_()
    product = einsum(equation, *factors)
    first = torch.autograd.grad(
        product, factors, cotangent, create_graph=True, materialize_grads=True, allow_unused=True
    )
    pairing = sum((gradient * factor.detach() ** 2).sum() for gradient, factor in zip(first, factors))
    return torch.autograd.grad(pairing, [*factors, cotangent], materialize_grads=True, allow_unused=True)


def test_double_backward() -> None:
    for seed in range(10_000, 10_200):
        case = random_product(seed)
        operands = case.operands(seed, torch.float64)
        generator = torch.Generator().manual_seed(seed)
        shape = torch.einsum(case.equation, *operands).shape
        cotangent = torch.randn(shape, generator=generator, dtype=torch.float64)
        found = second_derivatives(irk.einsum, case.equation, operands, cotangent)
        expected = second_derivatives(torch.einsum, case.equation, operands, cotangent)
        positive = [operand.abs() for operand in operands]
        scales = second_derivatives(torch.einsum, case.equation, positive, cotangent.abs())
        for which, (a, b, scale) in enumerate(zip(found, expected, scales)):
            ratio = worst_ratio(a, b, scale)
            assert ratio <= RELATIVE, f"second derivative {which}: {ratio:.2e}, {case}"


def mutated(rng: random.Random, equation: str) -> str:
    """The equation with up to two characters changed, added or taken away."""
    for _ in range(rng.randint(0, 2)):
        place = rng.randint(0, len(equation))
        added = rng.choice(("", *"abij", ",", ".", "...", "-", ">", "->", " ", "\x07", "\x7f"))
        equation = equation[:place] + added + equation[place + rng.randint(0, 1) :]
    return equation


def test_accepts_exactly_what_torch_accepts(verbs) -> None:
    """But for blanks inside `->` and `...`, which opt_einsum takes, and letters beyond a-z and A-Z
    (test_grammar.py)."""
    accepted = 0
    for seed in range(600):
        rng = random.Random(seed)
        case = random_product(seed)
        operands = case.operands(seed)
        equation = mutated(rng, case.equation)
        try:
            with torch.backends.opt_einsum.flags(enabled=False):  # it has a syntax of its own
                expected = torch.einsum(equation.replace(" ", ""), *operands)
        except RuntimeError:
            with pytest.raises((ValueError, TypeError)):
                verbs.einsum(equation, *operands)
                pytest.fail(f"{equation!r} accepted, torch.einsum refuses; from {case}")
            continue
        accepted += 1
        found = verbs.einsum(equation, *operands)
        ratio = worst_ratio(found, expected, absolute_product(equation.replace(" ", ""), operands))
        assert ratio <= RELATIVE, f"{equation!r} from {case}"
    assert 100 < accepted < 500  # both kinds are tried
