"""Geometric complexity of ReLU networks (Dherin et al. 2022, paper 14): the squared norm of a masked chain.

    f(x) = F_1 relu(F_2 .. relu(F_N x + b_N) .. + b_2) + b_1
    J(x) = F_1 D_1(x) F_2 D_2(x) .. F_N,    GC = mean_x |J(x)|_F^2

with D the masks of active units, constant almost everywhere, so that dGC/dF_j = 2 mean_x L_j^T J R_j^T is the gradient
of one product of factors and masks.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from irkernels import functional
from irkernels._arguments import real
from irkernels.grammar import symbol
from irkernels.measures.factors import checked_chain


def relu_masks(factors: Sequence[Tensor], X: Tensor, biases: Sequence[Tensor | None] | None = None) -> list[Tensor]:
    """Which hidden units are active, 0 or 1: [n, d_j] for each hidden layer, in matmul order.  X: [n, d_N]."""
    factors, biases = _checked(factors, X, biases)
    masks: list[Tensor] = []
    with torch.no_grad():
        hidden = X
        for factor, bias in zip(factors[:0:-1], biases[:0:-1]):
            before = hidden @ factor.T if bias is None else hidden @ factor.T + bias
            masks.append((before > 0).to(before.dtype))
            hidden = before.clamp(min=0)
    return masks[::-1]


def input_jacobian(factors: Sequence[Tensor], X: Tensor, biases: Sequence[Tensor | None] | None = None) -> Tensor:
    """J(x) for each sample: [n, d_0, d_N], of a network without biases or with one [d_j] (or None) for each factor.

    Differentiable in the factors, the masks held.  Raises TypeError and ValueError for factors, X or biases that do
    not fit.
    """
    masks = relu_masks(factors, X, biases)
    factors = tuple(factors)
    if len(factors) == 1:
        return factors[0].expand(len(X), *factors[0].shape)
    letters = [symbol(1 + i) for i in range(len(factors) + 1)]  # `a` is the sample
    terms, operands = [], []
    for position, factor in enumerate(factors):
        terms.append(letters[position] + letters[position + 1])
        operands.append(factor)
        if position < len(masks):
            terms.append("a" + letters[position + 1])
            operands.append(masks[position])
    return functional.einsum(f"{','.join(terms)}->a{letters[0]}{letters[-1]}", *operands)


def geometric_complexity(factors: Sequence[Tensor], X: Tensor, biases: Sequence[Tensor | None] | None = None) -> Tensor:
    """mean_x |J(x)|_F^2, a scalar; its gradient by the factors is dGC/dF.

    At most |F_j|_F^2 times the product of the other factors' squared spectral norms, for every j; without hidden
    layers |F_1|_F^2.  Raises what input_jacobian raises.
    """
    return input_jacobian(factors, X, biases).square().sum((-2, -1)).mean()


def _checked(
    factors: Sequence[Tensor], X: Tensor, biases: Sequence[Tensor | None] | None
) -> tuple[tuple[Tensor, ...], list[Tensor | None]]:
    factors = checked_chain("relu network", factors)
    for position, factor in enumerate(factors):
        if factor.dim() != 2:
            raise ValueError(f"relu network: factor {position} must be a matrix, got shape {list(factor.shape)}")
    if real("relu network: X", X).dim() != 2 or X.shape[1] != factors[-1].shape[1]:
        raise ValueError(f"relu network: X must be [n, {factors[-1].shape[1]}], got {list(X.shape)}")
    if X.dtype != factors[0].dtype:
        raise TypeError(f"relu network: X is {X.dtype}, but the factors are {factors[0].dtype}")
    if X.device != factors[0].device:
        raise ValueError(f"relu network: X is on {X.device}, but the factors are on {factors[0].device}")
    given: list[Tensor | None] = [None] * len(factors) if biases is None else list(biases)
    if len(given) != len(factors):
        raise ValueError(
            f"relu network: biases are {len(given)}, but factors are {len(factors)} (one or None for each)"
        )
    for position, (bias, factor) in enumerate(zip(given, factors)):
        if bias is not None and real(f"relu network: bias {position}", bias).shape != factor.shape[:1]:
            raise ValueError(f"relu network: bias {position} must be [{len(factor)}], got {list(bias.shape)}")
    return factors, given
