"""Checks of plain arguments, with one wording for all of the package."""

from __future__ import annotations

import math
import operator
from typing import Any

import torch
from torch import Tensor


def integer(name: str, value: Any, least: int) -> int:
    """value as an int (NumPy's integers too). Raises TypeError (not an integer) and ValueError (below `least`)."""
    if isinstance(value, (bool, Tensor)) or not hasattr(value, "__index__"):
        raise TypeError(f"{name} must be an integer, got {value!r}")
    value = operator.index(value)
    if value < least:
        raise ValueError(f"{name} must be at least {least}, got {value}")
    return value


def per_trial(name: str, value: Any, trials: int | None) -> Tensor:
    """A number, or one for each trial, as float64 [trials] on the CPU ([1] without trials); finite and not negative."""
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
