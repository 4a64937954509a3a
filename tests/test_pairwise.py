"""`tensordot` and `transpose`, and irkernels as a backend of opt_einsum by its name."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import irkernels as irk

A = torch.randn(2, 3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
B = torch.randn(4, 3, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
DIMS = [0, ([2], [0]), ([2, 1], [0, 1]), ([-1, 1], [-3, 1]), ((1,), (1,)), ([], []), torch.tensor([[2, 1], [0, 1]])]


@pytest.mark.parametrize("dims", DIMS, ids=str)
def test_tensordot_is_torchs(dims) -> None:
    torch.testing.assert_close(irk.tensordot(A, B, dims), torch.tensordot(A, B, dims))


@pytest.mark.parametrize("axes", [0, 1, (2, 0), (1, 1), ((2, 1), (0, 1)), [[2], [0]]], ids=str)
def test_tensordot_is_numpys(axes) -> None:
    expected = torch.from_numpy(np.tensordot(A.numpy(), B.numpy(), axes=axes))
    torch.testing.assert_close(irk.tensordot(A, B, axes=axes), expected)


def test_tensordot_by_default_sums_two() -> None:
    other = torch.randn(3, 4, 5, dtype=torch.float64)
    torch.testing.assert_close(irk.tensordot(A, other), torch.tensordot(A, other))
    torch.testing.assert_close(irk.tensordot(A[:, :1], other), torch.tensordot(A[:, :1], other))  # size 1 is repeated


def test_both_are_differentiable() -> None:
    a, b = A[:, :2, :2].clone().requires_grad_(), B[:2, :2].clone().requires_grad_()
    pair = lambda a, b: irk.transpose(irk.tensordot(a, b, ([2, 1], [0, 1])), (1, 0))  # noqa: E731
    assert torch.autograd.gradcheck(pair, (a, b)) and torch.autograd.gradgradcheck(pair, (a, b))


def test_transpose_is_numpys() -> None:
    for axes in (None, (2, 0, 1), [0, -1, 1]):
        expected = torch.from_numpy(np.transpose(A.numpy(), axes))
        torch.testing.assert_close(irk.transpose(A, axes), expected)
    assert irk.transpose(A).data_ptr() == A.data_ptr()  # a view


# matrix products, outer products, traces, Hadamard products, batches, broadcasts, letters beyond a-z
EQUATIONS = {
    "ab,bc,cd->ad": ((2, 3), (3, 4), (4, 5)),
    "ab,cd->dcba": ((2, 3), (4, 5)),
    "abc,bca->": ((2, 3, 4), (3, 4, 2)),
    "abc,dbe->ceda": ((2, 3, 4), (5, 3, 6)),
    "ab,ab,ab->ab": ((2, 3), (2, 3), (2, 3)),
    "zab,zbc,zc->za": ((5, 2, 3), (5, 3, 4), (5, 4)),
    "aab,bc->c": ((2, 2, 3), (3, 4)),
    "...ab,bc->...c": ((7, 2, 3), (3, 4)),
    "αβ,βγ,γδ->δα": ((2, 3), (3, 4), (4, 5)),
    "a,->a": ((2,), ()),
}


@pytest.mark.parametrize("equation", EQUATIONS)
def test_backend_of_opt_einsum_by_name(equation: str) -> None:
    opt_einsum = pytest.importorskip("opt_einsum")
    operands = [torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in EQUATIONS[equation]]
    expression = opt_einsum.contract_expression(equation, *EQUATIONS[equation])
    expected = opt_einsum.contract(equation, *operands, backend="torch")
    exact = torch.autograd.grad(expected.square().sum(), operands)
    for found in (
        opt_einsum.contract(equation, *operands, backend="irkernels"),
        expression(*operands, backend="irkernels"),
    ):
        torch.testing.assert_close(found, expected)
        torch.testing.assert_close(torch.autograd.grad(found.square().sum(), operands), exact)


def test_backend_calls_are_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """All three functions are asked for, and found at the top of the package."""
    dispatch = pytest.importorskip("opt_einsum.backends.dispatch")
    import opt_einsum

    called = []
    for name in ("einsum", "tensordot", "transpose"):
        ours = getattr(irk, name)
        monkeypatch.setitem(
            dispatch._cached_funcs,
            (name, "irkernels"),
            lambda *a, _f=ours, _n=name, **k: (called.append(_n), _f(*a, **k))[1],
        )
    for equation, shapes in EQUATIONS.items():
        opt_einsum.contract(equation, *map(torch.ones, shapes), backend="irkernels")
    assert set(called) == {"einsum", "tensordot", "transpose"}


def test_backend_has_an_answer_for_arrays() -> None:
    opt_einsum = pytest.importorskip("opt_einsum")
    with pytest.raises(TypeError, match=r"operand \d must be a torch.Tensor, got ndarray .*torch\.from_numpy"):
        opt_einsum.contract("ab,bc->ac", np.ones((2, 3)), np.ones((3, 4)), backend="irkernels")
