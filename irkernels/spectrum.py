"""The spectrum of end-to-end matrices, batched over trials."""

from __future__ import annotations

import torch
from torch import Tensor


def singular_values(W: Tensor) -> Tensor:
    """The singular values [..., min(rows, cols)] of W [..., rows, cols], largest first; NaN for a W that is not finite.

    float16 and bfloat16 are decomposed in float32, which is then the result's dtype.  Raises ValueError if W has no two
    axes and TypeError if it is not real floating-point.
    """
    if not W.is_floating_point():
        raise TypeError(f"singular_values: W must be real floating-point, got {W.dtype}")
    if W.dim() < 2:
        raise ValueError(f"singular_values: W must be [..., rows, cols], got {list(W.shape)}")
    W = W.float() if W.dtype in (torch.float16, torch.bfloat16) else W
    finite = torch.isfinite(W).all(-1).all(-1)[..., None]
    # LAPACK refuses a non-finite matrix, and with it every other trial of the call
    values = torch.linalg.svdvals(torch.where(finite[..., None], W, torch.zeros_like(W)))
    return torch.where(finite, values, torch.full_like(values, torch.nan))


def effective_rank(W: Tensor) -> Tensor:
    """exp(-sum p log p), p = s / sum(s), s the singular values of W [..., rows, cols]: shape [...] (Arora et al. 2019).

    Between 1 and min(rows, cols); 0 for W = 0, NaN for a W that is not finite.  Raises what singular_values raises.
    """
    return effective_rank_of(singular_values(W))


def effective_rank_of(values: Tensor) -> Tensor:
    """The effective rank [...] of a spectrum [..., k]."""
    total = values.sum(-1, keepdim=True)
    p = values / torch.where(total == 0, torch.ones_like(total), total)
    rank = torch.special.entr(p).sum(-1).exp()
    return torch.where(total[..., 0] == 0, torch.zeros_like(rank), rank)
