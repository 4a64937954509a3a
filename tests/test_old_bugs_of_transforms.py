"""Kernels that torch.func, torch.compile or autocast broke, loudly or without a word.

How tests are named: test_old_bugs_of_values.py.
"""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import Tensor
from torch.func import grad, hessian, jacfwd, jacrev, jvp, vjp, vmap

import irkernels as irk

CHAIN = "ij,jk,kl->il"


def randn(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64)


def close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-11)


def loss(*factors: Tensor) -> Tensor:
    return irk.einsum(CHAIN, *factors).square().sum()


def plain_loss(*factors: Tensor) -> Tensor:
    return torch.linalg.multi_dot(factors).square().sum()


def compiled(function):
    torch._dynamo.reset()
    return torch.compile(function, backend="aot_eager", fullgraph=True)


def test_pytorch_122706_vmap_over_a_compiled_extension() -> None:
    """Cannot access data pointer of Tensor that doesn't have storage."""
    a, b = randn(5, 3, 4), randn(4, 2)
    close(vmap(lambda x: irk.einsum("ij,jk->ik", x, b))(a), a @ b)
    close(vmap(lambda x: irk.multi_dot([x, b]), in_dims=1)(a.movedim(0, 1)), a @ b)
    at = torch.tensor([[0, 1], [2, 0]])
    close(vmap(lambda x: irk.entries("ij,jk->ik", x, b, at=at))(a), (a @ b)[:, at[:, 0], at[:, 1]])


def test_cuequivariance_95_a_batching_rule_without_a_fallback() -> None:
    """Batching rule not implemented, or a slow loop with a warning."""
    data = irk.Observed([[0, 1], [2, 0]], randn(2), (3, 2))
    a, b = randn(5, 3, 4), randn(4, 2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = vmap(grad(lambda x: irk.completion_loss("ij,jk->ik", x, b, observed=data)))(a)
    expected = vmap(grad(lambda x: ((x @ b)[[0, 2], [1, 0]] - data.values).square().mean()))(a)
    close(found, expected)


def test_aimnetcentral_72_the_other_batching_dispatcher() -> None:
    """register_vmap is not asked by is_grads_batched=True, nor by hessian(vectorize=True)."""
    factors = [randn(2, 3).requires_grad_(), randn(3, 2), randn(2, 2)]
    value, cotangents = irk.einsum(CHAIN, *factors), randn(7, 2, 2)
    (found,) = torch.autograd.grad(value, factors[0], cotangents, is_grads_batched=True)
    close(found, cotangents @ (factors[1] @ factors[2]).T)
    both = [
        torch.autograd.functional.hessian(lambda x: f(x, *factors[1:]), factors[0], vectorize=True)
        for f in (loss, plain_loss)
    ]
    close(*both)


def test_pytorch_168393_nested_derivatives_are_those_of_the_reference() -> None:
    """A fix for register_autograd under functorch would have made nested derivatives wrong without a word."""
    x, others, v = randn(2, 3), (randn(3, 2), randn(2, 2)), randn(2, 3)
    for nested in (
        lambda f: hessian(f)(x),
        lambda f: jacfwd(jacfwd(f))(x),
        lambda f: jacrev(jacrev(f))(x),
        lambda f: grad(lambda y: (grad(f)(y) * v).sum())(x),
        lambda f: jvp(grad(f), (x,), (v,))[1],
    ):
        close(nested(lambda y: loss(y, *others)), nested(lambda y: plain_loss(y, *others)))


def test_functorch_417_a_tangent_kernel_by_vjp_and_jvp_under_two_vmaps() -> None:
    """An internal assert: self_bdim.has_value()."""
    weight, first, second = randn(2, 2), randn(3, 2), randn(4, 2)

    def kernel(einsum) -> Tensor:
        def net(w: Tensor, x: Tensor) -> Tensor:
            return einsum("i,ij->j", x, w).sigmoid()

        def pair(x1: Tensor, x2: Tensor) -> Tensor:
            output, pullback = vjp(lambda w: net(w, x1), weight)

            def row(v: Tensor) -> Tensor:
                return jvp(lambda w: net(w, x2), (weight,), pullback(v))[1]

            return vmap(row)(torch.eye(output.numel(), dtype=output.dtype))

        return vmap(vmap(pair, (None, 0)), (0, None))(first, second)

    close(kernel(irk.einsum), kernel(torch.einsum))


def test_functorch_922_vjp_within_vmap_is_not_zero() -> None:
    """Gradients of zero, without an error."""
    inputs, v = randn(6, 4, 4), randn(4)
    found = vmap(lambda x: vjp(lambda y: irk.einsum("ij,ij->i", y, y), x)[1](v)[0])(inputs)
    close(found, 2 * inputs * v[:, None])


def test_jax_35308_multi_dot_under_vmap() -> None:
    """Its order did not see the mapped dimension: at the least it is one product, and the same."""
    A, B, C = randn(8, 3), randn(3, 9), randn(9, 20)
    close(vmap(lambda v: irk.multi_dot([A, B, v]), in_dims=1, out_dims=1)(C), A @ B @ C)


def test_openequivariance_170_a_compiled_output_requires_grad() -> None:
    """requires_grad was True eagerly and False when compiled; cuEquivariance 77: backward did not run, silently."""
    factors = [randn(3, 4).requires_grad_(), randn(4, 5).requires_grad_(), randn(5, 2)]
    value = compiled(lambda *f: irk.einsum(CHAIN, *f))(*factors)
    assert value.requires_grad
    found = torch.autograd.grad(value.square().sum(), factors[:2])
    for each, expected in zip(found, torch.autograd.grad(plain_loss(*factors), factors[:2])):
        close(each, expected)


def test_pytorch_91469_compiled_double_backward_is_right_or_an_error() -> None:
    """Second gradients through torch.compile were bogus."""
    factors = [randn(2, 3).requires_grad_(), randn(3, 2), randn(2, 2)]

    def second(f) -> Tensor:
        (first,) = torch.autograd.grad(f(*factors), factors[0], create_graph=True)
        return torch.autograd.grad(first.square().sum(), factors[0])[0]

    expected = second(plain_loss)
    close(second(loss), expected)
    try:
        found = second(compiled(loss))
    except RuntimeError as error:
        assert "double backward" in str(error)
    else:
        close(found, expected)


def test_pytorch_181581_create_graph_keeps_a_graph_or_says_that_it_cannot() -> None:
    """Gradients taken with create_graph=True through a compiled function lost requires_grad."""
    x = randn(3, 4).requires_grad_()
    y = compiled(lambda x: irk.einsum("ij,kj->ik", x, x).square().sum())(x)
    (first,) = torch.autograd.grad(y, x, create_graph=True)
    assert first.requires_grad and first.grad_fn is not None


def test_pytorch_127301_no_graph_break_and_no_warning() -> None:
    """Functions bound by pybind break the graph, with a warning for each."""
    torch._dynamo.reset()
    explained = torch._dynamo.explain(lambda a, b: irk.einsum("ij,jk->ik", a.sin(), b).cos())(randn(3, 4), randn(4, 2))
    assert explained.graph_break_count == 0 and explained.graph_count == 1


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_pytorch_47906_autocast_reaches_a_kernel_of_another_package(dtype: torch.dtype) -> None:
    """custom_fwd did nothing for it: the result stayed float32."""
    a, b = torch.randn(3, 4), torch.randn(4, 5)
    with torch.autocast("cpu", dtype=dtype):
        assert irk.einsum("ij,jk->ik", a, b).dtype == torch.einsum("ij,jk->ik", a, b).dtype == dtype
        with torch.autocast("cpu", enabled=False):
            assert irk.einsum("ij,jk->ik", a, b).dtype == torch.float32


def test_pytorch_87979_backward_of_bfloat16_is_not_float16() -> None:
    """Forward ran in bfloat16 and backward in float16, where 1e5 is infinite (also pytorch 105682)."""
    a, b = torch.full((2, 3), 1e5).requires_grad_(), torch.full((3, 2), 1e5).requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = irk.einsum("ij,jk->ik", a, b)
    value.backward(torch.full_like(value, 1e5))
    for operand in (a, b):
        assert operand.grad.dtype == torch.float32
        torch.testing.assert_close(operand.grad, torch.full_like(operand, 2e10), rtol=2e-2, atol=0)


def test_functorch_680_a_hessian_in_chunks() -> None:
    """All rows at once did not fit into memory."""
    x, others = randn(3, 4), (randn(4, 2), randn(2, 2))
    row = torch.eye(12, dtype=torch.float64).view(12, 3, 4)
    (_, pullback) = vjp(grad(lambda y: loss(y, *others)), x)
    rows = vmap(lambda v: pullback(v)[0], chunk_size=5)(row)
    close(rows.view(3, 4, 3, 4), hessian(lambda y: plain_loss(y, *others))(x))


def test_diffusers_9279_other_factors_without_compiling_anew() -> None:
    """Adapters that are swapped: each swap compiled the model again."""
    counter = torch._dynamo.testing.CompileCounter()
    torch._dynamo.reset()
    model = irk.nn.MatrixChain(5, 6, 2, init_scale=1.0, seed=0, dtype=torch.float64)
    layer = torch.compile(lambda x, *f: irk.einsum("bo,oi,ih->bh", x, *f), backend=counter, fullgraph=True)
    x = randn(4, 5)
    for seed in range(3):
        swapped = irk.nn.MatrixChain(5, 6, 2, init_scale=1.0, seed=seed, dtype=torch.float64)
        model.load_state_dict(swapped.state_dict())
        factors = list(model.parameters())
        close(layer(x, *factors), x @ factors[0] @ factors[1])
    assert counter.frame_count == 1
