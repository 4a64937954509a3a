"""Second derivatives of product losses in plain torch, by differentiating twice, and tangent kernels from Jacobians."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import reduce
from operator import add
from typing import Any

import torch
from torch import Tensor

from irkernels.observed import Observed
from irkernels.reference.einsum import einsum
from irkernels.reference.equation import read_equation
from irkernels.reference.fit import dense_loss
from irkernels.reference.losses import completion_loss


def product_loss(
    equation: str,
    *operands: Tensor,
    observed: Observed | None = None,
    target: Any = None,
    loss: Any = "mse",  # a name, or a function of W
    delta: float = 1.0,
) -> Tensor:
    """The loss of a product on observed entries, on a dense target, on measurements, or by a function of W."""
    if observed is not None:
        return completion_loss(equation, *operands, observed=observed, loss=loss, delta=delta)
    if target is None:
        of_product: Tensor = loss(einsum(equation, *operands))
        return of_product
    trials = bool(read_equation(equation, operands).dense)
    if not isinstance(target, Tensor):  # measurements: their constants are further operands
        inputs, output = equation.split("->")
        extended = target.extend(f"{inputs}->{output.replace('...', '')}")
        equation = extended.replace("->", "->...") if trials else extended
        operands, target = (*operands, *target.constants), target.target
    return dense_loss(einsum(equation, *operands), target, loss, delta, trials)


def hvp(equation: str, *operands: Tensor, tangents: Sequence[Tensor], **data: Any) -> tuple[Tensor, ...]:
    """The Hessian of the (summed) loss times the tangents, by double backward: one result for each operand.

    tangents: one for each operand, None for zero.  data: product_loss's keywords.
    """
    leaves = [operand.detach().requires_grad_() for operand in operands]
    with torch.enable_grad():
        value = product_loss(equation, *leaves, **data).sum()
        first = torch.autograd.grad(value, leaves, create_graph=True, materialize_grads=True)
        filled = [torch.zeros_like(leaf) if t is None else t for leaf, t in zip(leaves, tangents)]
        along = reduce(add, ((g * t).sum() for g, t in zip(first, filled)))
        if not along.requires_grad:
            return tuple(torch.zeros_like(leaf) for leaf in leaves)
        return torch.autograd.grad(along, leaves, materialize_grads=True)


def hessian(equation: str, *operands: Tensor, **data: Any) -> Tensor:
    """[P, P] over all elements of all operands, one after the other; no trials."""
    sizes = [operand.numel() for operand in operands]

    def of_vector(theta: Tensor) -> Tensor:
        parts = [part.reshape(operand.shape) for part, operand in zip(theta.split(sizes), operands)]
        return product_loss(equation, *parts, **data)

    found: Tensor = torch.autograd.functional.hessian(of_vector, torch.cat([operand.flatten() for operand in operands]))
    return found


def sharpness(equation: str, *operands: Tensor, **data: Any) -> Tensor:
    """The largest eigenvalue of the whole Hessian; no trials."""
    largest: Tensor = torch.linalg.eigvalsh(hessian(equation, *operands, **data))[-1]
    return largest


def tangent_kernel(
    equation: str, *operands: Tensor, wrt: Sequence[int] | None = None, per_layer: bool = False
) -> Tensor:
    """[*shape, *shape], J J^T summed over the operands of wrt, or [L, *shape, *shape]; no trials."""
    operands = tuple(operands)
    wrt = range(len(operands)) if wrt is None else wrt
    shape = tuple(einsum(equation, *operands).shape)
    layers = []
    for position in sorted(wrt):
        units = torch.eye(operands[position].numel(), dtype=operands[position].dtype)
        J = units.new_zeros(math.prod(shape), len(units))
        for column, unit in enumerate(units):  # the product is linear in each operand
            unit = unit.reshape(operands[position].shape)
            J[:, column] = einsum(equation, *operands[:position], unit, *operands[position + 1 :]).flatten()
        layers.append((J @ J.T).reshape(shape * 2))
    return torch.stack(layers) if per_layer else reduce(add, layers)


def balanced_tangent_kernel(W: Tensor, X: Tensor, depth: int) -> Tensor:
    """(20) of a balanced chain from W [out, in] alone, X [n, in]: [n, out, n, out].

    sum_j ( x^T (W^T W)^{(j-1)/N} x' ) (W W^T)^{(N-j)/N}
    """
    kernel = W.new_zeros(())
    for j in range(1, depth + 1):
        inner = X @ _gram_power(W.T, (j - 1) / depth) @ X.T
        outer = _gram_power(W, (depth - j) / depth)
        kernel = kernel + torch.einsum("xy,ab->xayb", inner, outer)
    return kernel


def alignment(kernel: Tensor, targets: Tensor, centred: bool = True) -> Tensor:
    """<K, y y^T> / (|K|_F |y|^2) of one kernel [*shape, *shape] and targets [*shape] (Baratin et al. 2021)."""
    n = targets.shape[0]
    flat, Y = kernel.reshape(targets.numel(), -1), targets.reshape(n, -1)
    if centred:
        C = torch.eye(n, dtype=kernel.dtype) - 1 / n
        C = torch.kron(C, torch.eye(Y.shape[1], dtype=kernel.dtype))
        flat, Y = C @ flat @ C, (C @ Y.flatten())
    y = Y.flatten()
    cosine: Tensor = (flat * torch.outer(y, y)).sum() / (flat.norm() * y.norm() ** 2)
    return cosine


def _gram_power(W: Tensor, exponent: float) -> Tensor:
    """(W W^T)^exponent with 0^0 = 1, from the singular values of W: squaring them would lose the small ones."""
    vectors, values, _ = torch.linalg.svd(W)
    filled = values.new_zeros(len(W))
    filled[: len(values)] = values
    power: Tensor = vectors * filled ** (2 * exponent) @ vectors.T
    return power
