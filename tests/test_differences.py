"""Every row of irkernels/docs/einsum-differences.md is shown by a test; here are those that have no other place."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

import irkernels as irk

TABLE = Path(irk.__file__).parent / "docs" / "einsum-differences.md"
A, B, C = torch.randn(2, 3), torch.randn(3, 4), torch.randn(4, 5)


def test_every_row_names_a_test_that_exists() -> None:
    if not TABLE.exists():
        pytest.skip("an installed package has no docs folder")
    rows = [line for line in TABLE.read_text().splitlines() if line.startswith("| ")][1:]
    assert len(rows) > 8
    for row in rows:
        shown = re.search(r"`(test_\w+\.py)::(test_\w+)` \|$", row)
        assert shown, f"no test is named: {row}"
        assert f"def {shown[2]}(" in (Path(__file__).parent / shown[1]).read_text(), row


@pytest.mark.parametrize("equation", ["ij,jk - > ik", "ij , j\tk\n-> ik", ". . .ij,jk->...ik"])
def test_blanks(verbs, equation: str) -> None:
    with torch.backends.opt_einsum.flags(enabled=False), pytest.raises(RuntimeError):
        torch.einsum(equation, A, B)
    torch.testing.assert_close(verbs.einsum(equation, A, B), A @ B)


def test_order_of_an_implicit_output(verbs) -> None:
    """Letters that stand once, in their order: integers as integers, also beyond 26 of them."""
    vectors = [torch.ones(letter + 1 if letter in (0, 26) else 1) for letter in range(27)]
    lists = [argument for letter, vector in enumerate(vectors) for argument in (vector, [letter])]
    expected = torch.einsum(*lists)
    assert expected.shape == (*[1] * 26, 27)
    torch.testing.assert_close(verbs.einsum(*lists), expected)
    opt_einsum = pytest.importorskip("opt_einsum")
    assert opt_einsum.contract(*lists).shape == (27, *[1] * 26)


@pytest.mark.parametrize("equation, operand", [("ij->ji", A), ("ij->ij", A), ("ii->i", A[:, :2]), ("...->...", A)])
def test_result_is_new_and_contiguous(equation: str, operand: torch.Tensor) -> None:
    shared = torch.einsum(equation, operand)
    found = irk.einsum(equation, operand)
    assert shared.data_ptr() == operand.data_ptr() != found.data_ptr() and found.is_contiguous()
    assert torch.equal(found, shared)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_types_are_rounded_once(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    factors = [torch.randn(8, 8, generator=generator).to(dtype) for _ in range(4)]
    once = torch.linalg.multi_dot([factor.double() for factor in factors]).to(dtype)
    equation = "ij,jk,kl,lm->im"
    assert torch.equal(irk.einsum(equation, *factors), once)
    assert not torch.equal(torch.einsum(equation, *factors), once)


def test_errors_are_value_and_type_errors(verbs) -> None:
    for operands, error in (((A, C), ValueError), ((A, B.double()), TypeError)):
        with pytest.raises(RuntimeError):
            torch.einsum("ij,jk->ik", *operands)
        with pytest.raises(error, match="operand 1"):
            verbs.einsum("ij,jk->ik", *operands)
