"""Numbers that changed with batch size, thread count or chance in other libraries.

How tests are named: test_old_bugs_of_values.py.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import irkernels as irk


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("equation", ["bij,bjk->bik", "bij,kj->bik"])
def test_pytorch_28503_half_products_in_a_batch_and_alone(equation: str, dtype: torch.dtype) -> None:
    """Half-precision batched products differed from single ones."""
    a = torch.randn(9, 6, 40).to(dtype)
    b = torch.randn(9, 40, 7).to(dtype) if "bjk" in equation else torch.randn(7, 40).to(dtype)
    alone = equation.replace("b", "")
    for trial, value in enumerate(irk.einsum(equation, a, b)):
        assert torch.equal(value, irk.einsum(alone, a[trial], b[trial] if "bjk" in equation else b))


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_pytorch_87355_rows_of_a_larger_batch(dtype: torch.dtype) -> None:
    """10 rows through a layer of 768, and the same 10 of 20: different outputs."""
    weight, x, y = (torch.randn(n, 768).to(dtype) for n in (768, 10, 10))
    alone, among = (irk.einsum("bi,oi->bo", rows, weight) for rows in (x, torch.cat([x, y])))
    assert torch.equal(alone, among[:10])


def test_pytorch_45422_batches_of_2_and_of_50() -> None:
    """matmul in batches of 2 and of 50 matrices differed."""
    x, a = torch.rand(100, 30, 8), torch.randn(8, 20)
    whole = irk.einsum("bij,jk->bik", x, a)
    for size in (1, 2, 7, 50):
        assert torch.equal(torch.cat([irk.einsum("bij,jk->bik", part, a) for part in x.split(size)]), whole)


def test_pytorch_51276_one_row_and_two() -> None:
    """Of 90 numbers in float64, all ones times q: the first row depended on whether there is a second."""
    q = torch.rand(128, 90, dtype=torch.float64)
    one, two = (irk.einsum("ij,kj->ik", torch.ones(rows, 90, dtype=torch.float64), q) for rows in (1, 2))
    assert torch.equal(one[0], two[0]) and torch.equal(two[0], two[1])


def test_pytorch_128062_the_first_row_at_any_size() -> None:
    """(a @ b)[0:1] and a[0:1] @ b differed from a size of 16 on, deterministic algorithms or not."""
    for n in range(2, 66):
        a, b = torch.rand(n + 1, n), torch.rand(n, n)
        assert torch.equal(irk.einsum("ij,jk->ik", a, b)[:1], irk.einsum("ij,jk->ik", a[:1], b)), n


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_pytorch_76528_einsum_in_a_batch_and_alone(dtype: torch.dtype) -> None:
    """float32 results of one einsum differed between batch and no batch; open since 2022."""
    factors = [torch.randn(5, m, n).to(dtype) for m, n in ((13, 21), (21, 34), (34, 3))]
    together = irk.einsum("bij,bjk,bkl->bil", *factors)
    gradients = irk.gradients("bij,bjk,bkl->bil", *factors, cotangent=together)
    for trial in range(5):
        own = [factor[trial] for factor in factors]
        assert torch.equal(irk.einsum("ij,jk,kl->il", *own), together[trial])
        alone = irk.gradients("ij,jk,kl->il", *own, cotangent=together[trial])
        assert all(torch.equal(mine[trial], theirs) for mine, theirs in zip(gradients, alone))


def test_pytorch_88718_one_thread_and_six(threads: Callable[[int], None]) -> None:
    """A layer from 56 to 444 gave other bits with another set_num_threads."""
    weight, x = torch.randn(444, 56), torch.randn(56)
    found = []
    for count in (1, 2, 3, 6):
        threads(count)
        found.append(irk.einsum("oi,i->o", weight, x))
    assert all(torch.equal(each, found[0]) for each in found)


def test_pytorch_2201_training_with_any_number_of_threads(threads: Callable[[int], None]) -> None:
    """The same seeds on machines of different sizes learned different models."""
    data = irk.Observed(torch.randint(30, (200, 2)), torch.randn(200), (30, 30))

    def trained(count: int) -> Tensor:
        threads(count)
        model = irk.nn.MatrixChain(30, 30, 3, init_scale=0.1, seed=3)
        irk.fit(model, data, torch.optim.Adam(model.parameters(), lr=0.01), steps=60, progress=False)
        return model().detach()

    first = trained(1)
    assert all(torch.equal(trained(count), first) for count in (2, 3, 4))


@pytest.mark.parametrize("n", [120, 161])
def test_openblas_2319_four_threads(n: int, threads: Callable[[int], None]) -> None:
    """Wrong with exactly four threads, right with fewer and with more."""
    a, b = torch.randn(n, n + 1, dtype=torch.float64), torch.randn(n + 1, n + 2, dtype=torch.float64)
    for count in (1, 2, 3, 4, 5, 8):
        threads(count)
        torch.testing.assert_close(irk.einsum("ij,jk->ik", a, b), a @ b, rtol=1e-12, atol=1e-11)


def test_causal_conv1d_80_gradients_without_atomics(threads: Callable[[int], None]) -> None:
    """atomicAdd in backward: two runs are two results. Here many entries meet in the same row."""
    at = torch.randint(4, (3000, 2))
    factors = [torch.randn(4, 30).requires_grad_(), torch.randn(30, 4).requires_grad_()]
    G = torch.randn(3000) * 10 ** torch.randn(3000)
    runs = []
    for count in (1, 2, 4, 2, 1):
        threads(count)
        runs.append(torch.autograd.grad(irk.entries("ij,jk->ik", *factors, at=at), factors, G))
    assert all(torch.equal(mine, first) for run in runs for mine, first in zip(run, runs[0]))


@pytest.mark.usefixtures("blas_that_pays")
def test_flash_attention_1766_the_flag_for_determinism_does_something() -> None:
    """The option was lost in a rewrite, and nobody saw: own kernels only, also where BLAS would be taken."""
    shapes = ((900, 900), (900, 900))
    assert "matmul" in irk.explain("ij,jk->ik", *shapes)
    with irk.deterministic():
        assert "matmul" not in irk.explain("ij,jk->ik", *shapes)
    assert "matmul" in irk.explain("ij,jk->ik", *shapes)
    before = torch.are_deterministic_algorithms_enabled()
    try:
        torch.use_deterministic_algorithms(True)
        assert "matmul" not in irk.explain("ij,jk->ik", *shapes)
    finally:
        torch.use_deterministic_algorithms(before)
