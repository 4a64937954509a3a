"""W = sum_r F_1[:, r] x ... x F_N[:, r], the canonical polyadic product (Razin, Maman, Cohen 2021)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def cp(factors: Sequence[Tensor]) -> Tensor:
    """The sum of R components.  factors: F_n [d_n, R]."""
    return torch.stack([component(factors, r) for r in range(factors[0].shape[1])]).sum(0)


def component(factors: Sequence[Tensor], r: int) -> Tensor:
    """The outer product of columns r."""
    outer = factors[0].new_ones(())
    for F in factors:
        outer = outer.unsqueeze(-1) * F[:, r]
    return outer


def cp_component_norms(factors: Sequence[Tensor]) -> Tensor:
    """[R]: the Frobenius norm of each component."""
    return torch.stack([component(factors, r).square().sum().sqrt() for r in range(factors[0].shape[1])])
