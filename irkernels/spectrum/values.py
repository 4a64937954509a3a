"""Singular values of end-to-end matrices, and how many of them count."""

from __future__ import annotations

import torch
from torch import Tensor

from irkernels.spectrum.matrices import as_matrices, finite_part, known_where


def singular_values(W: Tensor) -> Tensor:
    """The singular values [..., min(rows, cols)] of W [..., rows, cols], largest first; NaN for a W that is not finite.

    float16 and bfloat16 are decomposed in float32, which is then the result's dtype.  The gradient is finite where
    values repeat; the second derivative is not (norms.py has those of the nuclear norm).
    Raises ValueError if W has no two axes and TypeError if it is not real floating-point.
    """
    W, finite = finite_part(as_matrices("singular_values", W))
    return known_where(finite, torch.linalg.svdvals(W))


def effective_rank(W: Tensor) -> Tensor:
    """exp(-sum p log p), p = s / sum(s), s the singular values of W [..., rows, cols]: shape [...].

    Roy, Vetterli, The Effective Rank (2007); Arora, Cohen, Hu, Luo (2019).  Between 1 and min(rows, cols); 0 for W = 0,
    NaN for a W that is not finite.  Raises what singular_values raises.
    """
    return effective_rank_of(singular_values(W))


def effective_rank_of(values: Tensor) -> Tensor:
    """The effective rank [...] of a spectrum [..., k]; a value that is exactly zero has slope 0, not its limit."""
    total = values.sum(-1, keepdim=True)
    p = values / torch.where(total == 0, torch.ones_like(total), total)
    rank = torch.special.entr(torch.where(p == 0, torch.ones_like(p), p)).sum(-1).exp()  # entr(1) is entr(0)
    return torch.where(total[..., 0] == 0, torch.zeros_like(rank), rank)


def stable_rank(W: Tensor) -> Tensor:
    """||W||_F^2 / ||W||_2^2 of W [..., rows, cols]: shape [...], between 1 and the rank; 0 for W = 0.

    Rudelson, Vershynin, Sampling from Large Matrices (2007).  Raises what singular_values raises.
    """
    values = singular_values(W)
    largest = values[..., :1].sum(-1, keepdim=True)  # a matrix of no rows or columns has none
    shares = values / torch.where(largest == 0, torch.ones_like(largest), largest)
    return shares.square().sum(-1)
