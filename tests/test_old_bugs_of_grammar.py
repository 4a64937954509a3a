"""Equations that other libraries refused, misread or answered with an unclear error.

How tests are named: test_old_bugs_of_values.py.
"""

from __future__ import annotations

import itertools
from functools import reduce

import numpy as np
import pytest
import torch

import irkernels as irk

A, B = torch.randn(2, 3).double(), torch.randn(3, 4).double()


def close(found: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_pytorch_58380_the_error_names_letter_operand_and_sizes() -> None:
    """The error gave remapped shapes only: "Can someone explain to me what I am doing wrong?" """
    first, weights = torch.empty(12, 8192, 2), torch.empty(12, 8192, 2)
    with pytest.raises(ValueError, match=r"operand 1 .* size 12 for the letter 'i', operand 0 .* has 8192"):
        irk.einsum("bix,iox->box", first, weights)


def test_opt_einsum_130_the_error_names_the_operands_own_letters() -> None:
    """The operand's letters were told to be ','."""
    with pytest.raises(ValueError, match=r"operand 1 of shape \[2, 2\] has 2 dimensions, but its letters 'A' need 1"):
        irk.einsum("A,A->A", torch.zeros(2), torch.zeros(2, 2))


def test_mlx_2690_the_error_names_the_operand_below_its_ellipsis() -> None:
    """A scalar for '...i': which operand, and what does it lack?"""
    with pytest.raises(ValueError, match=r"operand 0 of shape \[\] has 0 dimensions.*'\.\.\.i' need at least 1"):
        irk.einsum("...i,ij->...j", torch.ones(6)[0], torch.ones(6, 10))


def test_tensorflow_76725_a_letter_that_only_the_output_has() -> None:
    """The process aborted."""
    with pytest.raises(ValueError, match="the output has the letter 'l'"):
        irk.einsum("ijk,jk->ijl", torch.randn(10, 20, 30), torch.randn(20, 30))


def test_pytorch_116018_mixed_dtypes_fail_whatever_is_summed() -> None:
    """i,i->i of two dtypes worked and i,i-> failed, so that a toy example passed and production did not."""
    a = torch.ones(2)
    for b, equation in itertools.product((a.double(), a.to(torch.complex128)), ("i,i->i", "i,i->")):
        with pytest.raises(TypeError, match="operand 1 is torch"):
            irk.einsum(equation, a, b)


def test_numpy_11541_sizes_that_differ_are_an_error() -> None:
    """5 and 2 for one letter: 15.0 without, an error with optimize=True."""
    with pytest.raises(ValueError, match=r"operand 1 .* size 2 for the letter 'i', operand 0 .* has 5"):
        irk.einsum("ij,i->", torch.ones(5, 1), torch.ones(2))


@pytest.mark.parametrize("path", [None, "greedy", "optimal", [(0, 1), (0, 1)]], ids=str)
def test_jax_3645_sizes_are_checked_whatever_the_path(path: object) -> None:
    """A mismatch was not caught with optimize=True."""
    pytest.importorskip("opt_einsum")
    with pytest.raises(ValueError, match=r"operand 2 .* size 4 for the letter 'k'"):
        irk.einsum("ij,jk,k->i", torch.ones(2, 3), torch.ones(3, 5), torch.ones(4), path=path)


def test_pytorch_45854_an_ellipsis_over_different_numbers_of_dimensions() -> None:
    """ellipsis must represent 1 dimensions in all terms."""
    a, b = torch.rand(2, 1, 3).double(), torch.rand(3, 2).double()
    found = irk.einsum("i...k,k...j->i...j", a, b)
    assert found.shape == (2, 1, 2)
    close(found, a @ b)


def test_pytorch_9930_a_blank_beside_an_ellipsis() -> None:
    """The blank counted as a dimension."""
    a = torch.rand(3, 4, 9, 3).double()
    close(irk.einsum("...ji,...jk ->...ik", a, a), a.mT @ a)


def test_pytorch_15671_a_letter_of_size_one_broadcasts() -> None:
    """All pairs of features of one image and five: size of dimension does not match previous size."""
    a, b = torch.randn(1, 3, 4, 2).double(), torch.randn(5, 3, 4, 2).double()
    found = irk.einsum("bijk, bilm -> bjklm", a, b)
    close(found, torch.from_numpy(np.einsum("bijk, bilm -> bjklm", a.numpy(), b.numpy())))


def test_numpy_10343_an_ellipsis_in_one_operand_and_size_one_in_the_other() -> None:
    """Size of label '%s' for operand %d does not match previous terms: a regression, its message not formatted."""
    assert irk.einsum("t...i,ti->t...", torch.ones(10, 2), torch.ones(1, 2)).tolist() == [2.0] * 10


def test_numpy_30568_an_ellipsis_that_is_summed() -> None:
    """i...->i worked with optimize=True and raised without."""
    x = torch.arange(27.0).view(3, 3, 3)
    assert irk.einsum("i...->i", x).tolist() == x.sum((1, 2)).tolist()


def test_pytorch_59969_letters_beyond_a_to_z() -> None:
    """Only lower case letters were taken."""
    close(irk.einsum("αΒ,Βж->αж", A, B), A @ B)


def test_opt_einsum_80_more_letters_than_an_alphabet_has() -> None:
    """Too many subscripts in einsum: a network of 2 x 2 tensors and some hundred letters."""
    matrices = [torch.rand(2, 2).double() for _ in range(150)]
    lists = [argument for k, matrix in enumerate(matrices) for argument in (matrix, [k, k + 1])]
    close(irk.einsum(*lists, [0, 150]), reduce(torch.matmul, matrices))


def test_opt_einsum_67_names_in_the_place_of_letters() -> None:
    """Integers for all letters of a large network confuse; edges have names."""
    found = irk.einsum(A, ["left edge", "bond"], B, ["bond", "right edge"], ["left edge", "right edge"])
    close(found, A @ B)


def test_semiring_einsum_31_lists_of_letters() -> None:
    """26 letters at most, and no way to give lists."""
    vectors = [torch.full((1,), 1.5)] * 60
    lists = [argument for k, vector in enumerate(vectors) for argument in (vector, [("variable", k)])]
    assert irk.einsum(*lists, []).item() == pytest.approx(1.5**60, rel=1e-5)


@pytest.mark.parametrize("letters", [(25, 26, 27), (31, 32, 33), (50, 51, 52), (300, 3, 99)])
def test_numpy_7741_index_numbers_from_26_on(letters: tuple[int, int, int]) -> None:
    """Numbers of 26 and more were mapped to '{|}~'; 32 stayed broken for years."""
    i, j, k = letters
    close(irk.einsum(A, [i, j], B, [j, k], [i, k]), A @ B)


def test_numpy_11938_more_than_52_letters_in_one_sum() -> None:
    """einsum_symbols ran out in tensor networks of small tensors."""
    ring = [torch.rand(2, 2).double() for _ in range(60)]
    lists = [argument for k, matrix in enumerate(ring) for argument in (matrix, [k, (k + 1) % 60])]
    close(irk.einsum(*lists, []), reduce(torch.matmul, ring).trace())


def test_numpy_18854_the_27th_index_keeps_its_place() -> None:
    """From 27 indices on 'A' was sorted before 'a': the last axis became the first."""
    x = torch.arange(6.0).view(*[1] * 25, 2, 3)
    found = irk.einsum(x, list(range(27)))
    assert found.shape == x.shape and torch.equal(found, x)


def test_opt_einsum_218_an_ellipsis_in_lists() -> None:
    """contract took them, contract_expression did not."""
    x, y = torch.randn(2, 3, 4).double(), torch.randn(2, 3).double()
    lists = (x, [0, 1, Ellipsis], y, [0, 1], [0, Ellipsis])
    expected = (x * y[..., None]).sum(1)
    close(irk.einsum(*lists), expected)
    close(irk.reference.einsum(*lists), expected)


@pytest.mark.parametrize("path", [None, "optimal", "greedy", "dp", "auto"])
def test_opt_einsum_172_a_number_among_the_operands(path: str | None) -> None:
    """Dynamic programming gave a path that contracts the number with nothing."""
    pytest.importorskip("opt_einsum")
    close(irk.einsum("ij,->ij", A, torch.tensor(2.0).double(), path=path), 2 * A)


def test_pytensor_1217_the_same_operand_twice() -> None:
    """The following variables were provided more than once; a copy was fine."""
    close(irk.einsum("ij,ij->i", A, A), A.square().sum(1))


def test_tensorly_196_a_mask_for_missing_values() -> None:
    """kruskal_to_tensor((None, factors), mask=1 - mask) raised within parafac."""
    factors = [torch.rand(n, 2).double() for n in (3, 4, 5)]
    mask = (torch.rand(3, 4, 5) > 0.3).double()
    whole = torch.einsum("ar,br,cr->abc", *factors)
    close(irk.cp_to_tensor((None, factors), mask=1 - mask), whole * (1 - mask))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_tensorly_503_results_have_the_inputs_dtype_and_device(dtype: torch.dtype) -> None:
    """partial_tucker made a tensor of its own on the CPU, random initialisations another dtype."""
    core, factors = torch.ones(2, 2, dtype=dtype), [torch.ones(n, 2, dtype=dtype) for n in (72, 27)]
    results = (
        irk.tucker_to_tensor((core, factors)),
        irk.multi_mode_dot(core, factors, modes=[0, 1]),
        irk.cp_to_tensor((None, factors)),
        irk.khatri_rao(factors),
        irk.unfolding_dot_khatri_rao(torch.ones(72, 27, dtype=dtype), (None, factors), 0),
    )
    assert {result.dtype for result in results} == {dtype} and {str(result.device) for result in results} == {"cpu"}
    meta = irk.einsum("ij,jk->ik", torch.empty(2, 3, device="meta"), torch.empty(3, 4, device="meta"))
    assert meta.device.type == "meta" and meta.shape == (2, 4)
