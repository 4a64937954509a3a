"""How the verbs behave as differentiable functions: subsets, tied operands, higher derivatives, graphs and modes."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

import irkernels as irk
from irkernels import reference
from irkernels.testing import FAMILIES, Product, factor_gradients

CHAIN = Product("autograd_chain", "ij,jk,kl->il", ((4, 3), (3, 5), (5, 2)))


def chain() -> list[Tensor]:
    return CHAIN.operands()


@pytest.mark.parametrize("product", FAMILIES, ids=lambda product: product.name)
def test_any_subset_may_require_grad(product: Product) -> None:
    operands = product.operands()
    cotangent = torch.ones_like(torch.einsum(product.equation, *operands))
    expected = factor_gradients(product.equation, operands, cotangent)
    positions = range(len(operands))
    subsets = list(itertools.chain.from_iterable(itertools.combinations(positions, size) for size in positions))
    for subset in [*subsets[1:], tuple(positions)]:
        factors = [operand.detach().clone().requires_grad_(p in subset) for p, operand in enumerate(operands)]
        irk.einsum(product.equation, *factors).backward(cotangent)
        for p, factor in enumerate(factors):
            if p in subset:
                assert torch.allclose(factor.grad, expected[p], rtol=1e-10, atol=1e-10), (
                    f"operand {p} of {subset}, {product}"
                )
            else:
                assert factor.grad is None


def test_no_graph_where_none_is_wanted() -> None:
    operands = chain()
    at = torch.tensor([[0, 1]])
    observed = irk.Observed(at, torch.zeros(1, dtype=torch.float64), (4, 2))

    def results(factors: list[Tensor]) -> list[Tensor]:
        return [
            irk.einsum(CHAIN.equation, *factors),
            irk.entries(CHAIN.equation, *factors, at=at),
            irk.completion_loss(CHAIN.equation, *factors, observed=observed),
            irk.multi_dot(factors),
            *irk.gradients(CHAIN.equation, *factors, cotangent=torch.ones(4, 2, dtype=torch.float64)),
        ]

    assert not any(result.requires_grad for result in results(operands))
    trained = [operand.requires_grad_() for operand in operands]
    with torch.no_grad():
        assert not any(result.requires_grad for result in results(trained))
    with torch.inference_mode():
        assert not any(result.requires_grad for result in results(trained))
    assert all(result.requires_grad for result in results(trained))
    assert all(factor.grad is None for factor in trained)


def test_tied_operands_add_by_autograd_and_stay_apart_in_gradients(verbs) -> None:
    W = torch.randn(4, 4, dtype=torch.float64, requires_grad=True)
    G = torch.randn(4, 4, dtype=torch.float64)
    (expected,) = torch.autograd.grad(W @ W @ W, W, G)
    (found,) = torch.autograd.grad(verbs.einsum("ij,jk,kl->il", W, W, W), W, G)
    assert torch.allclose(found, expected, rtol=1e-12)
    apart = verbs.gradients("ij,jk,kl->il", W, W, W, cotangent=G)
    by_position = factor_gradients("ij,jk,kl->il", [W, W, W], G)
    for a, b in zip(apart, by_position, strict=True):
        assert torch.allclose(a, b, rtol=1e-12)
    assert torch.allclose(sum(apart), expected, rtol=1e-12)
    (transposed,) = torch.autograd.grad(verbs.einsum("ij,jk->ik", W, W.T), W, G)
    assert torch.allclose(transposed, (G + G.T) @ W, rtol=1e-12)


def test_tied_operands_of_a_completion_loss(verbs) -> None:
    u = torch.randn(5, dtype=torch.float64, requires_grad=True)
    observed = irk.Observed([[0], [3], [3]], torch.tensor([1.0, 2.0, -1.0], dtype=torch.float64), (5,))
    (found,) = torch.autograd.grad(verbs.completion_loss("i,i->i", u, u, observed=observed), u)
    at = observed.at[:, 0]
    (expected,) = torch.autograd.grad(((u[at] ** 2 - observed.values) ** 2).mean(), u)
    assert torch.allclose(found, expected, rtol=1e-12)


def test_third_derivatives(verbs) -> None:
    a = torch.randn(3, dtype=torch.float64, requires_grad=True)
    value = verbs.einsum("i,i,i,i->", a, a, a, a)
    for power, coefficient in ((3, 4), (2, 12), (1, 24)):
        (gradient,) = torch.autograd.grad(value, a, create_graph=True)
        assert torch.allclose(gradient, coefficient * a**power, rtol=1e-10)
        value = gradient.sum()


def test_hessian_vector_product_of_a_completion_loss(verbs) -> None:
    operands = [operand.requires_grad_() for operand in chain()]
    at = torch.tensor([[0, 1], [3, 0], [2, 1], [0, 1]])
    observed = irk.Observed(at, torch.randn(4, dtype=torch.float64), (4, 2))

    def hvp(loss: Tensor) -> tuple[Tensor, ...]:
        gradients = torch.autograd.grad(loss, operands, create_graph=True)
        return torch.autograd.grad(sum((gradient * gradient.detach()).sum() for gradient in gradients), operands)

    dense = operands[0] @ operands[1] @ operands[2]
    expected = hvp(((dense[at[:, 0], at[:, 1]] - observed.values) ** 2).mean())
    found = hvp(verbs.completion_loss(CHAIN.equation, *operands, observed=observed))
    for a, b in zip(found, expected, strict=True):
        assert (a - b).norm() <= 1e-10 * b.norm()


def test_backward_twice_needs_retain_graph() -> None:
    factors = [operand.requires_grad_() for operand in chain()]
    W = irk.einsum(CHAIN.equation, *factors)
    cotangent = torch.ones_like(W)
    first = torch.autograd.grad(W, factors, cotangent, retain_graph=True)
    second = torch.autograd.grad(W, factors, cotangent)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    with pytest.raises(RuntimeError, match="second time"):
        torch.autograd.grad(W, factors, cotangent)


def test_a_factor_changed_in_place_before_backward_is_an_error() -> None:
    factors = [operand.requires_grad_() for operand in chain()]
    W = irk.einsum(CHAIN.equation, *factors)
    with torch.no_grad():
        factors[1].mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        W.sum().backward()


def test_cotangents_of_any_strides(verbs) -> None:
    operands = chain()
    expected = factor_gradients(CHAIN.equation, operands, torch.full((4, 2), 3.0, dtype=torch.float64))
    wide = torch.full((9, 5), float("nan"), dtype=torch.float64)
    wide[1::2, 1::2] = 3
    for cotangent in (
        torch.tensor(3.0, dtype=torch.float64).expand(4, 2),
        torch.full((2, 4), 3.0, dtype=torch.float64).T,
        wide[1::2, 1::2],
    ):
        by_verb = verbs.gradients(CHAIN.equation, *operands, cotangent=cotangent)
        factors = [operand.detach().clone().requires_grad_() for operand in operands]
        by_autograd = torch.autograd.grad(verbs.einsum(CHAIN.equation, *factors), factors, cotangent)
        for a, b, c in zip(by_verb, by_autograd, expected, strict=True):
            assert torch.allclose(a, c, rtol=1e-12) and torch.allclose(b, c, rtol=1e-12)


def test_an_operand_without_a_part_in_the_result_has_zero_gradient(verbs) -> None:
    """Summed over an empty letter, nothing depends on any factor."""
    A, B = torch.randn(3, 0, requires_grad=True), torch.randn(0, 4, requires_grad=True)
    C = torch.randn(4, requires_grad=True)
    W = verbs.einsum("ij,jk,k->ik", A, B, C)
    assert torch.equal(W, torch.zeros(3, 4))
    found = verbs.gradients("ij,jk,k->ik", A, B, C, cotangent=torch.ones(3, 4))
    assert [tuple(gradient.shape) for gradient in found] == [(3, 0), (0, 4), (4,)]
    assert torch.equal(found[2], torch.zeros(4))
    W.sum().backward()
    assert torch.equal(C.grad, torch.zeros(4))


def test_multi_dot_is_torchs(verbs) -> None:
    generator = torch.Generator().manual_seed(0)
    for sizes in ((4, 3, 6), (4, 3, 5, 2), (7, 2, 9, 3, 5, 1, 4)):
        matrices = [
            torch.randn(a, b, dtype=torch.float64, generator=generator, requires_grad=True)
            for a, b in itertools.pairwise(sizes)
        ]
        for tensors in (
            matrices,
            [matrices[0][0], *matrices[1:]],
            [*matrices[:-1], matrices[-1][:, 0]],
            [matrices[0][0], *matrices[1:-1], matrices[-1][:, 0]],
        ):
            expected, found = torch.linalg.multi_dot(tensors), verbs.multi_dot(tensors)
            assert found.shape == expected.shape and torch.allclose(found, expected, rtol=1e-12, atol=1e-12)
            cotangent = torch.randn(expected.shape, dtype=torch.float64, generator=generator)
            for a, b in zip(
                torch.autograd.grad(found, matrices, cotangent), torch.autograd.grad(expected, matrices, cotangent)
            ):
                assert torch.allclose(a, b, rtol=1e-10, atol=1e-10)


def test_multi_dot_of_trials_and_beyond_the_alphabet(verbs) -> None:
    tensors = [torch.randn(3, 1, 2, 4), torch.randn(4, 5), torch.randn(2, 5, 3)]
    assert torch.allclose(verbs.multi_dot(tensors), tensors[0] @ tensors[1] @ tensors[2], rtol=1e-5, atol=1e-5)
    angle = torch.tensor(0.01, dtype=torch.float64)
    turn = torch.stack((angle.cos(), -angle.sin(), angle.sin(), angle.cos())).reshape(2, 2)
    found = verbs.multi_dot([turn] * 100)
    assert torch.allclose(found[0], torch.stack(((100 * angle).cos(), -(100 * angle).sin())), rtol=1e-12)


@pytest.mark.parametrize("product", FAMILIES, ids=lambda product: product.name)
def test_an_operand_that_no_gradient_reads_may_change(product: Product) -> None:
    operands = product.operands()
    for only in range(len(operands)):
        given = [o.detach().clone().requires_grad_(p == only) for p, o in enumerate(operands)]
        W = irk.einsum(product.equation, *given)
        cotangent = torch.randn_like(W, requires_grad=True)
        (expected,) = torch.autograd.grad(W, given[only], cotangent, create_graph=True)
        pulled = torch.randn_like(expected)
        pushed = [pulled if p == only else o.detach() for p, o in enumerate(given)]
        torch.testing.assert_close(
            torch.autograd.grad(expected, cotangent, pulled)[0], reference.einsum(product.equation, *pushed)
        )
        W = irk.einsum(product.equation, *given)
        with torch.no_grad():
            given[only].mul_(2.0)
        (found,) = torch.autograd.grad(W, given[only], cotangent)
        torch.testing.assert_close(found, expected.detach())


def test_frozen_layers_save_no_activations() -> None:
    weights, saved = [torch.randn(8, 8) for _ in range(5)], []

    def pack(tensor: Tensor) -> Tensor:
        saved.append(tensor.untyped_storage().nbytes())
        return tensor

    x = torch.randn(1000, 8, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        for weight in weights:
            x = irk.einsum("bi,ij->bj", x, weight)
    assert sum(saved) < 5 * 8 * 8 * 4 + 1000  # the weights, and a number for each activation of 32,000 bytes
