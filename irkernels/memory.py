"""How many bytes each verb takes from torch's allocator, counted from a plan before it runs.

The caller's own tensors, coordinates and their sort orders (made once for each Coordinates), and what torch's matmul
takes inside are apart; everything else is counted exactly.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from irkernels._launch import Explanation, compute_dtype


def output_bytes(plan: Explanation, dtype: torch.dtype) -> int:
    """Bytes of the value as the caller gets it."""
    return math.prod(plan.output_shape) * dtype.itemsize


def gradient_bytes(shapes: Sequence[tuple[int, ...]], wanted: Sequence[bool], dtype: torch.dtype) -> int:
    return sum(math.prod(shape) for shape, w in zip(shapes, wanted) if w) * dtype.itemsize


def peaks(
    plan: Explanation, shapes: Sequence[tuple[int, ...]], wanted: Sequence[bool], dtype: torch.dtype, listed: bool
) -> dict[str, int]:
    """The most bytes alive at once during each verb, results included.

    "value": einsum or entries, no gradient asked for.  "value and gradients": the same with backward().  "gradients":
    the verb of that name.  "loss and gradients": completion_loss with backward(), values of one row, no weights.
    """
    work, wide = plan.workspace, compute_dtype(dtype)
    output, gradients = output_bytes(plan, dtype), gradient_bytes(shapes, wanted, dtype)
    if not listed:
        found = {
            "value": output + work["value"],
            "value and gradients": output + plan.saved_bytes + max(work["forward"], gradients + work["backward"]),
            "gradients": gradients + work["gradients"],
        }
        return found
    computed = math.prod(plan.output_shape) * wide.itemsize  # entries are computed wide, then cast
    cast, wide_cotangent = (output, computed) if dtype != wide else (0, 0)
    trials = math.prod(plan.output_shape[:-1])
    loss = trials * wide.itemsize
    values = plan.output_shape[-1] * wide.itemsize if dtype != wide else 0
    kept = computed + plan.saved_bytes
    return {
        "value": computed + max(work["value"], cast),
        "value and gradients": max(
            kept + max(work["forward"], cast), output + plan.saved_bytes + wide_cotangent + gradients + work["backward"]
        ),
        "gradients": wide_cotangent + gradients + work["gradients"],
        "loss and gradients": max(
            kept + loss + values + max(work["loss"], trials * dtype.itemsize if dtype != wide else 0),
            kept + trials * dtype.itemsize + computed + gradients + work["backward"],
        ),
    }
