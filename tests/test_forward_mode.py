"""Forward-mode differentiation outside torch.func: dual tensors, alone and mixed with reverse mode."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
import torch.autograd.forward_ad as forward
from torch import Tensor
from torch.utils._pytree import tree_leaves

import irkernels as irk
from irkernels.testing import PRODUCTS, Product, assert_equal, differentiable_functions, normal

each_product = pytest.mark.parametrize("product", PRODUCTS, ids=lambda product: product.name)


def functions(product: Product) -> Iterator[tuple[str, Callable, list[Tensor]]]:
    """(name, function of (verbs, *tensors), tensors); of several gradients the last."""
    for name, function, tensors in differentiable_functions(product, ("mse", "huber")):
        yield name, lambda v, *t, f=function: tree_leaves(f(v, *t))[-1], tensors


def pushed(function: Callable, tensors: list[Tensor], tangents: list[Tensor | None]) -> tuple[Tensor, Tensor]:
    """(output, tangent) from tensors of which some are dual."""
    with forward.dual_level():
        output = function(*(t if u is None else forward.make_dual(t, u) for t, u in zip(tensors, tangents)))
        primal, tangent = forward.unpack_dual(output)
        return primal.clone(), torch.zeros_like(primal) if tangent is None else tangent.clone()


@each_product
def test_tangents(product: Product) -> None:
    """Of all tensors and of the last alone, none of which requires a gradient."""
    for name, function, tensors in functions(product):
        directions = [normal(*tensor.shape, seed=20 + i) for i, tensor in enumerate(tensors)]
        for tangents in (directions, [*[None] * (len(tensors) - 1), directions[-1]]):
            ours, reference = (pushed(lambda *t, v=v: function(v, *t), tensors, tangents) for v in (irk, irk.reference))
            assert_equal(ours, reference, f"{name} of {product}")
        with torch.no_grad():
            ours, reference = (
                pushed(lambda *t, v=v: function(v, *t), tensors, directions) for v in (irk, irk.reference)
            )
        assert_equal(ours, reference, f"no_grad, {name} of {product}")


@each_product
def test_forward_over_reverse(product: Product) -> None:
    """Hessian times vector: a pullback of dual tensors, and a graph of plain ones pulled back by a dual cotangent."""
    for name, function, tensors in functions(product):
        directions = [normal(*tensor.shape, seed=20 + i) for i, tensor in enumerate(tensors)]
        results = []
        for v in (irk, irk.reference):
            leaves = [tensor.clone().requires_grad_() for tensor in tensors]
            plain = function(v, *leaves)
            cotangent = torch.ones_like(plain)
            with forward.dual_level():
                duals = [forward.make_dual(t, u) for t, u in zip(leaves, directions)]
                output = function(v, *duals)
                of_duals = torch.autograd.grad(output, leaves, output.detach().cos(), materialize_grads=True)
                by_dual = torch.autograd.grad(
                    plain, leaves, forward.make_dual(cotangent, cotangent.clone()), materialize_grads=True
                )
                unpacked = [forward.unpack_dual(each) for each in (*of_duals, *by_dual)]
                tangents = [torch.zeros_like(p) if t is None else t for p, t in unpacked]
                results.append([*(p.clone() for p, _ in unpacked), *(t.clone() for t in tangents)])
        assert_equal(*results, f"{name} of {product}")


@each_product
def test_reverse_over_forward(product: Product) -> None:
    for name, function, tensors in functions(product):
        directions = [normal(*tensor.shape, seed=20 + i) for i, tensor in enumerate(tensors)]
        results = []
        for v in (irk, irk.reference):
            leaves = [tensor.clone().requires_grad_() for tensor in tensors]
            moving = [direction.clone().requires_grad_() for direction in directions]
            with forward.dual_level():
                output = function(v, *(forward.make_dual(t, u) for t, u in zip(leaves, moving)))
                tangent = forward.unpack_dual(output).tangent
                found = torch.autograd.grad(
                    (tangent**2).sum(), (*leaves, *moving), allow_unused=True, materialize_grads=True
                )
            results.append([tangent.detach(), *found])
        assert_equal(*results, f"{name} of {product}")


def test_multi_dot() -> None:
    matrices = [normal(3, 4, seed=1), normal(4, 2, seed=2), normal(2, 5, seed=3)]
    assert_equal(
        pushed(lambda *m: irk.multi_dot(m), matrices, [m.cos() for m in matrices]),
        pushed(lambda *m: torch.linalg.multi_dot(m), matrices, [m.cos() for m in matrices]),
        "multi_dot",
    )


def test_an_operand_that_wants_no_gradient_moves_all_the_same() -> None:
    """One factor requires grad, the other is dual: neither derivative is lost."""
    A, B, U = normal(3, 4, seed=1).requires_grad_(), normal(4, 2, seed=2), normal(4, 2, seed=3)
    with forward.dual_level():
        output = irk.einsum("ij,jk->ik", A, forward.make_dual(B, U))
        primal, tangent = forward.unpack_dual(output)
        (by_primal,) = torch.autograd.grad(primal.sum(), A, retain_graph=True)
        (by_tangent,) = torch.autograd.grad(tangent.sum(), A)
    assert_equal([tangent, by_primal, by_tangent], [A @ U, B.sum(1).expand(3, 4), U.sum(1).expand(3, 4)], "mixed")


def test_no_tangent_where_none_was_given() -> None:
    A, B = normal(3, 4, seed=1), normal(4, 2, seed=2).requires_grad_()
    with forward.dual_level():
        output = irk.einsum("ij,jk->ik", A, B)
        assert forward.unpack_dual(output).tangent is None and torch.equal(output, irk.einsum("ij,jk->ik", A, B))
        output.sum().backward()
    assert torch.allclose(B.grad, A.sum(0)[:, None].expand(4, 2))
