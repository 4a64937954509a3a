"""Memory layouts that an operand may come in; each maker returns a tensor of the given shape."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor


def _contiguous(values: Tensor) -> Tensor:
    return values.contiguous()


def _transposed(values: Tensor) -> Tensor:
    """Stored with its axes in reverse order."""
    axes = tuple(reversed(range(values.dim())))
    return values.permute(axes).contiguous().permute(axes)


def _sliced(values: Tensor) -> Tensor:
    """Every second element from an offset on, among NaN: whoever reads beside the operand sees it."""
    room = torch.full([2 * extent + 3 for extent in values.shape] or [3], math.nan, dtype=values.dtype)
    view = room[tuple(slice(1, 1 + 2 * extent, 2) for extent in values.shape)] if values.dim() else room[1]
    view.copy_(values)
    return view


def _expanded(values: Tensor) -> Tensor:
    """Stride 0 along the last axis longer than one: its first element stands for all."""
    for axis in reversed(range(values.dim())):
        if values.shape[axis] > 1:
            return values.narrow(axis, 0, 1).contiguous().expand(values.shape)
    return values.contiguous()


STRIDES: dict[str, Callable[[Tensor], Tensor]] = {
    "contiguous": _contiguous,
    "transposed": _transposed,
    "sliced": _sliced,
    "expanded": _expanded,
}
