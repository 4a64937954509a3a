"""Legacy batching: is_grads_batched=True and vectorized Jacobians of torch.autograd.functional, without a warning."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor
from torch.autograd.functional import hessian, jacobian
from torch.utils._pytree import tree_leaves

import irkernels as irk
from irkernels import _native
from irkernels.testing import PRODUCTS, SMALL, Product, assert_equal, differentiable_functions, normal

each_product = pytest.mark.parametrize(
    "product", [product for product in PRODUCTS if product.elements <= 800], ids=lambda product: product.name
)
each_small_product = pytest.mark.parametrize(
    "product",
    [product for product in SMALL if not any(0 in shape for shape in product.shapes)],
    ids=lambda product: product.name,
)
CHAIN = Product("legacy_chain", "ij,jk,kl->il", ((4, 3), (3, 5), (5, 2)))


@pytest.fixture(autouse=True)
def no_warning() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message=".*torch.jit.script", category=DeprecationWarning)  # torch's own
        yield


@pytest.fixture
def no_fallback(no_warning: None) -> Iterator[None]:
    """Nor the warning that torch hides: that an operator without a batching rule is called once a copy."""
    torch._C._debug_only_display_vmap_fallback_warnings(True)
    yield
    torch._C._debug_only_display_vmap_fallback_warnings(False)


def functions(product: Product) -> Iterator[tuple[str, Callable, list[Tensor]]]:
    """(name, function of tensors, tensors); of several gradients the last."""
    for name, function, tensors in differentiable_functions(product, ("mse",)):
        yield name, lambda *t, f=function: tree_leaves(f(irk, *t))[-1], tensors


def leaves_of(tensors: list[Tensor]) -> list[Tensor]:
    return [tensor.clone().requires_grad_() for tensor in tensors]


def pulled(output: Tensor, leaves: list[Tensor], cotangents: Tensor, graph: bool = False) -> tuple[list, list]:
    """The gradients of all cotangents at once, and one after another, without those that have no path."""
    options = {"retain_graph": True, "create_graph": graph, "allow_unused": True}
    one_by_one = zip(*(torch.autograd.grad(output, leaves, each, **options) for each in cotangents))
    batched = torch.autograd.grad(output, leaves, cotangents, is_grads_batched=True, **options)
    pairs = [(all_, torch.stack(each)) for all_, each in zip(batched, one_by_one) if each[0] is not None]
    return [all_ for all_, _ in pairs], [each for _, each in pairs]


@each_small_product
def test_batched_cotangents(product: Product, no_fallback: None) -> None:
    for name, function, tensors in functions(product):
        leaves = leaves_of(tensors)
        output = function(*leaves)
        assert_equal(*pulled(output, leaves, normal(3, *output.shape, seed=9)), f"{name} of {product}")


@each_product
def test_batched_cotangents_of_gradients(product: Product) -> None:
    """Of a gradient, then of what a batched gradient depends on, then batched again."""
    for name, function, tensors in functions(product):
        what, leaves = f"{name} of {product}", leaves_of(tensors)
        output = function(*leaves)
        options = {"create_graph": True, "materialize_grads": True}
        (first,) = torch.autograd.grad(output, leaves[:1], torch.ones_like(output), **options)
        if not first.requires_grad:  # linear in all
            continue
        seconds = pulled(first, leaves, normal(3, *first.shape, seed=10))
        if seconds[0]:  # else no operand has a part in its own gradient
            assert_equal(*seconds, f"second order, {what}")
        cotangents = normal(3, *output.shape, seed=9).requires_grad_()
        both = pulled(output, leaves, cotangents, graph=True)
        assert_equal(*both, f"with a graph, {what}")
        energies = [sum((gradient**2).sum() for gradient in gradients) for gradients in both]
        inputs = (cotangents, *leaves)
        options = {"retain_graph": True, "materialize_grads": True}
        assert_equal(*(torch.autograd.grad(each, inputs, **options) for each in energies), what)
        again = [pulled(gradients[-1], inputs, normal(2, *gradients[-1].shape, seed=11)) for gradients in both]
        assert_equal(again[0][0], again[1][1], f"batched twice, {what}")


def flat(jacobians) -> list[Tensor]:
    return [jacobians] if isinstance(jacobians, Tensor) else [each for inner in jacobians for each in flat(inner)]


@each_small_product
def test_jacobians(product: Product) -> None:
    for name, function, tensors in functions(product):
        expected = flat(jacobian(function, tuple(tensors)))
        for strategy in ("reverse-mode", "forward-mode"):
            found = flat(jacobian(function, tuple(tensors), vectorize=True, strategy=strategy))
            assert_equal(found, expected, f"{strategy}, {name} of {product}")


@pytest.mark.parametrize(
    "product",
    [product for product in SMALL if product.elements <= 30 and not any(0 in shape for shape in product.shapes)],
    ids=lambda product: product.name,
)
def test_hessians(product: Product) -> None:
    for name, function, tensors in functions(product):
        energy = lambda *t: ((1 + function(*t)) ** 2).sum()  # noqa: E731
        expected = flat(hessian(energy, tuple(tensors)))
        for strategy in ("reverse-mode", "forward-mode"):
            found = flat(hessian(energy, tuple(tensors), vectorize=True, outer_jacobian_strategy=strategy))
            assert_equal(found, expected, f"{strategy}, {name} of {product}")


def test_jacobians_of_jacobians() -> None:
    """Levels of batching inside each other, and tensors that have copies at one of them only."""
    operands = tuple(operand[:2, :2].clone() for operand in CHAIN.operands())
    f = lambda *t: irk.einsum(CHAIN.equation, *t)  # noqa: E731

    def twice(inner: bool, outer: bool):
        first = lambda *t: jacobian(f, t, create_graph=True, vectorize=inner)[1]  # noqa: E731
        second = lambda *t: jacobian(first, t, create_graph=True, vectorize=outer)[0]  # noqa: E731
        return flat(jacobian(second, operands, vectorize=outer))

    expected = twice(False, False)
    assert_equal(twice(True, True), expected, "all batched")
    assert_equal(twice(True, False), expected, "inside")
    assert_equal(twice(False, True), expected, "outside")


def test_copies_at_two_levels() -> None:
    """A cotangent batched outside, another inside: each call sees copies of one or of both."""
    from torch._vmap_internals import _vmap

    leaves = leaves_of(CHAIN.operands())
    output = irk.einsum(CHAIN.equation, *leaves)
    outer, inner = normal(2, 4, 2, seed=1), normal(3, 4, 2, seed=2)

    def both(a: Tensor, b: Tensor) -> Tensor:
        one = torch.autograd.grad(output, leaves[1], a, retain_graph=True)[0]
        two = torch.autograd.grad(output, leaves[1], a * b, retain_graph=True)[0]
        return one + two

    found = _vmap(lambda a: _vmap(lambda b: both(a, b))(inner))(outer)
    expected = torch.stack([torch.stack([both(a, b) for b in inner]) for a in outer])
    assert_equal([found], [expected], "two levels")


def test_copies_are_one_native_call(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[None] = []
    run = _native.run
    leaves = leaves_of(CHAIN.operands())
    observed = irk.Observed([[0, 1], [3, 0]], normal(2, seed=1), (4, 2))
    loss = irk.completion_loss(CHAIN.equation, *leaves, observed=observed)
    for output in (irk.einsum(CHAIN.equation, *leaves), loss):
        with monkeypatch.context() as patch:
            patch.setattr(_native, "run", lambda *arguments: (calls.append(None), run(*arguments))[1])
            torch.autograd.grad(output, leaves, normal(9, *output.shape, seed=2), is_grads_batched=True)
        assert len(calls) == 1
        calls.clear()

