"""Gradients that other libraries got wrong or refused.

How tests are named: test_old_bugs_of_values.py.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import irkernels as irk


def randn(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64)


def close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def wanted(*tensors: Tensor) -> list[Tensor]:
    return [tensor.detach().requires_grad_() for tensor in tensors]


def test_autograd_242_letters_that_are_summed_in_one_operand() -> None:
    """abcd->bd raised in backward."""
    (x,) = wanted(randn(3, 2, 3, 2))
    irk.einsum("abcd->bd", x).square().sum().backward()
    close(x.grad, (2 * x.detach().sum((0, 2), keepdim=True)).expand_as(x))


def test_autograd_510_a_diagonal_that_is_summed() -> None:
    """nd,nn->d: the gradient's equation named 'n' twice in its output."""
    W, x = wanted(torch.arange(16.0).view(4, 4).double(), torch.arange(8.0).view(4, 2).double())
    irk.einsum("nd,nn->d", x, W).sum().backward()
    close(W.grad, torch.diag(x.detach().sum(1)))
    close(x.grad, W.detach().diagonal()[:, None].expand(4, 2))


def test_autohoot_69_a_sum_of_everything() -> None:
    """ij-> had a wrong gradient."""
    (a,) = wanted(randn(3, 4))
    irk.einsum("ij->", a).backward()
    close(a.grad, torch.ones(3, 4).double())


def test_mxnet_18102_batches_of_extent_one() -> None:
    """bnij,bnjc->bnic: the gradient of einsum was wrong in multiple scenarios, matmul's right."""
    A, B = wanted(randn(1, 1, 5, 3), randn(1, 1, 3, 2))
    G = randn(1, 1, 5, 2)
    irk.einsum("bnij,bnjc->bnic", A, B).backward(G)
    close(A.grad, G @ B.detach().mT)
    close(B.grad, A.detach().mT @ G)


def test_mlx_2376_an_outer_product() -> None:
    """i,j->ij: the cotangent's shape did not match."""
    a, (b,) = torch.tensor([1.0, 1, 1]), wanted(torch.full((4,), 2.0))
    irk.einsum("i,j->ij", a, b).sum().backward()
    assert b.grad.tolist() == [3.0] * 4


def test_mygrad_84_a_tensor_that_stands_twice() -> None:
    """...,...-> of x and x: one gradient, 2 x."""
    (x,) = wanted(randn(5, 6))
    irk.einsum("..., ...->", x, x).backward()
    close(x.grad, 2 * x.detach())


def test_mygrad_24_a_matrix_times_itself() -> None:
    """The numbers that its documentation shows: of the diagonal, of ij,jk with x twice."""
    (x,) = wanted(torch.arange(16.0).view(4, 4))
    irk.einsum("ii->i", x).backward(torch.arange(4.0))
    assert torch.equal(x.grad, torch.diag(torch.arange(4.0)))
    x.grad = None
    irk.einsum("ij,jk", x, x).sum().backward()
    assert x.grad.tolist()[0] == [30, 46, 62, 78] and x.grad.tolist()[3] == [42, 58, 74, 90]


@pytest.mark.parametrize("expanded", [True, False])
def test_pytorch_30303_an_expanded_operand(expanded: bool) -> None:
    """...x,xy->...y: the Jacobian of an expanded x was wrong."""
    base, weight = randn(1, 2), randn(2, 2)
    (x,) = wanted(base.expand(2, -1) if expanded else base.expand(2, -1).contiguous())
    irk.einsum("...x,xy->...y", x, weight).backward(torch.eye(2).double())
    close(x.grad, weight.T)


def test_pytorch_3303_a_cotangent_of_stride_zero() -> None:
    """A.mv(x).sum().backward(): the gradient of A was zero, BLAS cannot read a stride of 0."""
    A, x = wanted(randn(3, 2), randn(2))
    irk.einsum("ij,j->i", A, x).sum().backward()
    close(A.grad, x.detach().expand(3, 2))
    close(x.grad, A.detach().sum(0))


def test_flash_linear_attention_871_a_cotangent_that_is_a_slice() -> None:
    """Behind torch.cat each part's cotangent is a slice of a wider tensor; strides (D, 1) were assumed."""
    x, *weights = wanted(randn(2, 7, 5), *(randn(5, 5) for _ in range(3)))
    G = randn(2, 7, 15)
    torch.cat([irk.einsum("btd,de->bte", x, weight) for weight in weights], dim=-1).backward(G)
    for weight, part in zip(weights, G.split(5, dim=-1)):
        close(weight.grad, torch.einsum("btd,bte->de", x.detach(), part))
    close(x.grad, sum(part @ weight.detach().T for weight, part in zip(weights, G.split(5, dim=-1))))


def test_flash_linear_attention_1138_a_cotangent_of_one_number() -> None:
    """y.sum().backward() expands one number; it was read past its end, and the last state's gradient was wrong."""
    y, h = wanted(randn(2, 9, 4), randn(2, 4))
    irk.einsum("btd,bd->btd", y, h).sum().backward()
    close(h.grad, y.detach().sum(1))
    close(y.grad, h.detach()[:, None].expand(2, 9, 4))


def test_flash_attention_355_a_transposed_cotangent() -> None:
    """dout of strides that are not the output's: wrong until dout.contiguous() was put in by hand."""
    q, k = wanted(randn(2, 6, 4, 8), randn(2, 6, 1, 8))
    equation, G = "bshd,btgd->bhst", randn(6, 6, 4, 2).permute(3, 2, 0, 1)
    found = irk.gradients(equation, q, k, cotangent=G)
    for each, same in zip(found, irk.gradients(equation, q, k, cotangent=G.contiguous())):
        assert torch.equal(each, same)
    expected = torch.autograd.grad(torch.einsum(equation, q, k), (q, k), G)
    for each, reference in zip(found, expected):
        close(each, reference)


def test_pytorch_117826_one_layer_of_several_groups() -> None:
    """bij,ijk->bik: groups trained together learned something else than one by one."""
    x, weight, target = randn(6, 3, 4), randn(3, 4, 5), randn(6, 3, 5)
    (together,) = wanted(weight)
    (irk.einsum("bij,ijk->bik", x, together) - target).square().sum().backward()
    for group in range(3):
        (alone,) = wanted(weight[group])
        (x[:, group] @ alone - target[:, group]).square().sum().backward()
        close(together.grad[group], alone.grad)


def test_pytorch_172439_groups_without_members_have_gradient_zero() -> None:
    """Experts that had got no token: their weights' gradients were uninitialised memory."""
    x, weight = wanted(randn(3, 0, 8), randn(3, 8, 5))
    value = irk.einsum("gtd,gdo->gto", x, weight)
    value.sum().backward()
    assert value.shape == (3, 0, 5) and torch.equal(weight.grad, torch.zeros(3, 8, 5).double())


def test_pytorch_50743_batched_gradients_of_empty_matrices() -> None:
    """mm of [0, 0] matrices: cannot reshape tensor of 0 elements, in batched gradients only."""
    (a,) = wanted(randn(0, 0))
    assert torch.autograd.gradcheck(lambda a: irk.einsum("ij,jk->ik", a, a), a, check_batched_grad=True)


def test_pytorch_67470_multi_dot_of_views() -> None:
    """multi_dot's own tests skip operands that are not contiguous, and batched gradients (53407)."""
    operands = wanted(randn(4, 3).T, randn(4, 10)[:, ::2], randn(6, 5).T)
    check = torch.autograd.gradcheck
    assert check(lambda *f: irk.multi_dot(f), operands, check_batched_grad=True, check_forward_ad=True)
    assert torch.autograd.gradgradcheck(lambda *f: irk.multi_dot(f), operands, check_batched_grad=True)


def test_natten_191_second_derivatives_of_a_fast_kernel() -> None:
    """Second derivatives are asked for after every fast kernel: also tiny-cuda-nn 58, chainer 3146."""
    operands = wanted(randn(2, 3, 4), randn(2, 4, 3), randn(3, 2))
    assert torch.autograd.gradgradcheck(lambda *f: irk.einsum("bij,bjk,kl->bil", *f), operands)
    at = torch.tensor([[0, 1], [2, 0], [0, 1]])
    data = irk.Observed(at, randn(3), (3, 2))
    factors = wanted(randn(3, 4), randn(4, 2))
    assert torch.autograd.gradgradcheck(lambda *f: irk.completion_loss("ij,jk->ik", *f, observed=data), factors)


def test_thunder_1975_gradients_of_some_operands() -> None:
    """Others are constants, and cost nothing."""
    constant, (factor,) = randn(30, 20), wanted(randn(20, 10))
    irk.einsum("ij,jk->ik", constant, factor).sum().backward()
    close(factor.grad, constant.sum(0)[:, None].expand(20, 10))
    assert constant.grad is None
    shapes = ((30, 20), (20, 10))
    for flags, cost in (((False, True), "6,000"), (None, "12,000")):
        assert f"\ngradients   {cost} multiply-adds" in irk.explain("ij,jk->ik", *shapes, wanted=flags)


def test_tensorly_66_gradients_through_a_reconstruction() -> None:
    """Can't call numpy() on Variable that requires grad."""
    core, *factors = wanted(randn(2, 3, 2), randn(4, 2), randn(5, 3), randn(3, 2))
    target = randn(4, 5, 3)
    (irk.tucker_to_tensor((core, factors)) - target).square().sum().backward()
    same, *others = wanted(core, *factors)
    (torch.einsum("pqs,ap,bq,cs->abc", same, *others) - target).square().sum().backward()
    for mine, theirs in zip((core, *factors), (same, *others)):
        close(mine.grad, theirs.grad)


def test_pytorch_105548_sampled_products_of_a_batch() -> None:
    """sampled_addmm of 3D tensors had no gradient: crow_indices is supposed to be a vector."""
    first, second = wanted(randn(4, 10, 3), randn(4, 3, 10))
    at = torch.nonzero(torch.rand(10, 10) < 0.2)
    G = randn(4, len(at))
    found = irk.entries("...ij,...jk->...ik", first, second, at=at)
    same, other = wanted(first, second)
    expected = (same @ other)[:, at[:, 0], at[:, 1]]
    close(found, expected)
    for mine, theirs in zip(
        torch.autograd.grad(found, (first, second), G), torch.autograd.grad(expected, (same, other), G)
    ):
        close(mine, theirs)
