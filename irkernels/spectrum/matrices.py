"""What every measure of a matrix asks of it: real floating-point, two axes, finite for LAPACK."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from irkernels._arguments import real


def as_matrices(verb: str, W: Any, name: str = "W") -> Tensor:
    """W [..., rows, cols]; float16 and bfloat16 as float32.  Raises TypeError (kind, dtype) and ValueError (axes)."""
    given = real(f"{verb}: {name}", W)
    if given.dim() < 2:
        raise ValueError(f"{verb}: {name} must be [..., rows, cols], got {list(given.shape)}")
    return given.float() if given.dtype in (torch.float16, torch.bfloat16) else given


def finite_part(W: Tensor) -> tuple[Tensor, Tensor]:
    """W with zeros for matrices that are not finite, which LAPACK refuses for all; and which are finite [..., 1]."""
    finite = torch.isfinite(W).all(-1).all(-1)[..., None]
    return torch.where(finite[..., None], W, torch.zeros_like(W)), finite


def known_where(finite: Tensor, values: Tensor) -> Tensor:
    """The values [..., k], NaN for matrices that are not finite."""
    return torch.where(finite, values, torch.full_like(values, torch.nan))
