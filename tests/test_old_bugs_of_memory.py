"""Products that took gigabytes, or many more multiplications than they need, in other libraries.

How tests are named: test_old_bugs_of_values.py.  Peaks are of torch's allocator, beside the operands.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Sequence

import pytest
import torch
from test_memory import most_alive
from torch import Tensor

import irkernels as irk


def with_gradients(verb: Callable[..., Tensor], *operands: Tensor) -> Callable[[], object]:
    asked = [operand.requires_grad_() for operand in operands]

    def call() -> object:
        value = verb(*asked)
        return torch.autograd.grad(value, asked, torch.ones_like(value))

    return call


def multiply_adds(equation: str, *shapes: Sequence[int], **options: object) -> tuple[int, int]:
    """(value, gradients) of the plan."""
    text = irk.explain(equation, *shapes, **options)
    return tuple(
        int(re.search(rf"^{line} +([\d,]+) multiply-adds", text, re.M)[1].replace(",", ""))
        for line in ("value", "gradients")
    )


def test_pytorch_118883_backward_of_a_sampled_product() -> None:
    """sampled_addmm of (N, K) and (K, N): backward makes the gradient N x N."""
    n, k, nnz = 20_000, 4, 1_000
    at = torch.randint(n, (nnz, 2))
    call = with_gradients(lambda a, b: irk.entries("ij,jk->ik", a, b, at=at), torch.randn(n, k), torch.randn(k, n))
    factors = 2 * n * k * 4
    assert most_alive(call) <= 3 * factors < n * n * 4 // 100


def test_pytorch_41128_backward_of_a_sparse_matrix_times_a_dense_one() -> None:
    """n = 110,000, 860,000 numbers: backward wanted 45 GiB, the dense n x n gradient."""
    n, nnz, width = 11_000, 8_600, 20
    at, values, dense = torch.randint(n, (nnz, 2)), torch.randn(nnz), torch.randn(n, width)
    expected = torch.zeros(n, width).index_add_(0, at[:, 0], values[:, None] * dense[at[:, 1]])
    to = at[:, 1]
    at, ones = irk.Coordinates(at, (n, n)), torch.ones(n, width)

    def both() -> tuple[Tensor, Tensor]:
        """X Y and, for the cotangent of ones, dX at its entries."""
        product = irk.gradients("ij,kj->ik", ones, dense, cotangent=(at, values))[0]
        return product, irk.entries("ij,kj->ik", ones, dense, at=at)

    product, at_entries = both()
    torch.testing.assert_close(product, expected)
    torch.testing.assert_close(at_entries, dense[to].sum(1))
    assert most_alive(both) <= 8 * n * width * 4 < n * n * 4 // 50


@pytest.mark.parametrize("shape, rank", [((12, 300, 300), 20), ((40, 40, 2), 3), ((64, 3, 3, 64), 4)])
def test_tensorly_618_factors_of_a_large_tensor(shape: tuple[int, ...], rank: int) -> None:
    """12 x 29010 x 29010 in 200 GB; (10^4, 10^4, 2) beyond rank 2 (431); 4.5 TiB for 512 x 3 x 3 x 512 (526)."""
    tensor = torch.randn(shape)
    factors = [torch.randn(n, rank) for n in shape]
    for mode, extent in enumerate(shape):
        found = irk.unfolding_dot_khatri_rao(tensor, (None, factors), mode)
        others = [factor for k, factor in enumerate(factors) if k != mode]
        expected = tensor.movedim(mode, 0).reshape(extent, -1).double() @ irk.khatri_rao(others).double()
        torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-3)
        met_first = shape[-1] if mode < len(shape) - 1 else shape[0]
        numbers = rank * (extent + tensor.numel() // met_first)
        peak = most_alive(lambda: irk.unfolding_dot_khatri_rao(tensor, (None, factors), mode))
        assert peak <= 4 * numbers + 4096
        assert shape != (12, 300, 300) or mode > 0 or peak < 4 * rank * 300**2 // 20  # the Khatri-Rao product


def test_pyttb_299_a_full_tensor_of_a_decomposition() -> None:
    """ktensor.full() took as many tensors as it has components."""
    shape, rank = (30, 40, 50), 16
    factors = [torch.randn(n, rank) for n in shape]
    peak = most_alive(lambda: irk.cp_to_tensor((None, factors)))
    assert peak <= 1.6 * 4 * math.prod(shape)


SMALL = ["qrs" + letter for letter in "ponmlkjihgfedcba"]
BIG = "abcdefghijklmnopt"


@pytest.mark.parametrize("first", [True, False])
def test_pytorch_35299_the_place_of_the_large_operand(first: bool) -> None:
    """2^17 numbers and 16 small cores: 4.9 GiB with the large one at the end, much less with it in front."""
    equation = ",".join([BIG, *SMALL] if first else [*SMALL, BIG]) + "->qrst"
    shapes = [(8, 5, 5, 2)] * 16
    shapes.insert(0 if first else 16, (2,) * 17)
    operands = [torch.randn(shape, dtype=torch.float64).requires_grad_() for shape in shapes]
    value = irk.einsum(equation, *operands)
    assert value.shape == (8, 5, 5, 2)
    assert most_alive(lambda: irk.einsum(equation, *operands)) <= 8 * (200 * 2**9 + 2**17) * 2
    peak = most_alive(lambda: torch.autograd.grad(irk.einsum(equation, *operands).sum(), operands))
    assert peak <= 8 * (200 * 2**9 + 2**17) * 8 < 8 * 200 * 2**16


def test_opt_einsum_133_a_plan_of_one_step_says_what_it_takes() -> None:
    """Planned to take little, the one step of 17 operands made torch allocate 156 GiB."""
    letters = "ijklmnopqrstuvwx"
    equation = ",".join([*("αβγ" + letter for letter in letters), letters + "ω"]) + "->αβγω"
    operands = [torch.randn(8, 5, 5, 2, dtype=torch.float64) for _ in letters]
    operands.append(torch.randn((2,) * 17, dtype=torch.float64))
    told = re.search(r"^peak +value ([\d,]+)", irk.explain(equation, *operands), re.M)[1]
    peak = most_alive(lambda: irk.einsum(equation, *operands))
    assert peak == int(told.replace(",", "")) <= 8 * 200 * 2**9 * 4


def test_cupy_7180_all_operands_in_one_step() -> None:
    """acke,bdel,abi,cdj->ijkl with the path (0, 1, 2, 3): far more than n^4 numbers."""
    n = 10
    operands = [torch.randn((n,) * order, dtype=torch.float64) for order in (4, 4, 3, 3)]
    equation, path = "acke,bdel,abi,cdj->ijkl", [(0, 1, 2, 3)]
    torch.testing.assert_close(irk.einsum(equation, *operands, path=path), torch.einsum(equation, *operands))
    assert most_alive(lambda: irk.einsum(equation, *operands, path=path)) <= 8 * 3 * n**5 < 8 * n**6


def test_pytorch_28943_a_bilinear_form_of_many_weights() -> None:
    """bxi,oij,byj->boxy: 10 GB by matmul's broadcasting, which copies x for every weight."""
    b, o, x, i = 10, 6, 16, 48
    X, Y, W = torch.randn(b, x, i), torch.randn(b, x, i), torch.randn(o, i, i)
    output, between = b * o * x * x, b * o * x * i
    value = most_alive(lambda: irk.einsum("bxi,oij,byj->boxy", X, W, Y))
    assert value <= 4 * (output + between) * 1.1
    gradients = with_gradients(lambda *f: irk.einsum("bxi,oij,byj->boxy", *f), X, W, Y)
    assert most_alive(gradients) <= 4 * (2 * output + 3 * between + 2 * X.numel() + 2 * W.numel()) * 1.1


def test_opt_einsum_254_the_small_product_first() -> None:
    """bgk,bkd,bk->bgd: "optimal" scaled the large operand, 5.7e8 multiplications; the small one takes 2.7e8."""
    shapes = ((64, 8, 4096), (64, 4096, 128), (64, 4096))
    value, gradients = multiply_adds("bgk,bkd,bk->bgd", *shapes)
    assert value == 64 * 8 * 4096 * (128 + 1) and gradients <= 2 * value


@pytest.mark.parametrize("count", [8, 32, 128])
def test_tenferro_rs_1060_gradients_of_a_chain_cost_two_values(count: int) -> None:
    """One contraction for each gradient: N^2 products for a chain of N; opt_einsum 132 asks what backward costs."""
    letters = [chr(0x4E00 + k) for k in range(count + 1)]
    equation = ",".join(a + b for a, b in itertools.pairwise(letters)) + f"->{letters[0]}{letters[-1]}"
    value, gradients = multiply_adds(equation, *[(7, 7)] * count)
    assert value == (count - 1) * 7**3 and gradients == 2 * value


def test_pytorch_60191_pairs_in_a_good_order() -> None:
    """EYX,KGE,EGK,Eo,...Ko from left to right took 6.65 s, in order 120 us."""
    equation, n = "EYX,KGE,EGK,Eo,...Ko->...YX", 24
    value, _ = multiply_adds(equation, (n, n, n), (n, n, n), (n, n, n), (n, n), (n, n, n))
    assert value <= 6 * n**4 < n**6 // 50
    operands = [torch.randn(shape, dtype=torch.float64) for shape in ((3, 4, 5), (2, 6, 3), (3, 6, 2), (3, 7))]
    operands.append(torch.randn(8, 2, 7, dtype=torch.float64))
    torch.testing.assert_close(irk.einsum(equation, *operands), torch.einsum(equation, *operands))


def test_tensor4all_rs_330_the_inner_product_of_two_trains() -> None:
    """Exponential in the number of sites until it was swept in order."""

    def cost(sites: int, bond: int = 4) -> int:
        trains = [[chr(start + k) for k in range(sites + 1)] for start in (0x4E00, 0x5E00)]
        terms, shapes = [], []
        for letters in trains:
            for site, (left, right) in enumerate(itertools.pairwise(letters)):
                terms.append(left + chr(0x6E00 + site) + right)
                shapes.append((1 if site == 0 else bond, 2, 1 if site == sites - 1 else bond))
        return multiply_adds(",".join(terms) + "->", *shapes)[0]

    assert cost(20) <= 20 * 2 * 2 * 4**3 and cost(40) <= 2.2 * cost(20)


def test_pytorch_90978_a_sampled_product_takes_what_its_entries_take() -> None:
    """sampled_addmm on the CPU formed the dense product."""
    n, k, nnz = 3000, 16, 500
    value, _ = multiply_adds("ij,jk->ik", (n, k), (k, n), nnz=nnz)
    assert value <= nnz * k + n * k < n * n * k // 1000  # and a copy of the transposed operand


def test_opt_einsum_104_all_marginals_share_their_intermediates() -> None:
    """A contraction for each marginal of a network, where one sweep back gives them all."""
    sizes = (3, 4, 5, 6, 7, 8)
    factors = [torch.rand(m, n, dtype=torch.float64) for m, n in itertools.pairwise(sizes)]
    equation = "ab,bc,cd,de,ef->"
    weights = irk.gradients(equation, *factors, cotangent=torch.ones((), dtype=torch.float64))
    joint = torch.einsum("ab,bc,cd,de,ef->abcdef", *factors)
    for k, (factor, weight) in enumerate(zip(factors, weights)):
        others = [axis for axis in range(6) if axis not in (k, k + 1)]
        torch.testing.assert_close(factor * weight, joint.sum(others))
    value, gradients = multiply_adds(equation, *itertools.pairwise(sizes))
    assert gradients <= 3 * value


def test_pytorch_minimize_39_products_with_a_hessian() -> None:
    """vectorize=True allocated 3.7 TB for the Hessian; a product with it takes a few copies of the parameters."""
    factors = [torch.randn(300, 40, dtype=torch.float64), torch.randn(40, 300, dtype=torch.float64)]
    at = torch.randint(300, (2000, 2))
    data = irk.Observed(at, torch.randn(2000, dtype=torch.float64), (300, 300))
    tangents = [torch.randn_like(factor) for factor in factors]

    def product() -> list[Tensor]:
        return irk.curvature.hvp("ij,jk->ik", *factors, tangents=tangents, observed=data)

    parameters = sum(factor.numel() for factor in factors)
    assert most_alive(product) <= 8 * 20 * parameters < 8 * parameters**2 // 1000
