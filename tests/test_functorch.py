"""torch.func over the verbs: every transform and nesting against the same transform of the reference, every product."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.func import functional_call, grad, hessian, jacfwd, jacrev, jvp, linearize, vjp, vmap
from torch.utils._pytree import tree_map

import irkernels as irk
from irkernels.testing import (
    PRODUCTS,
    SMALL,
    Product,
    assert_equal,
    copies,
    differentiable_functions,
    energy,
    normal,
)

LOSSES = ("mse", "half_sse", "l1", "huber")
each_product = pytest.mark.parametrize("product", PRODUCTS, ids=lambda product: product.name)
each_nested_product = pytest.mark.parametrize(
    "product", [product for product in PRODUCTS if product.elements <= 800], ids=lambda product: product.name
)
each_small_product = pytest.mark.parametrize(  # torch has no Jacobian of or by nothing
    "product",
    [product for product in SMALL if not any(0 in shape for shape in product.shapes)],
    ids=lambda product: product.name,
)
CHAIN = Product("functorch_chain", "ij,jk,kl->il", ((4, 3), (3, 5), (5, 2)))


def compare(product: Product, transform: Callable, losses: tuple[str, ...] = LOSSES) -> None:
    """transform(function, tensors) with the verbs and with the reference."""
    for name, function, tensors in differentiable_functions(product, losses):
        ours, reference = (lambda *t, v=v: function(v, *t) for v in (irk, irk.reference))
        assert_equal(transform(ours, tensors), transform(reference, tensors), f"{name} of {product}")


def turn(product: Product, count: int) -> int:
    """One of so many choices, another one for the next product."""
    return PRODUCTS.index(product) % count


def two_losses(product: Product) -> tuple[str, ...]:
    """One smooth loss and one with kinks."""
    return LOSSES[turn(product, 2) :: 2]


def positions(tensors: list[Tensor]) -> tuple[int, ...]:
    return tuple(range(len(tensors)))


def tangents(tensors: list[Tensor], seed: int = 9) -> tuple[Tensor, ...]:
    return tuple(normal(*tensor.shape, seed=seed + i) for i, tensor in enumerate(tensors))


@each_product
def test_pushforward_and_pullback(product: Product) -> None:
    compare(product, lambda f, t: jvp(f, tuple(t), tangents(t)))

    def pull(f: Callable, t: list[Tensor]):
        output, pullback = vjp(f, *t)
        return output, pullback(tree_map(lambda each: each.cos(), output))

    compare(product, pull)


@each_product
def test_vmap(product: Product) -> None:
    """All tensors have copies; one alone has them, on its last axis, and they come out on the last axis."""
    compare(product, lambda f, t: vmap(f)(*copies(t)))

    def one(f: Callable, t: list[Tensor]):
        alone = turn(product, len(t))
        dims = tuple(-1 if i == alone else None for i in positions(t))
        given = [c.movedim(0, -1) if i == alone else each for i, (c, each) in enumerate(zip(copies(t), t))]
        # torch mistakes an out_dim of -1 where a result has no copies: all are made to have them
        with_copies = lambda *x: tree_map(lambda each: each + 0 * x[alone].sum(), f(*x))  # noqa: E731
        return vmap(with_copies, in_dims=dims, out_dims=-1)(*given)

    compare(product, one, two_losses(product))


@each_product
def test_gradients_of_each_copy(product: Product) -> None:
    """The first tensor has copies, the others are shared: every copy has a gradient of its own by all of them."""

    def per_sample(f: Callable, t: list[Tensor]):
        dims = tuple(0 if i == 0 else None for i in positions(t))
        return vmap(grad(energy(f), positions(t)), in_dims=dims)(*copies(t[:1]), *t[1:])

    compare(product, per_sample, two_losses(product))


@each_product
def test_gradients_shared_by_copies(product: Product) -> None:
    def shared(f: Callable, t: list[Tensor]):
        dims = tuple(0 if i == 0 else None for i in positions(t))
        return grad(lambda *x: vmap(energy(f), in_dims=dims)(*x).sum(), positions(t))(*copies(t[:1]), *t[1:])

    compare(product, shared, two_losses(product))


@each_nested_product
def test_vmap_over_jvp_over_grad(product: Product) -> None:
    def hvp(f: Callable, t: list[Tensor]):
        gradient = grad(energy(f), positions(t))
        return vmap(lambda *u: jvp(gradient, tuple(t), u)[1])(*copies(list(tangents(t))))

    compare(product, hvp, two_losses(product))


@each_nested_product
def test_vjp_over_vmap_over_jvp(product: Product) -> None:
    def back(f: Callable, t: list[Tensor]):
        push = vmap(lambda *u: jvp(f, tuple(t), u)[1])
        _, pullback = vjp(energy(push), *copies(list(tangents(t))))
        return pullback(torch.tensor(1.0, dtype=torch.float64))

    compare(product, back, two_losses(product))


@each_nested_product
def test_vmap_over_vmap(product: Product) -> None:
    """Copies of the last tensor inside, of the others outside, and a third level that has copies of all."""

    def twice(f: Callable, t: list[Tensor]):
        inner = vmap(f, in_dims=tuple(0 if i == len(t) - 1 else None for i in positions(t)))
        if len(t) == 1:
            return vmap(inner)(torch.stack(copies(t)))
        outer = vmap(inner, in_dims=(0,) * (len(t) - 1) + (None,))
        thrice = vmap(outer, in_dims=1)
        return thrice(*(torch.stack([c, -c], 1) for c in (*copies(t[:-1]), *copies(t[-1:], 2))))

    compare(product, twice, two_losses(product))


@each_small_product
def test_jacobians(product: Product) -> None:
    compare(product, lambda f, t: jacrev(f, positions(t))(*t), two_losses(product))
    compare(product, lambda f, t: jacfwd(f, positions(t))(*t), two_losses(product))


@each_small_product
def test_second_jacobians(product: Product) -> None:
    """By the last tensor, then by the first and the last: in one of the four orders of forward and reverse."""
    outer = (jacrev, jacfwd)[turn(product, 2)]
    inner = (jacrev, jacfwd)[turn(product, 4) // 2]

    def second(f: Callable, t: list[Tensor]):
        return outer(inner(energy(f), len(t) - 1), tuple({0, len(t) - 1}))(*t)

    compare(product, second, two_losses(product))


@pytest.mark.parametrize("product", SMALL[::8], ids=lambda product: product.name)
def test_hessian(product: Product) -> None:
    compare(product, lambda f, t: hessian(energy(f), positions(t))(*t))


def test_functional_call_and_per_sample_gradients() -> None:
    """The ensemble and the per-sample gradients of torch's tutorials, of a low-rank layer."""

    class LowRank(torch.nn.Module):
        def __init__(self, verbs) -> None:
            super().__init__()
            self.verbs = verbs
            self.u, self.v = torch.nn.Parameter(normal(5, 2, seed=1)), torch.nn.Parameter(normal(4, 2, seed=2))

        def forward(self, x: Tensor) -> Tensor:
            return self.verbs.einsum("...j,jr,ir->...i", x, self.v, self.u).tanh()

    x, y = normal(6, 4, seed=3), normal(6, 5, seed=4)
    found = []
    for module in (LowRank(irk), LowRank(irk.reference)):
        parameters = dict(module.named_parameters())

        def loss(p: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
            return ((functional_call(module, p, (x,)) - y) ** 2).sum()

        ensemble = {name: torch.stack([p, -p, 2 * p]) for name, p in parameters.items()}
        found.append([
            vmap(grad(loss), in_dims=(None, 0, 0))(parameters, x, y),
            vmap(grad(loss), in_dims=(None, 0, 0), chunk_size=2)(parameters, x, y),
            vmap(loss, in_dims=(0, None, None))(ensemble, x, y),
            vmap(vmap(grad(loss), (None, 0, 0)), (0, None, None), randomness="different")(ensemble, x, y),
            hessian(loss)(parameters, x, y),
        ])
    assert_equal(*found, "a low-rank layer")


def test_tied_operands() -> None:
    W, U = normal(3, 3, seed=1), normal(3, 3, seed=2)
    results = [
        [
            jvp(f, (W,), (U,)),
            grad(energy(f))(W),
            hessian(energy(f))(W),
            vmap(grad(energy(f)))(torch.stack([W, U])),
            jvp(grad(energy(f)), (W,), (U,)),
        ]
        for v in (irk, irk.reference)
        for f in [lambda w, v=v: v.einsum("ij,jk,kl->il", w, w.T, w)]
    ]
    assert_equal(*results, "tied operands")


def test_a_pullback_outlives_its_transform() -> None:
    """What vjp gives back is called, and differentiated, when no transform is in force any more."""
    operands, G = CHAIN.operands(), normal(4, 2, seed=3)
    results = []
    for v in (irk, irk.reference):
        cotangent = G.clone().requires_grad_()
        _, pullback = vjp(lambda *f: v.einsum(CHAIN.equation, *f), *operands)
        pulled = pullback(cotangent)
        _, second = vjp(grad(energy(lambda *f: v.einsum(CHAIN.equation, *f)), (0, 1, 2)), *operands)
        results.append([pulled, torch.autograd.grad(energy(lambda: pulled)(), cotangent), second(tuple(operands))])
    assert_equal(*results, "pullbacks")


def test_vmap_over_a_graph_built_outside() -> None:
    """The Jacobian of torch's tutorial: vmap over torch.autograd.grad of plain tensors, also of its own gradient."""
    at = torch.tensor([[0, 1], [3, 0]])
    observed = irk.Observed(at, normal(2, seed=1), (4, 2))
    results = []
    for v in (irk, irk.reference):
        factors = [operand.requires_grad_() for operand in CHAIN.operands()]
        loss = v.completion_loss(CHAIN.equation, *factors, observed=observed)
        for outputs in (v.einsum(CHAIN.equation, *factors), v.entries(CHAIN.equation, *factors, at=at), loss):
            units = torch.eye(outputs.numel(), dtype=torch.float64).reshape(-1, *outputs.shape)
            rows = vmap(lambda u: torch.autograd.grad(outputs, factors, u, retain_graph=True, create_graph=True))(units)
            results.append(rows)
            first = torch.autograd.grad(energy(lambda: outputs)(), factors, create_graph=True)[0]
            (units,) = copies([first])
            results.append(vmap(lambda u: torch.autograd.grad(first, factors, u, retain_graph=True))(units))
    assert_equal(results[:6], results[6:], "a graph built outside")


@pytest.mark.parametrize("dtype", (torch.float32, torch.bfloat16, torch.float16), ids=str)
def test_dtypes_stay(dtype: torch.dtype) -> None:
    """Half types are rounded once: as in float32, then cast."""
    operands = CHAIN.operands(dtype=dtype)
    observed = irk.Observed([[0, 1], [3, 0]], normal(2, seed=1).to(dtype), (4, 2))
    for verb in (
        lambda *f: irk.einsum(CHAIN.equation, *f),
        lambda *f: irk.completion_loss(CHAIN.equation, *f, observed=observed.to(f[0].dtype)),
    ):
        plain = verb(*operands)
        wide = verb(*(operand.double() for operand in operands))
        bound = dict.fromkeys(("rtol", "atol"), 4 * torch.finfo(dtype).eps)
        copied = vmap(verb)(*(operand.expand(2, *operand.shape) for operand in operands))[0]
        for found in (copied, jvp(verb, tuple(operands), tuple(operands))[0]):
            assert found.dtype == dtype and torch.allclose(found.double(), wide, **bound)
            assert torch.equal(found, plain) or found.dim() == 0


def test_linearize() -> None:
    if importlib.util.find_spec("irkernels.ops") is None:
        pytest.xfail("linearize traces, and no operator is registered for what traces")
    operands, directions = tuple(CHAIN.operands()), tangents(CHAIN.operands())
    results = []
    for v in (irk, irk.reference):
        output, push = linearize(lambda *f: v.einsum(CHAIN.equation, *f), *operands)
        results.append([output, push(*directions), push(*operands)])
    assert_equal(*results, "linearize")
