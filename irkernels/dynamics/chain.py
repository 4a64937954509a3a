"""The velocity of an end-to-end product while its factors follow gradient flow, from the factors: -J J^T G."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from operator import add
from typing import Any

from torch import Tensor

from irkernels.dynamics.widths import checked_factors, widened_gradient
from irkernels.functional import chain_equation, einsum, gradients


def end_to_end_velocity(factors: Sequence[Tensor], gradient: Any, equation: str | None = None) -> Tensor:
    """dW/dt where every factor moves by minus its gradient: of W's shape, exact for any factors.

    Of a chain W = F_0 F_1 ... F_{N-1} (the default), with L_j = F_0 .. F_{j-1} and R_j = F_{j+1} .. F_{N-1},

        dW/dt = - sum_j L_j L_j^T G R_j^T R_j        (Arora, Cohen, Hu, Luo 2019; papers: W = W_N ... W_1)

    factors: [..., n_k, n_{k+1}] in matmul order, or the operands of `equation`, of one dtype; float16 and bfloat16 are
    computed in float32, which is then the result's dtype.
    gradient: G = dL/dW of W's shape, or an Observed, or a pair (at, values), as irk.gradients takes its cotangent.
    Differentiable in factors and G to any order.  Raises what irk.gradients raises.
    """
    factors, gradient = checked_factors("end_to_end_velocity", factors), widened_gradient(gradient)
    if equation is not None and not isinstance(equation, str):
        raise TypeError(f"equation must be a string, got {type(equation).__name__}")
    if not factors:
        raise ValueError("end_to_end_velocity needs at least one factor")
    slopes = gradients(equation or chain_equation(len(factors), False, False), *factors, cotangent=gradient)
    moves = [-slope for slope in slopes]
    return _pushed_chain(factors, moves) if equation is None else pushed(equation, factors, moves)


def pushed(equation: str, factors: Sequence[Tensor], tangents: Sequence[Tensor]) -> Tensor:
    """The derivative of the product along the tangents: sum_j of the product with tangent j in place of factor j."""
    return reduce(add, (einsum(equation, *factors[:j], v, *factors[j + 1 :]) for j, v in enumerate(tangents)))


def _pushed_chain(factors: Sequence[Tensor], tangents: Sequence[Tensor]) -> Tensor:
    """The same of a chain, every prefix multiplied once."""
    prefix, moved = factors[0], tangents[0]
    for factor, tangent in zip(factors[1:], tangents[1:]):
        prefix, moved = prefix @ factor, moved @ factor + prefix @ tangent
    return moved
