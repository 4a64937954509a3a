"""Sign and logarithm of products that leave their dtype's range, and their derivatives."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

import irkernels as irk
from irkernels import reference
from irkernels.reference.equation import read_equation
from irkernels.testing import PRODUCTS, Product, sample_coordinates

F64 = torch.float64
DRAWS = 1000
each_product = pytest.mark.parametrize("product", PRODUCTS, ids=lambda product: product.name)


def letter(i: int) -> str:
    return chr(0x4E00 + i)


def assert_same(found: reference.LogScaled, expected: Tensor, scale: Tensor) -> None:
    """The number that sign and logarithm name, where it is a number of its dtype."""
    assert found.sign.shape == found.logabs.shape == expected.shape
    value = found.sign * found.logabs.exp()
    assert torch.all((value - expected).abs() <= 1e-10 * scale)
    assert torch.equal(found.sign == 0, found.logabs == -math.inf)


@each_product
def test_values_of_registered_products(product: Product) -> None:
    operands = product.operands()
    expected = torch.einsum(product.equation, *operands)
    scale = torch.einsum(product.equation, *(operand.abs() for operand in operands))
    for verbs in (irk, reference):
        assert_same(verbs.log_einsum(product.equation, *operands), expected, scale)
    at = sample_coordinates(product, 9, seed=11)
    expected = reference.entries(product.equation, *operands, at=at)
    scale = reference.entries(product.equation, *(operand.abs() for operand in operands), at=at)
    for verbs in (irk, reference):
        assert_same(verbs.log_entries(product.equation, *operands, at=at), expected, scale)


@each_product
def test_gradients_of_registered_products(product: Product) -> None:
    operands = [operand.requires_grad_() for operand in product.operands()]
    read = read_equation(product.equation, tuple(operands))
    if 0 in read.extents.values() or 0 in read.broadcast:
        pytest.skip("the product has no number other than 0")
    at = sample_coordinates(product, 5, seed=3)
    for found, value in (
        (irk.log_einsum(product.equation, *operands).logabs, torch.einsum(product.equation, *operands)),
        (irk.log_entries(product.equation, *operands, at=at).logabs,
         reference.entries(product.equation, *operands, at=at)),
    ):
        cotangent = torch.randn(value.shape, dtype=F64, generator=torch.Generator().manual_seed(5))
        wanted = torch.autograd.grad(value.abs().log(), operands, cotangent, materialize_grads=True)
        for a, b in zip(torch.autograd.grad(found, operands, cotangent, materialize_grads=True), wanted):
            assert torch.allclose(a, b, rtol=1e-8, atol=1e-8 * float(b.abs().max()))


def shared(order: int) -> str:
    modes = [letter(i) for i in range(order)]
    return f"{','.join(mode + 'r' for mode in modes)}->{''.join(modes)}"


@pytest.mark.parametrize(("rank", "size"), ((1, 1.0), (3, 1e-20), (3, 1e20)))
def test_entries_of_order_784(rank: int, size: float) -> None:
    """1,000 draws far beyond float32, exact zeros among them, against logarithms in float64."""
    order, generator = 784, torch.Generator().manual_seed(rank)
    factors = torch.randn(order, DRAWS, rank, generator=generator, dtype=F64) * size
    factors[torch.rand(factors.shape, generator=generator) < 1e-4] = 0
    operands = [factor.requires_grad_() for factor in factors.float()]
    at = torch.arange(DRAWS).unsqueeze(1).expand(-1, order)
    sign, logabs = irk.log_entries(shared(order), *operands, at=at)
    rows = torch.stack([operand.detach().double() for operand in operands])
    expected = signed_sum(rows.sign().prod(0), rows.abs().log().sum(0))
    sizes = rows.abs().log().sum(0).logsumexp(-1)  # of the product of absolute values
    assert torch.equal(sign == 0, expected.sign == 0) and (rank > 1 or (sign == 0).any())
    clear = (expected.logabs > sizes - 5) & (sign != 0)  # signs cancel in few
    assert clear.sum() > 0.85 * DRAWS and torch.equal(sign[clear].double(), expected.sign[clear])
    rounded = 1e-6 * expected.logabs[clear].abs()  # of a logarithm itself, in float32
    assert (
        (logabs[clear] - expected.logabs[clear]).abs() <= 1e-5 * (sizes - expected.logabs)[clear].exp() + rounded
    ).all()
    gradients = torch.stack(torch.autograd.grad(logabs[clear].sum(), operands))
    assert not gradients.isnan().any()
    # d log|y| / dF = (share of the component) / F, a component being one r
    share = (rows.sign().prod(0) * expected.sign.unsqueeze(-1)) * (
        rows.abs().log().sum(0) - expected.logabs.unsqueeze(-1)
    ).exp()
    whole = (rows != 0).all(0) & clear.unsqueeze(-1)
    slopes = (share / rows)[:, whole]
    error = (gradients.double()[:, whole] - slopes).abs()
    widest = (sizes - expected.logabs).exp().unsqueeze(-1).expand(whole.shape)[whole]  # over the size that cancelled
    fits = slopes.abs() < torch.finfo(torch.float32).max / 8
    bound = 1e-5 * widest.square() / rows[:, whole].abs() + 1e-38
    assert fits.double().mean() > 0.99 and (error <= bound)[fits].all()


def signed_sum(signs: Tensor, logs: Tensor) -> reference.LogScaled:
    most = logs.amax(-1, keepdim=True).clamp(min=-1e30)
    total = (signs * (logs - most).exp()).sum(-1)
    return reference.LogScaled(total.sign(), most.squeeze(-1) + total.abs().log())


def chain(depth: int, dots: str = "") -> str:
    terms = ",".join(dots + letter(i) + letter(i + 1) for i in range(depth))
    return f"{terms}->{dots}{letter(0)}{letter(depth)}"


@pytest.mark.parametrize("size", (1e-3, 1.0, 1e15))
def test_a_chain_of_1000_in_trials(size: float) -> None:
    depth, n, trials = 1000, 4, 2
    generator = torch.Generator().manual_seed(2)
    factors = (torch.randn(depth, trials, n, n, generator=generator, dtype=F64) * size).float()
    factors[:, 1] *= 0.25  # a trial of its own size
    operands = [factor.requires_grad_() for factor in factors]
    sign, logabs = irk.log_einsum(chain(depth, "..."), *operands)
    value, powers = torch.eye(n, dtype=F64).expand(trials, n, n), torch.zeros(trials, 1, 1, dtype=F64)
    for operand in operands:
        value = value @ operand.detach().double()
        largest = value.abs().amax((1, 2), keepdim=True)
        value, powers = value / largest, powers + largest.log()
    expected = value.abs().log() + powers
    assert (size == 1 or expected.abs().min() > 1000) and torch.equal(sign, value.sign().float())
    assert torch.allclose(logabs.double(), expected, rtol=1e-6, atol=1e-2)
    gradients = torch.autograd.grad(logabs.sum(), operands)
    for gradient, operand in zip(gradients, operands):
        # log|W| grows by 1 with the logarithm of each factor's scale, for each number of W
        assert torch.allclose((gradient * operand).sum((1, 2)), torch.full((trials,), float(n * n)), rtol=2e-2)


def test_derivatives_of_derivatives() -> None:
    """A few factors whose product is beyond float64, doubly differentiated."""
    generator = torch.Generator().manual_seed(6)
    sizes = (1e200, 1e150, 1e-3)
    drawn = [torch.randn(3, 2, generator=generator, dtype=F64) for _ in sizes]
    at = torch.randint(3, (4, 3), generator=generator)

    def ours(*factors: Tensor) -> Tensor:
        scaled = [factor * size for factor, size in zip(factors, sizes)]
        return irk.log_entries("ar,br,cr->abc", *scaled, at=at).logabs

    def plain(*factors: Tensor) -> Tensor:
        value = reference.entries("ar,br,cr->abc", *factors, at=at)
        return value.abs().log() + sum(math.log(size) for size in sizes)

    factors = [each.requires_grad_() for each in drawn]
    assert torch.allclose(ours(*factors), plain(*factors), rtol=1e-12)
    seconds = []
    for function in (ours, plain):
        first = torch.autograd.grad(function(*factors).sum(), factors, create_graph=True)
        seconds.append((*first, *torch.autograd.grad(sum(each.sin().sum() for each in first), factors)))
    assert all(torch.allclose(a, b, rtol=1e-8) for a, b in zip(*seconds))


def test_entries_have_ranges_of_their_own() -> None:
    """Neighbours of sizes that no common power of two could hold."""
    sizes = torch.tensor([1e-30, 1.0, 1e30])
    factors = [(torch.ones(3, 2) * sizes.unsqueeze(1)).requires_grad_() for _ in range(5)]
    at = torch.arange(3).unsqueeze(1).expand(-1, 5)
    sign, logabs = irk.log_entries("ar,br,cr,dr,er->abcde", *factors, at=at)
    assert torch.equal(sign, torch.ones(3))
    assert torch.allclose(logabs, 5 * sizes.log() + math.log(2), rtol=1e-6)
    (slope,) = torch.autograd.grad(logabs.sum(), factors[:1])
    assert torch.allclose(slope, (0.5 / sizes).unsqueeze(1).expand(3, 2), rtol=1e-5)


def test_half_types_are_computed_in_float32() -> None:
    factors = [torch.full((3, 3), 2.0**10, dtype=torch.bfloat16) for _ in range(20)]
    sign, logabs = irk.log_einsum(chain(20), *factors)
    assert sign.dtype == logabs.dtype == torch.bfloat16
    assert torch.allclose(logabs.float(), torch.full((3, 3), 200 * math.log(2) + 19 * math.log(3)), rtol=2**-8)


def test_models() -> None:
    model = irk.nn.CP((2,) * 60, rank=3, trials=2, init_std=1e-3, seed=0)
    at = torch.randint(2, (7, 60), generator=torch.Generator().manual_seed(1))
    sign, logabs = model.log_entries(at)
    wide = [factor.detach().double() for factor in model.factors]
    expected = reference.log_entries(model.verb_equation, *wide, at=at)
    assert sign.shape == (2, 7) and torch.equal(sign.double(), expected.sign)
    assert torch.allclose(logabs.double(), expected.logabs, rtol=1e-6, atol=1e-3)
    assert not model.entries(at).any()  # which is why


def test_what_is_refused() -> None:
    A = torch.randn(2, 3)
    with pytest.raises(TypeError, match=r"operand 1 is torch.float64, operand 0 is torch.float32"):
        irk.log_einsum("ij,jk->ik", A, torch.randn(3, 2, dtype=F64))
    with pytest.raises(IndexError):
        irk.log_entries("ij,jk->ik", A, A.T, at=[[0, 2]])
    with pytest.raises(NotImplementedError, match="log_einsum looks at the numbers"):
        torch.func.vmap(lambda a: irk.log_einsum("ij,jk->ik", a, A.T))(A.expand(4, -1, -1))
