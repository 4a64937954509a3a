"""beta_i = prod_l w_{l,i}, the diagonal linear network; signed, beta = u - v for two such chains."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def hadamard_chain(factors: Sequence[Tensor], signed: bool = False) -> Tensor:
    """The elementwise product of [n] vectors; signed: factors are [2, n], u_l and v_l, and prod_l u_l - prod_l v_l."""
    beta = torch.ones_like(factors[0])
    for w in factors:
        beta = beta * w
    return beta[0] - beta[1] if signed else beta
