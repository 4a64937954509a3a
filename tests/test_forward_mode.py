"""Forward-mode differentiation outside torch.func: dual tensors, alone and mixed with reverse mode."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
import torch.autograd.forward_ad as forward
from torch import Tensor

import irkernels as irk
from irkernels.reference.equation import read_equation
from irkernels.testing import PRODUCTS, Product, sample_coordinates

RELATIVE = 1e-10
each_product = pytest.mark.parametrize("product", PRODUCTS, ids=lambda product: product.name)


def drawn(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def contiguous(product: Product) -> list[Tensor]:
    return [operand.clone(memory_format=torch.contiguous_format) for operand in product.operands(seed=1)]


def functions(product: Product) -> Iterator[tuple[str, Callable, list[Tensor]]]:
    """(name, function of (verbs, *tensors) with one output, tensors)."""
    equation, operands = product.equation, contiguous(product)
    read = read_equation(equation, tuple(operands))
    at = sample_coordinates(product, 5, seed=5)
    G = drawn(*read.output_shape, seed=7)
    yield "einsum", lambda v, *f: v.einsum(equation, *f), operands
    yield "entries", lambda v, *f: v.entries(equation, *f, at=at), operands
    yield "gradients", lambda v, g, *f: v.gradients(equation, *f, cotangent=g)[-1], [G, *operands]
    if len(at):
        observed = irk.Observed(at, drawn(len(at), seed=6), read.shape)
        for loss in ("mse", "huber"):
            yield loss, lambda v, *f, loss=loss: v.completion_loss(equation, *f, observed=observed, loss=loss), operands


def hold(found, expected, what: str) -> None:
    for a, b in zip(found, expected, strict=True):
        assert a is not None and a.shape == b.shape, f"{what}: {a}"
        assert torch.allclose(a, b, rtol=0, atol=RELATIVE * (1 + b.norm().item())), what


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
        directions = [drawn(*tensor.shape, seed=20 + i) for i, tensor in enumerate(tensors)]
        for tangents in (directions, [*[None] * (len(tensors) - 1), directions[-1]]):
            ours, reference = (pushed(lambda *t, v=v: function(v, *t), tensors, tangents) for v in (irk, irk.reference))
            hold(ours, reference, f"{name} of {product}")
        with torch.no_grad():
            hold(pushed(lambda *t: function(irk, *t), tensors, directions),
                 pushed(lambda *t: function(irk.reference, *t), tensors, directions), f"no_grad, {name} of {product}")


@each_product
def test_forward_over_reverse(product: Product) -> None:
    """Hessian times vector: a pullback of dual tensors, and a graph of plain tensors pulled back by a dual cotangent."""
    for name, function, tensors in functions(product):
        directions = [drawn(*tensor.shape, seed=20 + i) for i, tensor in enumerate(tensors)]
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
        hold(*results, f"{name} of {product}")


@each_product
def test_reverse_over_forward(product: Product) -> None:
    for name, function, tensors in functions(product):
        directions = [drawn(*tensor.shape, seed=20 + i) for i, tensor in enumerate(tensors)]
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
        hold(*results, f"{name} of {product}")


def test_multi_dot() -> None:
    matrices = [drawn(3, 4, seed=1), drawn(4, 2, seed=2), drawn(2, 5, seed=3)]
    hold(
        pushed(lambda *m: irk.multi_dot(m), matrices, [m.cos() for m in matrices]),
        pushed(lambda *m: torch.linalg.multi_dot(m), matrices, [m.cos() for m in matrices]),
        "multi_dot",
    )


def test_an_operand_that_wants_no_gradient_moves_all_the_same() -> None:
    """One factor requires grad, the other is dual: neither derivative is lost."""
    A, B, U = drawn(3, 4, seed=1).requires_grad_(), drawn(4, 2, seed=2), drawn(4, 2, seed=3)
    with forward.dual_level():
        output = irk.einsum("ij,jk->ik", A, forward.make_dual(B, U))
        primal, tangent = forward.unpack_dual(output)
        (by_primal,) = torch.autograd.grad(primal.sum(), A, retain_graph=True)
        (by_tangent,) = torch.autograd.grad(tangent.sum(), A)
    hold([tangent, by_primal, by_tangent], [A @ U, B.sum(1).expand(3, 4), U.sum(1).expand(3, 4)], "mixed")


def test_no_tangent_where_none_was_given() -> None:
    A, B = drawn(3, 4, seed=1), drawn(4, 2, seed=2).requires_grad_()
    with forward.dual_level():
        output = irk.einsum("ij,jk->ik", A, B)
        assert forward.unpack_dual(output).tangent is None and torch.equal(output, irk.einsum("ij,jk->ik", A, B))
        output.sum().backward()
    assert torch.allclose(B.grad, A.sum(0)[:, None].expand(4, 2))
