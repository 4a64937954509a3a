"""Wrong numbers that other libraries gave: the reporter's program, our function in the place of theirs.

test_<repository>_<number of the issue or pull request>_<what was asked for>; here as in all of test_old_bugs_*.py.
"""

from __future__ import annotations

import itertools
import math
import re
from functools import reduce
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import irkernels as irk

HALF = [torch.float16, torch.bfloat16]


def close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def rounded_once(found: Tensor, equation: str, *operands: Tensor) -> bool:
    """Whether it is the product in float64, but for half a last place and what float32 sums differ by."""
    exact = torch.einsum(equation, *(operand.double() for operand in operands))
    spacing = torch.finfo(found.dtype).eps * 2 ** exact.abs().log2().floor()
    return bool(((found.double() - exact).abs() <= 0.51 * spacing).all())


def test_pytorch_25241_more_than_65535_half_matrices() -> None:
    """bmm in float16: from matrix 65,535 on all zeros."""
    a, b = torch.rand(65537, 8, 16).half(), torch.rand(65537, 16, 8).half()
    found = irk.einsum("bij,bjk->bik", a, b)
    last = slice(65533, None)
    assert rounded_once(found[last], "bij,bjk->bik", a[last], b[last])
    assert torch.allclose(found.float(), torch.bmm(a.float(), b.float()), atol=1e-2)


def test_genbmm_12_a_hundred_thousand_matrices() -> None:
    """Invalid configuration of a launch for 100,000 batches; the product is one in log space."""
    a, b = torch.rand(100_000, 2, 2).double(), torch.rand(100_000, 2, 2).double()
    found = irk.log_einsum("bij,bjk->bik", a, b)
    torch.testing.assert_close(found.logabs, (a @ b).log(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", HALF)
def test_pytorch_59331_half_bmm_is_a_loop_of_mm(dtype: torch.dtype) -> None:
    """512 products of 8x64 and 64x8: bmm differed from mm in a loop; with 256 it did not."""
    a, b = torch.rand(512, 8, 64).to(dtype), torch.rand(512, 64, 8).to(dtype)
    loop = torch.stack([irk.einsum("ij,jk->ik", x, y) for x, y in zip(a, b)])
    assert torch.equal(irk.einsum("bij,bjk->bik", a, b), loop)
    assert rounded_once(loop, "bij,bjk->bik", a, b)


@pytest.mark.parametrize("rows", [1, 128, 384, 512])
def test_pytorch_47154_bmm_is_a_loop_of_mm_at_any_size(rows: int) -> None:
    """Differences of 512 to 1792 between bmm and mm, the larger the fewer rows there are."""
    x, y = torch.randn(4, 512, 64)[:, :rows] * 1e4, torch.randn(4, 64, 128) * 1e4
    loop = torch.stack([irk.einsum("ij,jk->ik", a, b) for a, b in zip(x, y)])
    assert torch.equal(irk.einsum("bij,bjk->bik", x, y), loop)
    torch.testing.assert_close(loop.double(), x.double() @ y.double(), rtol=1e-5, atol=3e3)


@pytest.mark.parametrize("dtype", HALF)
def test_pytorch_16346_half_matrix_times_vector(dtype: torch.dtype) -> None:
    """mv and mm of half tensors were far from the float32 results."""
    matrix, vector = torch.rand(300, 700).to(dtype), torch.rand(700).to(dtype)
    assert rounded_once(irk.einsum("ij,j->i", matrix, vector), "ij,j->i", matrix, vector)


def test_pytorch_62218_inner_product_of_float32() -> None:
    """einsum of [1, 2] with itself was 0 in float32 and 5 in float64."""
    for dtype in (torch.float32, torch.float64):
        x = torch.tensor([1.0, 2.0], dtype=dtype)
        assert irk.einsum("i, i -> ", x, x).item() == 5


def test_jittor_18018_inner_product_of_bfloat16() -> None:
    """1*4 + 2*5 + 3*6 in bfloat16 gave 1e29 or NaN."""
    a, b = (torch.tensor(x, dtype=torch.bfloat16) for x in ([1.0, 2.0, 3.0], [4.0, 5.0, 6.0]))
    assert irk.einsum("i,i->", a, b).item() == 32


def test_pytorch_171034_infinities_of_one_sign_are_no_nan() -> None:
    """A bfloat16 row of inf, 0, -inf times 0.79, 0.2, -0.2 is inf; a CPU gave NaN."""
    a = torch.ones(9, 3, dtype=torch.bfloat16)
    a[8] = torch.tensor([math.inf, 0.0, -math.inf])
    b = torch.ones(3, 5, dtype=torch.bfloat16)
    b[:, 0] = torch.tensor([0.7891, 0.2041, -0.1982])
    found = irk.einsum("ij,jk->ik", a, b)
    assert found[8, 0] == math.inf and bool(found[8, 1:].isnan().all()) and bool(found[:8].isfinite().all())


def test_pytorch_65416_zeros_where_the_product_has_none() -> None:
    """bmm of 4x4 matrices was all zeros on one device."""
    a = torch.tensor([[0, -143.2371, 0, 0], [-143.2371, 0, 0, 0], [0, 0, -1, 86.5423], [0, 0, 0, 1]])[None]
    b = torch.tensor([[-0.5] * 4, [-0.5] * 4, [-0.5, -0.498, -0.4961, -0.4941], [1.0] * 4])[None]
    expected = [[71.6186] * 4, [71.6186] * 4, [87.0423, 87.0403, 87.0384, 87.0364], [1.0] * 4]
    found = irk.einsum("bij,bjk->bik", a, b)[0]
    torch.testing.assert_close(found, torch.tensor(expected), rtol=0, atol=6e-5)


def test_pytorch_136299_a_permuted_half_operand() -> None:
    """Of a [5, 64, 128] tensor permuted to [64, 128, 5] the products of ones ignored their factor."""
    a, b = torch.ones(64, 1, 128).half(), torch.ones(5, 64, 128).half().permute(1, 2, 0)
    for factor in (0.1, 0.2):
        scale = torch.tensor(factor).half()
        found = irk.einsum(",bij,bjk->bik", scale, a, b)
        assert torch.equal(found, (scale.double() * 128).half().expand(64, 1, 5))


def test_pytorch_33467_an_empty_sum_is_zero_and_is_added_to() -> None:
    """baddbmm over an inner dimension of size 0 forgot what it is added to."""
    a, b, c = torch.zeros(2, 1, 0), torch.zeros(2, 0, 1), torch.ones(2, 1, 1)
    assert torch.equal(irk.einsum("bij,bjk->bik", a, b) + c, c)


def test_pytorch_37628_an_extent_of_zero() -> None:
    """einsum of [0, 3] and [3]: shape '[1, 1, 3]' is invalid for input of size 0."""
    assert irk.einsum("ij,j", torch.randn(0, 3), torch.randn(3)).shape == (0,)


def test_pytorch_111757_an_extent_of_zero_among_three_operands() -> None:
    """Two operands worked, of three the planner divided by zero."""
    y = torch.ones(1)
    assert irk.einsum("ab,a->b", torch.ones(1, 0), y).shape == (0,)
    assert irk.einsum("abc,a,b->c", torch.ones(1, 1, 0), y, y).shape == (0,)


def test_pytorch_42418_a_view_whose_elements_overlap() -> None:
    """Segments of a signal, cut by as_strided without a copy: an invalid value for cuBLAS."""
    x = torch.tensor([[1.0, 2, 3], [4.0, 5, 6]]).double()
    c = torch.as_strided(x, (2, 2, 2), (3, 1, 1))
    assert torch.equal(irk.einsum("...ab,...bc->...ac", c, c), c.clone() @ c.clone())


@pytest.mark.parametrize("k", [239, 240])
def test_libxsmm_51_rows_longer_than_the_matrix(k: int) -> None:
    """64 x 239 x 64 with leading dimension 240 was wrong, 64 x 240 x 64 right."""
    a, b = torch.randn(64, 240).double(), torch.randn(240, 240).double()
    a, b = a[:, :k], b[:k, :64]
    close(irk.einsum("ij,jk->ik", a, b), a.contiguous() @ b.contiguous())
    found = irk.gradients("ij,jk->ik", a, b, cotangent=torch.ones(64, 128).double()[:, ::2])
    close(found[0], b.sum(1).expand(64, k))
    close(found[1], a.sum(0)[:, None].expand(k, 64))


def test_libxsmm_187_two_by_two_from_an_inner_extent_of_four() -> None:
    """A batched call of m = n = 2, k = 4 was wrong."""
    a, b = torch.arange(8.0).view(2, 4), torch.arange(8.0).view(4, 2)
    assert irk.multi_dot([a, b]).tolist() == [[28, 34], [76, 98]]


def test_libxsmm_159_three_by_two_times_a_vector() -> None:
    """All three entries were 0."""
    found = irk.multi_dot([torch.tensor([[1.0, 2], [3, 5], [7, 11]]), torch.tensor([13.0, 17])])
    assert found.tolist() == [1 * 13 + 2 * 17, 3 * 13 + 5 * 17, 7 * 13 + 11 * 17]


def test_cuquantum_201_bonds_of_extent_one() -> None:
    """A network of [2, 1, 1] and [2, 1, 1, 1] tensors crashed."""
    cores = [torch.randn(2, 1, 1).double(), *(torch.randn(2, 1, 1, 1).double() for _ in range(4))]
    equation = "aij,bikl,cjkm,dlno,emno->abcde"
    expected = torch.einsum("a,b,c,d,e->abcde", *(core.flatten() for core in cores))
    close(irk.einsum(equation, *cores), expected)
    for found, each in zip(irk.gradients(equation, *cores, cotangent=expected), cores):
        close((found * each).sum(), expected.square().sum())  # homogeneous of degree 1 in every core


def test_tinygrad_18207_a_diagonal_that_is_not_at_the_end() -> None:
    """iij->ij came out transposed, iij->i summed the wrong axis, iij,j->ij raised."""
    t = torch.arange(16.0).view(2, 2, 4)
    diagonal = [[0, 1, 2, 3], [12, 13, 14, 15]]
    assert irk.einsum("iij->ij", t).tolist() == diagonal
    assert irk.einsum("iij->i", t).tolist() == [6, 54]
    assert irk.einsum("iij,j->ij", t, torch.ones(4)).tolist() == diagonal


def test_pytorch_49189_a_diagonal_before_an_ellipsis() -> None:
    """The dimensions under the dots were counted after the diagonal had been taken."""
    t = torch.randn(3, 4, 5, 3).double()
    close(irk.einsum("i...i->...i", t), t.diagonal(dim1=0, dim2=3))
    close(irk.einsum("ii...->...i", t.movedim(3, 1)), t.diagonal(dim1=0, dim2=3))


def test_numpy_10930_broadcasting_that_a_blas_call_does_not_know() -> None:
    """With optimize=True einsum("i, i") of sizes 2 and 1 went to tensordot and failed; all ones hid it."""
    assert irk.einsum("i, i", torch.zeros(2), torch.zeros(1)).item() == 0
    p, q = torch.ones(1, 5) / 2, torch.ones(5, 5) / 2
    assert irk.einsum("...ij,...jk->...ik", p, q).tolist() == [[1.25] * 5]
    assert irk.einsum("ij,ij->j", p, q).tolist() == [1.25] * 5


def test_numpy_11308_two_letters_alone_in_one_operand() -> None:
    """optimize=True: KeyError 'b'; and one order of five operands gave another number than the others."""
    a = torch.arange(64.0).view(2, 4, 8)
    assert irk.einsum("obk,ijk->ioj", a, a).tolist() == np.einsum("obk,ijk->ioj", a.numpy(), a.numpy()).tolist()
    pytest.importorskip("opt_einsum")
    for path in (None, "optimal", "greedy"):
        found = irk.einsum("ijk,ilm,njm,nlk,abc->", *[torch.ones(2, 4, 8)] * 5, path=path)
        assert found.item() == 262144


def test_opt_einsum_255_a_number_as_the_result() -> None:
    """A scalar result could not be written where m = 7 met n = 500."""
    a, b, c = (torch.rand(shape).double() for shape in ((7, 7), (500, 7), (500, 7)))
    close(irk.einsum("CB,iB,iC->", a, b, c), (c @ a * b).sum())
    close(irk.einsum("iB,iB->", b, c), (b * c).sum())


def test_tensorly_307_dot_of_two_tensors() -> None:
    """dot of [6, 7, 4, 3] and [6, 9, 3, 2] raised where NumPy sums the last and the second to last mode."""
    a, b = torch.randn(6, 7, 4, 3).double(), torch.randn(6, 9, 3, 2).double()
    close(irk.tensordot(a, b, ([3], [2])), torch.from_numpy(np.dot(a.numpy(), b.numpy())))


@pytest.mark.parametrize("entry, count", [(10.0, 308), (10.0, 309), (0.1, 162), (0.1, 324)])
def test_mpnum_34_the_norm_of_a_long_product(entry: float, count: int) -> None:
    """a / norm(a) was 0, NaN or inf: the norm of 309 tens is beyond float64, its square earlier still."""
    sites = [torch.tensor([entry], dtype=torch.float64)] * count
    letters = [chr(0x4E00 + site) for site in range(count)]
    equation = ",".join(letters * 2) + "->"
    squared = irk.log_einsum(equation, *sites, *sites)
    assert squared.sign.item() == 1
    assert squared.logabs.item() == pytest.approx(2 * count * math.log(entry), rel=1e-14)


def test_itensors_820_the_norm_of_a_long_train() -> None:
    """norm of a 1000-site state scaled by 2 at every site was NaN; its logarithm moves by 1000 log 2."""
    count, bond = 300, 3
    cores = [torch.randn(bond, 2, bond).double() / 2 for _ in range(count)]
    scaled = [32 * core for core in cores]

    def log_norm(train: list[Tensor]) -> irk.logscaled.LogScaled:
        transfers = [irk.einsum("asb,csd->acbd", core, core).reshape(bond**2, bond**2) for core in train]
        letters = [chr(0x4E00 + site) for site in range(count + 1)]
        chain = ",".join(left + right for left, right in itertools.pairwise(letters))
        return irk.log_einsum(f"{chain}->", *transfers)

    assert reduce(torch.matmul, [irk.einsum("asb,csd->acbd", c, c).reshape(9, 9) for c in scaled]).isnan().any()
    plain, large = log_norm(cores), log_norm(scaled)
    assert plain.sign.item() == large.sign.item() == 1
    assert (large.logabs - plain.logabs).item() == pytest.approx(2 * count * math.log(32), rel=1e-12)


def test_itensors_944_the_logarithm_of_a_negative_product() -> None:
    """exp(loginner()) was the absolute value of a negative expectation."""
    state = torch.tensor([1.0, 2.0], dtype=torch.float64)
    operator = torch.tensor([[-1e300, 0.0], [0.0, -2e300]], dtype=torch.float64)
    found = irk.log_einsum("i,ij,j->", state, operator, state)
    assert found.sign.item() == -1 and found.logabs.item() == pytest.approx(math.log(9) + 300 * math.log(10), rel=1e-14)


def test_numpy_8719_multi_dot_of_stacks() -> None:
    """Single matrices only; stacks broadcast as matmul's do, and vectors at the ends take their axis away."""
    a, b, c, d = (torch.randn(shape).double() for shape in ((2,), (2, 2, 6), (3, 1, 6, 2), (2,)))
    close(irk.multi_dot([a, b, c, d]), (a[None] @ b @ c @ d[:, None])[..., 0, 0])
    close(irk.multi_dot([b, c]), b @ c)
    close(irk.multi_dot([a, b[0], c[0, 0], d]), a @ b[0] @ c[0, 0] @ d)


def test_the_collection_is_large() -> None:
    """At least forty issues, each once."""
    texts = [path.read_text() for path in sorted(Path(__file__).parent.glob("test_old_bugs_of_*.py"))]
    issues = re.findall(r"^def test_([a-z_0-9]+?_\d+)_", "\n".join(texts), re.M)
    assert len(issues) == len(set(issues)) >= 40
