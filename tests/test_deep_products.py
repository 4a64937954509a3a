"""Products of hundreds of factors: finite in float32, value and gradients, zeros exact, planned at once."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

import irkernels as irk

BOUND = 1e-5  # of the same product of absolute values
DRAWS = 1000


def letter(i: int) -> str:
    return chr(0x4E00 + i)


def shared(order: int) -> str:
    """y[i1, i2, ...] = sum over r of F1[i1, r] F2[i2, r] ..."""
    modes = [letter(i) for i in range(order)]
    return f"{','.join(mode + 'r' for mode in modes)}->{''.join(modes)}"


def chain(depth: int) -> str:
    return f"{','.join(letter(i) + letter(i + 1) for i in range(depth))}->{letter(0)}{letter(depth)}"


def rows_product(rows: Tensor) -> tuple[Tensor, Tensor]:
    """sum over r of the product over the factors of rows [factors, n, r], and its gradients by rows: prefix times
    suffix."""
    one = torch.ones_like(rows[:1])
    before = torch.cat((one, rows[:-1])).cumprod(0)
    after = torch.cat((rows[1:], one)).flip(0).cumprod(0).flip(0)
    return (before[-1] * rows[-1]).sum(-1), before * after


def sized_factors(order: int, generator: torch.Generator, rank: int) -> list[Tensor]:
    """Draws whose products stay near 1 in size, with factors of very different sizes in between."""
    factors = torch.randn(order, DRAWS, rank, generator=generator, dtype=torch.float64)
    factors[torch.rand(factors.shape, generator=generator) < 1e-4] = 0  # some columns and some whole entries vanish
    swings = 20 * torch.sin(torch.arange(order) / 40.0)  # prefixes alone would leave float32's range
    factors *= torch.exp2((swings - swings.roll(1)) + 0.92).view(-1, 1, 1)
    return list(factors.float())


@pytest.mark.parametrize("rank", (1, 3))
def test_order_784(rank: int) -> None:
    order, generator = 784, torch.Generator().manual_seed(rank)
    factors = [f.requires_grad_() for f in sized_factors(order, generator, rank)]
    at = torch.arange(DRAWS).unsqueeze(1).expand(-1, order)
    values = irk.entries(shared(order), *factors, at=at)
    gradients = torch.autograd.grad(values.sum(), factors)
    rows = torch.stack([f.detach().double() for f in factors])
    expected, slopes = rows_product(rows)
    sizes, slope_sizes = rows_product(rows.abs())
    limit = torch.finfo(torch.float32).max / 8
    fits = sizes < limit
    assert fits.sum() > 0.9 * DRAWS
    assert_within(values.detach()[fits], expected[fits], sizes[fits])
    fits = slope_sizes < limit
    assert fits.double().mean() > 0.9
    assert_within(torch.stack(gradients)[fits], slopes[fits], slope_sizes[fits])
    assert rank > 1 or (expected == 0).any()


def assert_within(found: Tensor, expected: Tensor, sizes: Tensor) -> None:
    assert found.isfinite().all()
    smallest = torch.finfo(torch.float32).tiny
    error = (found.double() - expected).abs()
    assert (error <= BOUND * sizes + smallest).all(), (error / (sizes + smallest)).max()
    assert (found[sizes == 0] == 0).all()


def test_a_chain_of_1000() -> None:
    depth, n = 1000, 4
    generator = torch.Generator().manual_seed(2)
    factors = torch.randn(depth, n, n, generator=generator, dtype=torch.float64) / math.sqrt(n)
    swings = 30 * torch.sin(torch.arange(depth) / 50.0)
    factors = (factors * torch.exp2(swings - swings.roll(1) + 0.25).view(-1, 1, 1)).float()
    operands = [f.clone().requires_grad_() for f in factors]
    value = irk.einsum(chain(depth), *operands)
    cotangent = torch.randn(n, n, generator=generator)
    gradients = torch.autograd.grad(value, operands, cotangent)
    assert value.abs().max() > 1e-30 and value.isfinite().all()
    expected, slopes = chain_product(factors.double(), cotangent.double())
    sizes, slope_sizes = chain_product(factors.double().abs(), cotangent.double().abs())
    assert_within(value.detach(), expected, sizes)
    assert_within(torch.stack(gradients), slopes, slope_sizes)
    # signs cancel, so the bound above is wide: here against the largest entry of each matrix
    for found, true in ((value.detach()[None], expected[None]), (torch.stack(gradients), slopes)):
        assert ((found.double() - true).abs().amax((1, 2)) <= 1e-3 * true.abs().amax((1, 2))).all()
    assert torch.equal(value, irk.multi_dot(operands))


def chain_product(factors: Tensor, cotangent: Tensor) -> tuple[Tensor, Tensor]:
    one = torch.eye(factors.shape[1], dtype=factors.dtype)
    before, after = [one], [one]
    for factor in factors:
        before.append(before[-1] @ factor)
    for factor in factors.flip(0):
        after.append(factor @ after[-1])
    slopes = [before[j].T @ cotangent @ after[len(factors) - 1 - j].T for j in range(len(factors))]
    return before[-1], torch.stack(slopes)


def test_trials_do_not_share_exponents() -> None:
    depth, n = 60, 3
    generator = torch.Generator().manual_seed(3)
    factors = [torch.randn(2, n, n, generator=generator) for _ in range(depth)]
    sizes = torch.tensor([1e3, 1e-3]).view(2, 1, 1)
    up, back = factors[: depth // 2], factors[depth // 2 :]
    operands = [*(f * sizes for f in up), *(f / sizes for f in back)]
    terms, output = chain(depth).split("->")
    equation = f"{','.join('...' + term for term in terms.split(','))}->...{output}"
    found = irk.einsum(equation, *operands)
    expected = torch.stack([torch.linalg.multi_dot([f[t].double() for f in operands]) for t in range(2)])
    assert torch.allclose(found.double(), expected, rtol=1e-3, atol=1e-5 * float(expected.abs().max()))
    alone = irk.einsum(chain(depth), *(f[1] for f in operands))
    assert torch.equal(found[1], alone)


def test_rank_one_measurements_of_order_784() -> None:
    """Vectors in place of coordinates: each meets its factor first."""
    order, count, rank = 784, 20, 2
    generator = torch.Generator().manual_seed(4)
    factors = [torch.randn(3, rank, generator=generator) for _ in range(order)]
    vectors = [torch.randn(count, 3, generator=generator) for _ in range(order)]
    modes = [letter(i) for i in range(order)]
    equation = f"{','.join([mode + 'r' for mode in modes] + ['m' + mode for mode in modes])}->m"
    operands = [f * 0.9 for f in factors] + vectors
    found = irk.einsum(equation, *operands)
    rows = torch.stack([v.double() @ f.double() for v, f in zip(vectors, operands)])
    expected, _ = rows_product(rows)
    sizes, _ = rows_product(torch.stack([v.double().abs() @ f.double().abs() for v, f in zip(vectors, operands)]))
    assert ((found.double() - expected).abs() <= BOUND * sizes).all()
    assert "outer" not in irk.explain(equation, *(o.shape for o in operands))


def test_first_derivatives_have_derivatives() -> None:
    order, generator = 40, torch.Generator().manual_seed(5)
    factors = [torch.randn(2, 2, generator=generator, dtype=torch.float64).requires_grad_() for _ in range(order)]
    at = torch.randint(0, 2, (5, order), generator=generator)
    values = irk.entries(shared(order), *factors, at=at)
    first = torch.autograd.grad(values.sum(), factors, create_graph=True)
    second = torch.autograd.grad(first[3].pow(2).sum(), factors, materialize_grads=True)
    plain = torch.stack([f[at[:, i]] for i, f in enumerate(factors)]).prod(0).sum(-1)
    assert torch.allclose(values, plain, rtol=1e-10)
    expected = torch.autograd.grad(plain.sum(), factors, create_graph=True)
    assert all(torch.allclose(a, b, rtol=1e-9) for a, b in zip(first, expected))
    for a, b in zip(second, torch.autograd.grad(expected[3].pow(2).sum(), factors, materialize_grads=True)):
        assert torch.allclose(a, b, rtol=1e-9)
