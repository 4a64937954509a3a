"""How the slices of a Tucker core grow under gradient flow: exact, for any core and factors, plain or deep.

T_j, the part of W through index j of mode n, is linear in slice C_j, so that d||C_j||/dt = <-G, T_j> / ||C_j||.
Deep Tucker Factorization with a chain for each column: the successor of Hariz et al. (2022).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from irkernels.dynamics.components import Part, product_of
from irkernels.dynamics.equations import tucker_equation
from irkernels.dynamics.norms import over
from irkernels.dynamics.widths import widened, widened_gradient
from irkernels.functional import gradients


def slice_velocity(core: Tensor, factors: Sequence[Part], gradient: Any, chains: str = "column") -> list[Tensor]:
    """For each mode d||C_j||/dt [..., r_n] of the core's slices; 0 for a slice that is zero.

    core: [..., r_1, .., r_N].  factors: for each mode [..., d_n, r_n], or the operands of a chain that stands for it,
    as component_velocity takes them.  gradient: G = dL/dW [..., d_1, .., d_N], an Observed, or a pair (at, values).
    Differentiable.  Raises what component_velocity raises.
    """
    core = widened(core)
    along = _along_slices(core, factors, gradient, chains)
    return [over(-each, _slice_norms(core, len(factors), n)) for n, each in enumerate(along)]


def slice_alignment(core: Tensor, factors: Sequence[Part], gradient: Any, chains: str = "column") -> list[Tensor]:
    """For each mode gamma_j = <-G, T_j / (||C_j|| prod of the norms of all that stands in column j)> [..., r_n].

    Of a column chain these are the matrices P_{j,.} and the vector c_j; of a plain factor its column, and of
    chains="factor" the columns of its product.  0 where a norm is 0.  Arguments and errors as of slice_velocity.
    """
    core, factors, found = widened(core), widened(list(factors)), []
    for n, each in enumerate(_along_slices(core, factors, gradient, chains)):
        norms = _slice_norms(core, len(factors), n)
        for block in _column_blocks(factors[n], chains):
            norms = norms * block
        found.append(over(-each, norms))
    return found


def _column_blocks(part: Part, chains: str) -> list[Tensor]:
    """The norms [..., r] of what stands in each column."""
    if isinstance(part, Tensor) or chains == "factor":
        return [torch.linalg.vector_norm(product_of(part, chains)[0], dim=-2)]
    *matrices, last = part
    return [torch.linalg.matrix_norm(P) for P in matrices] + [torch.linalg.vector_norm(last, dim=-2)]


def _along_slices(core: Tensor, factors: Sequence[Part], gradient: Any, chains: str) -> list[Tensor]:
    """For each mode <G, T_j> [..., r_n]."""
    if not isinstance(factors, Sequence) or not factors:
        raise ValueError("slices need a sequence of at least one factor")
    matrices = [product_of(part, chains)[0] for part in widened(list(factors))]
    order = len(matrices)
    product = core * gradients(tucker_equation(order), core, *matrices, cotangent=widened_gradient(gradient))[0]
    return [_sum_but(product, order, n) for n in range(order)]


def _slice_norms(core: Tensor, order: int, axis: int) -> Tensor:
    return _sum_but(core.square(), order, axis).sqrt()


def _sum_but(tensor: Tensor, order: int, axis: int) -> Tensor:
    """The sum over the last `order` axes but one: [..., r]."""
    others = [each - order for each in range(order) if each != axis]
    return tensor.sum(others) if others else tensor
