"""Checks of a chain of factors in matmul order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from irkernels._arguments import real


def checked_chain(who: str, factors: Any) -> tuple[Tensor, ...]:
    """Matrices [..., d_j, d_{j+1}] that multiply, of one floating dtype and device. Raises TypeError and ValueError."""
    if isinstance(factors, Tensor) or (not isinstance(factors, Sequence) and not hasattr(factors, "__iter__")):
        raise TypeError(f"{who}: factors must be a sequence of matrices, got {type(factors).__name__}")
    chain: tuple[Tensor, ...] = tuple(factors)
    if not chain:
        raise ValueError(f"{who}: factors is empty; a chain has one factor at least")
    first = chain[0]
    for position, factor in enumerate(chain):
        if real(f"{who}: factor {position}", factor).dtype != first.dtype:
            raise TypeError(
                f"{who}: factor {position} is {factor.dtype}, factor 0 is {first.dtype} (one floating dtype)"
            )
        if factor.device != first.device:
            raise ValueError(f"{who}: factor {position} is on {factor.device}, but factor 0 is on {first.device}")
        if factor.dim() < 2:
            raise ValueError(
                f"{who}: factor {position} has shape {list(factor.shape)}; a factor is [..., rows, columns]"
            )
        if position and chain[position - 1].shape[-1] != factor.shape[-2]:
            before = chain[position - 1].shape[-1]
            raise ValueError(
                f"{who}: factor {position} has {factor.shape[-2]} rows, factor {position - 1} has {before} columns"
                " (must be equal)"
            )
    return chain
