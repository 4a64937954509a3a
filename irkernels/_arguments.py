"""Checks of plain arguments, with one wording for all of the package."""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from irkernels.observed import was_freed
from irkernels.reference.operands import DTYPES


def integer(name: str, value: Any, least: int) -> int:
    """value as an int (NumPy's integers too). Raises TypeError (not an integer) and ValueError (below `least`)."""
    if isinstance(value, (bool, Tensor)) or not hasattr(value, "__index__"):
        raise TypeError(f"{name} must be an integer, got {value!r}")
    found = operator.index(value)
    if found < least:
        raise ValueError(f"{name} must be at least {least}, got {found}")
    if found >= 2**63:
        raise ValueError(
            f"{name} must be below 2^63, got {found:.3e}" if found < 10**300 else f"{name} must be below 2^63"
        )
    return found


def flag(name: str, value: Any) -> bool:
    """value as a bool (0, 1 and NumPy's bools too). Raises TypeError."""
    if not isinstance(value, (int, np.bool_)) or value not in (0, 1):
        raise TypeError(f"{name} must be True or False, got {type(value).__name__}")
    return bool(value)


def strided(name: str, value: Any) -> Tensor:
    """The value, a strided tensor. Raises TypeError, and ValueError where its memory was given back."""
    if not isinstance(value, Tensor):
        raise TypeError(f"{name} must be a torch.Tensor, got {type(value).__name__}")
    if value.layout != torch.strided:
        raise TypeError(f"{name} is {value.layout}; supported is torch.strided (convert it with .to_dense())")
    if was_freed(value):
        raise ValueError(f"{name} has elements, but no memory (its storage was resized to nothing)")
    return value


def real(name: str, value: Any) -> Tensor:
    """The value, a strided tensor of a supported floating-point dtype. Raises TypeError, and ValueError as strided."""
    tensor = strided(name, value)
    if tensor.dtype not in DTYPES:
        raise TypeError(f"{name} must be real floating-point, got {tensor.dtype}; float16 to float64 are supported")
    return tensor


def on_one_device(name: str, value: Tensor, beside: str, other: Tensor) -> None:
    """Raises ValueError where two tensors are not on the same device."""
    if value.device != other.device:
        raise ValueError(f"{name} is on {value.device}, {beside} on {other.device} (devices must be equal)")


def with_numbers(name: str, value: Tensor) -> Tensor:
    """The value, where it has numbers to look at. Raises ValueError for one on the meta device."""
    if value.is_meta:
        raise ValueError(f"{name} is on meta: its numbers are asked for, and it has none")
    return value


def number(name: str, value: Any, least: float = -math.inf) -> float:
    """value as a finite float. Raises TypeError (no number) and ValueError (not finite, below `least`)."""
    try:
        if isinstance(value, (str, bytes, bytearray)):  # float() would read them
            raise TypeError
        found = float(value)
    except (TypeError, ValueError, OverflowError, RuntimeError):
        raise TypeError(f"{name} must be a number, got {value!r:.60}") from None
    if not math.isfinite(found) or found < least:
        raise ValueError(f"{name} must be finite{'' if least == -math.inf else f' and at least {least}'}, got {found}")
    return found


def per_trial(name: str, value: Any, trials: int | None) -> Tensor:
    """A number, or one for each trial, as float64 [trials] on the CPU ([1] without trials); finite and not negative."""
    if isinstance(value, Tensor):
        strided(name, value)
    try:
        given = torch.as_tensor(value, dtype=torch.float64, device="cpu").detach()
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name} must be {_expected(trials)}, got {value!r}") from error
    if given.dim() > 0 and tuple(given.shape) != (() if trials is None else (trials,)):
        raise ValueError(f"{name} must be {_expected(trials)}, got shape {list(given.shape)}")
    values = given.expand(trials or 1).clone()
    for each in values.tolist():
        if not math.isfinite(each) or each < 0:
            raise ValueError(f"{name} must be finite and not negative, got {each}")
    return values


def _expected(trials: int | None) -> str:
    return "a number" if trials is None else f"a number or [{trials}], one for each trial"
