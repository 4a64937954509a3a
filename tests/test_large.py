"""Beyond 32 bits: elements of operands and outputs, extents, trials about 65,536, and what passes 2^63.

Small tests place few numbers far apart in memory that is never written. IRKERNELS_LARGE=1 adds those that fill
gigabytes.
"""

from __future__ import annotations

import os

import pytest
import torch

import irkernels as irk

BEYOND = 2**31 + 64  # elements
filling = pytest.mark.skipif(not os.environ.get("IRKERNELS_LARGE"), reason="IRKERNELS_LARGE=1 fills 9 GB of memory")


def far_apart(rows: int, columns: int, dtype: torch.dtype, seed: int) -> torch.Tensor:
    """Random [rows, columns], the rows 2^31 + 64 elements apart."""
    try:
        storage = torch.empty((rows - 1) * BEYOND + columns, dtype=dtype)
    except RuntimeError as error:
        pytest.skip(f"the system grants no such address space: {error}")
    spread = storage.as_strided((rows, columns), (BEYOND, 1))
    spread.copy_(torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed)))
    return spread


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_operands_reach_beyond_two_to_the_31_elements(dtype: torch.dtype) -> None:
    A, B = far_apart(2, 5, dtype, 0), torch.randn(5, 3, generator=torch.Generator().manual_seed(1)).to(dtype)
    near = A.clone(memory_format=torch.contiguous_format)
    for verb in (
        lambda a: irk.einsum("ij,jk->ik", a, B),
        lambda a: irk.entries("ij,jk->ik", a, B, at=torch.tensor([[1, 2], [0, 0], [1, 0]])),
        lambda a: torch.cat([g.flatten() for g in irk.gradients("ij,jk->ik", a, B,
                                                                cotangent=torch.ones(2, 3, dtype=dtype))]),
    ):
        assert torch.equal(verb(A), verb(near))


def test_extents_beyond_two_to_the_31_are_sampled_and_trained() -> None:
    wide = torch.randn(1, 3).expand(BEYOND, 3)  # no memory of its own
    B = torch.randn(3, 4, requires_grad=True)
    at = torch.tensor([[BEYOND - 1, 3], [5, 0], [2**31, 3]])
    observed = irk.Observed(at, torch.tensor([1.0, 2.0, 3.0]), (BEYOND, 4))
    row = wide[0]
    torch.testing.assert_close(irk.entries("ij,jk->ik", wide, B, at=at), (row @ B)[at[:, 1]])
    loss = irk.completion_loss("ij,jk->ik", wide, B, observed=observed)
    expected = ((row @ B)[at[:, 1]] - observed.values).square().mean()
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(*(torch.autograd.grad(each, B)[0] for each in (loss, expected)))


@pytest.mark.parametrize("trials", [65_535, 65_536, 65_537])
def test_trials_about_two_to_the_16(trials: int) -> None:
    draw = torch.Generator().manual_seed(trials)
    A, B, G = (torch.randn(trials, 2, 2, generator=draw) for _ in range(3))
    with irk.deterministic():
        value = irk.einsum("...ij,...jk->...ik", A, B)
        found = irk.gradients("...ij,...jk->...ik", A, B, cotangent=G)
        for trial in (0, 32_768, trials - 1):
            alone = irk.einsum("ij,jk->ik", A[trial], B[trial])
            assert torch.equal(value[trial], alone)
    torch.testing.assert_close(value, A @ B)
    torch.testing.assert_close(found[0], G @ B.mT)
    torch.testing.assert_close(found[1], A.mT @ G)


@pytest.mark.parametrize("trials", [65_535, 65_537])
def test_training_trials_about_two_to_the_16(trials: int) -> None:
    observed = irk.Observed([[0, 1], [1, 0], [1, 1]], torch.tensor([1.0, 1.0, 0.0]), (2, 2))
    factors = [torch.randn(trials, 2, 2, generator=torch.Generator().manual_seed(k)) for k in range(2)]
    model = irk.nn.Product("ij,jk->ik", *factors, trials=trials)
    irk.fit(model, observed, torch.optim.SGD(model.parameters(), lr=0.1), steps=3, progress=False)
    for trial in (0, trials - 1):
        alone = irk.nn.Product("ij,jk->ik", *(factor[trial] for factor in factors))
        irk.fit(alone, observed, torch.optim.SGD(alone.parameters(), lr=0.1), steps=3, progress=False)
        for one, many in zip(alone.parameters(), model.parameters(), strict=True):
            assert torch.equal(one, many[trial])


def test_products_of_extents_beyond_two_to_the_63_are_errors() -> None:
    wide = torch.ones(1).expand(2**22)
    with pytest.raises(OverflowError, match="more than 2\\^63 elements"):
        irk.einsum("i,j,k->ijk", wide, wide, wide)
    with pytest.raises(OverflowError, match="more than 2\\^63"):
        irk.explain("i,j,k->ijk", (2**22,), (2**22,), (2**22,))
    with pytest.raises(OverflowError, match="more than 2\\^63 multiply-adds"):
        irk.explain("ij,jk,kl->il", (2**30, 2**30), (2**30, 2**30), (2**30, 2**30))


def test_entries_of_a_product_with_more_than_two_to_the_63_elements() -> None:
    """No entry's number is ever formed: coordinates stay columns."""
    factor = torch.arange(1.0, 3.0).expand(2**40, 2)
    at = torch.tensor([[2**40 - 1, 5, 7], [0, 2**39, 2**40 - 1]])
    torch.testing.assert_close(irk.entries("ir,jr,kr->ijk", factor, factor, factor, at=at), torch.tensor([9.0, 9.0]))


@pytest.mark.parametrize("weighted", [False, True])
def test_many_observations_are_arranged_without_changing_a_gradient(monkeypatch, weighted: bool) -> None:
    draw = torch.Generator().manual_seed(0)
    at = torch.stack([torch.randint(n, (400,), generator=draw) for n in (30, 20)], 1)
    weights = torch.rand(400, generator=draw) if weighted else None
    observed = irk.Observed(at, torch.randn(400, generator=draw), (30, 20), weights)
    ends = []
    for many in (10**9, 1):
        monkeypatch.setattr("irkernels._arrangement._MANY", many)
        model = irk.nn.MatrixChain(30, 20, 3, hidden=5, init_scale=1.0, seed=0)
        irk.fit(model, observed, torch.optim.SGD(model.parameters(), lr=0.1), steps=10, loss="half_sse", progress=False)
        ends.append([factor.detach().clone() for factor in model.parameters()])
    for few, many in zip(*ends, strict=True):
        assert torch.equal(few, many)


def _check(found: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor) -> None:
    for begin in range(0, len(rows), 4096):
        assert torch.equal(found[begin : begin + 4096], rows[begin : begin + 4096, None] * columns)


@filling
def test_an_output_of_more_than_two_to_the_31_elements() -> None:
    rows, columns = torch.randn(65_537), torch.randn(32_769)
    _check(irk.einsum("i,j->ij", rows, columns), rows, columns)


@filling
def test_an_operand_and_its_gradient_of_more_than_two_to_the_31_elements() -> None:
    A = torch.empty(65_537, 32_769, dtype=torch.bfloat16).fill_(0.5)
    A[-1] = 0.25
    with irk.deterministic():  # 4.3 GB, and as much again twice in float32
        value = irk.einsum("ij,j->i", A, torch.ones(32_769, dtype=torch.bfloat16))
    expected = torch.full((65_537,), 0.5 * 32_769)
    expected[-1] = 0.25 * 32_769
    assert torch.equal(value, expected.to(torch.bfloat16))
