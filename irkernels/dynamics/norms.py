"""How a product of norms moves, the one law behind all components: for vectors v_k with velocities u_k

    d/dt prod_k ||v_k|| = sum_k <v_k / ||v_k||, u_k> prod_{m != k} ||v_m||
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from operator import mul

import torch
from torch import Tensor


def column_norms(vectors: Sequence[Tensor]) -> Tensor:
    """prod_k ||v_k[:, r]||: [..., R] of [..., d_k, R]."""
    norms: Tensor = reduce(mul, (torch.linalg.vector_norm(v, dim=-2) for v in vectors))
    return norms


def column_norms_velocity(vectors: Sequence[Tensor], velocities: Sequence[Tensor]) -> Tensor:
    """The velocity of column_norms; a zero vector's own norm counts as resting, and no other is divided by."""
    norms = [torch.linalg.vector_norm(v, dim=-2) for v in vectors]
    rates = [over((v * u).sum(-2), norm) for v, u, norm in zip(vectors, velocities, norms, strict=True)]
    total = torch.zeros_like(rates[0])
    before = torch.ones_like(rates[0])
    for k, rate in enumerate(rates):
        total = total + rate * reduce(mul, norms[k + 1 :], before)
        before = before * norms[k]
    return total


def over(values: Tensor, norms: Tensor) -> Tensor:
    """values / norms, 0 where the norm is 0."""
    zero = norms == 0
    return torch.where(zero, 0.0, values / torch.where(zero, 1.0, norms))
