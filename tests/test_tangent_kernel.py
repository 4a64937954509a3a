"""Tangent kernels against Jacobians, their identities (Baratin et al. 2021), and alignment."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck

import irkernels as irk
from irkernels import curvature
from irkernels.experiments.low_rank import completion
from irkernels.reference import curvature as reference
from irkernels.testing.derivatives import assert_equal, normal
from irkernels.testing.product import Product
from irkernels.testing.registry import PRODUCTS

SMALL = [product for product in PRODUCTS if product.elements <= 300 and "..." not in product.equation]


@pytest.mark.parametrize("product", SMALL, ids=lambda product: product.name)
def test_kernel_is_the_gram_of_the_jacobian(product: Product) -> None:
    operands = [operand.clone() for operand in product.operands(seed=1)]
    found = curvature.tangent_kernel(product.equation, *operands, wrt=product.trained)
    assert_equal(found, reference.tangent_kernel(product.equation, *operands, wrt=product.trained), product)


def chain_on_data(depth: int, trials: tuple[int, ...] = ()) -> tuple[str, list[Tensor]]:
    """`ij,jk,xk->xi` of this depth: rows 3, inputs 2, five samples."""
    letters = "abcdefgh"[: depth + 1]
    dots = "..." if trials else ""
    terms = [dots + a + b for a, b in itertools.pairwise(letters)] + ["x" + letters[-1]]
    sizes = [3, *[4, 2, 5, 3, 4][: depth - 1], 2]
    factors = [normal(*trials, a, b, seed=i) for i, (a, b) in enumerate(itertools.pairwise(sizes))]
    return f"{','.join(terms)}->{dots}xa", [*factors, normal(5, 2, seed=20)]


@pytest.mark.parametrize("depth", range(1, 7))
def test_kernel_applied_to_the_gradient_is_the_end_to_end_velocity(depth: int) -> None:
    """(4) and (20) share one kernel: sum_j (dW/dF_j)(dL/dF_j) = K G."""
    equation, operands = chain_on_data(depth)
    G = normal(5, 3, seed=30)
    kernel = curvature.tangent_kernel(equation, *operands, wrt=range(depth))
    gradients = irk.gradients(equation, *operands, cotangent=G)[:depth]
    moved = sum(
        irk.einsum(equation, *operands[:j], gradient, *operands[j + 1 :]) for j, gradient in enumerate(gradients)
    )
    assert_equal(torch.einsum("xayb,yb->xa", kernel, G), moved, depth)


@pytest.mark.parametrize("depth", range(1, 5))
def test_kernel_of_each_layer_and_trial(depth: int) -> None:
    equation, operands = chain_on_data(depth, trials=(2,))
    layers = curvature.tangent_kernel(equation, *operands, wrt=range(depth), per_layer=True)
    assert layers.shape == (depth, 2, 5, 3, 5, 3)
    for trial in range(2):
        alone = [operand[trial] for operand in operands[:-1]] + [operands[-1]]
        plain = equation.replace("...", "")
        expected = reference.tangent_kernel(plain, *alone, wrt=range(depth), per_layer=True)
        assert_equal(layers[:, trial], expected, (depth, trial))
    total = curvature.tangent_kernel(equation, *operands, wrt=range(depth))
    assert_equal(total, layers.sum(0), depth)


@pytest.mark.parametrize("spectrum", [(2.0, 1.0, 0.5), (1.0, 1.0, 1.0), (2.0, 1e-3, 0.0)])
@pytest.mark.parametrize("depth", range(1, 5))
def test_kernel_of_balanced_factors_follows_from_the_product(depth: int, spectrum: tuple[float, ...]) -> None:
    root = torch.diag(torch.tensor(spectrum, dtype=torch.float64) ** (1 / depth))
    bases = [torch.linalg.qr(normal(3, 3, seed=i))[0] for i in range(depth + 1)]
    factors = [bases[i] @ root @ bases[i + 1].T for i in range(depth)]
    X = normal(4, 3, seed=9)
    letters = "abcdefg"[: depth + 1]
    equation = ",".join(a + b for a, b in itertools.pairwise(letters)) + f",x{letters[-1]}->xa"
    found = curvature.tangent_kernel(equation, *factors, X, wrt=range(depth))
    W = bases[0] @ torch.diag(torch.tensor(spectrum, dtype=torch.float64)) @ bases[-1].T
    expected = reference.balanced_tangent_kernel(W, X, depth)
    assert torch.allclose(found, expected, rtol=0, atol=1e-7 if 0.0 in spectrum else 1e-12)


def test_kernel_is_differentiable() -> None:
    equation, operands = chain_on_data(2)
    factors = [factor.requires_grad_() for factor in operands[:2]]
    assert gradcheck(lambda *f: curvature.tangent_kernel(equation, *f, operands[2], wrt=(0, 1)), factors)


@pytest.mark.parametrize("centred", [True, False])
@pytest.mark.parametrize("shape", [(6,), (5, 3), (4, 2, 2)])
def test_alignment(shape: tuple[int, ...], centred: bool) -> None:
    n = torch.Size(shape).numel()
    root, y = normal(2, n, n, seed=1), normal(*shape, seed=2)
    kernels = (root @ root.mT).reshape(2, *shape, *shape)
    found = curvature.alignment(kernels, y, centred)
    assert_equal(found, torch.stack([reference.alignment(k, y, centred) for k in kernels]), shape)
    ideal = y - y.mean(0) if centred else y
    own = torch.outer(ideal.flatten(), ideal.flatten()).reshape(*shape, *shape)
    assert torch.allclose(curvature.alignment(own, y, centred), torch.ones((), dtype=torch.float64))
    assert curvature.alignment(torch.zeros_like(own), y, centred) == 0


def test_alignment_rises_along_training() -> None:
    """A deep chain learns the targets' directions: its kernel turns towards them."""
    X, truth = normal(40, 6, seed=3), normal(5, 1, seed=4) @ normal(1, 6, seed=5)
    Y = X @ truth.T
    model = irk.nn.MatrixChain(5, 6, depth=3, init="gaussian", init_scale=1e-2, seed=0, dtype=torch.float64)
    equation = "ij,jk,kl,xl->xi"

    def aligned() -> Tensor:
        kernel = curvature.tangent_kernel(equation, *(f.detach() for f in model.factors), X, wrt=range(3))
        return curvature.alignment(kernel, Y)

    before = aligned()
    irk.fit(model, irk.Regression(X, Y), torch.optim.SGD(model.parameters(), lr=0.02), steps=3000)
    assert aligned() > before + 0.2


def test_alignment_rises_along_matrix_completion() -> None:
    """E1 at depth 3 (Arora et al. 2019); the kernel of 20 x 20 entries is that of the chain of their rows, columns."""
    truth, observed = completion(None, seed=0, dtype=torch.float32)
    model = irk.nn.MatrixChain(100, 100, depth=3, init="gaussian", init_scale=1e-3, seed=0)

    def aligned() -> Tensor:
        A, B, C = (factor.detach().double() for factor in model.factors)
        kernel = curvature.tangent_kernel("ij,jk,kl->il", A[:20], B, C[:, :20])
        return curvature.alignment(kernel, truth[:20, :20].double())

    before = aligned()
    optimizer = irk.optim.GroupRMSprop(model.parameters(), lr=1e-3, eps=1e-4)
    run = irk.fit(model, observed, optimizer, steps=60_000, stop=irk.Stop(loss=1e-6, every=1), progress=False)
    assert run.reason == "converged" and (model().detach() - truth).square().mean() < 1e-4
    assert aligned() > 2 * before
