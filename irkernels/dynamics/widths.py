"""float16 and bfloat16 as float32, in which velocities are computed: squares and quotients would leave their range."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from irkernels._arguments import real
from irkernels.observed import Observed

_HALF = (torch.float16, torch.bfloat16)


def widened(given: Any) -> Any:
    """Tensors of half type, in sequences too, and Observed values of it in float32; all else as it is."""
    if isinstance(given, (Tensor, Observed)):
        return given.to(torch.float32) if given.dtype in _HALF else given
    return [widened(each) for each in given] if isinstance(given, Sequence) and not isinstance(given, str) else given


def checked_factors(who: str, factors: Any) -> list[Tensor]:
    """A sequence of tensors, widened. Raises TypeError naming the one that is none."""
    if isinstance(factors, (Tensor, str)) or not isinstance(factors, Sequence):
        raise TypeError(f"{who}: factors must be a sequence of tensors, got {type(factors).__name__}")
    return [widened(real(f"{who}: factor {position}", factor)) for position, factor in enumerate(factors)]


def widened_gradient(given: Any) -> Any:
    """Of a dense gradient, an Observed, or a pair (at, values)."""
    return (given[0], widened(given[1])) if isinstance(given, tuple) and len(given) == 2 else widened(given)
