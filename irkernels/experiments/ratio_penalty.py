"""The ratio of nuclear to Frobenius norm, a penalty of which scale knows nothing (Zhao 2022)."""

from __future__ import annotations

import torch
from torch import Tensor


def nuclear_to_frobenius(W: Tensor) -> Tensor:
    """||W||_* / ||W||_F of W [..., rows, cols], differentiable: [...], between 1 and the root of the rank."""
    values = torch.linalg.svdvals(W)
    return values.sum(-1) / torch.linalg.vector_norm(values, dim=-1)
