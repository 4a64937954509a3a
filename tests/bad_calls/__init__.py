"""Calls that must fail: what is wrong, the call, the errors allowed, and words that the message must hold."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import torch

import irkernels as irk

A, B, C = torch.ones(2, 3), torch.ones(3, 4), torch.ones(4, 5)
AT = torch.tensor([[0, 1], [1, 3]])
VALUES = torch.ones(2)
CHAIN = "ij,jk->ik"

Call = Callable[[ModuleType], object]  # of irkernels, or of its reference
Row = tuple[str, Call, type[Exception] | tuple[type[Exception], ...], tuple[str, ...]]


def observed(**changed: object) -> irk.Observed:
    return irk.Observed(**(dict(at=AT, values=VALUES, shape=(2, 4)) | changed))
