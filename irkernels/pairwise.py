"""Pairwise functions of an array library, as contraction packages ask for them: opt_einsum with backend="irkernels"."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from irkernels._arguments import strided
from irkernels.functional import einsum
from irkernels.grammar import symbol
from irkernels.reference.operands import check_kind


def tensordot(a: Tensor, b: Tensor, dims: Any = 2, *, axes: Any = None) -> Tensor:
    """The product of two tensors summed over pairs of dimensions: torch.tensordot, numpy.tensordot (which says `axes`).

    dims: how many of a's last with b's first; or two lists, a's dimensions and b's, paired in order (one number each
    will do). Paired sizes are equal or 1.  Result: a's other dimensions, then b's.  Differentiable to any order.
    Raises TypeError (no tensor, dtype, dims) and ValueError (dimensions, sizes, devices), naming the operand.
    """
    check_kind(0, a)
    check_kind(1, b)
    left, right = _pairs(a, b, dims if axes is None else axes)
    names = [symbol(i) for i in range(a.dim() + b.dim())]
    first, second = names[: a.dim()], names[a.dim() :]
    for i, j in zip(left, right):
        if a.shape[i] != b.shape[j] and 1 not in (a.shape[i], b.shape[j]):
            raise ValueError(
                f"operand 1 of shape {list(b.shape)} has size {b.shape[j]} in dimension {j}, operand 0 of shape"
                f" {list(a.shape)} has {a.shape[i]} in dimension {i} (sizes of a pair must be equal or 1)"
            )
        second[j] = first[i]
    output = [letter for i, letter in enumerate(first) if i not in left] + [
        letter for j, letter in enumerate(second) if j not in right
    ]
    return einsum(f"{''.join(first)},{''.join(second)}->{''.join(output)}", a, b)


def transpose(a: Tensor, axes: Sequence[int] | None = None) -> Tensor:
    """The view of a with its dimensions in the order of `axes`, reversed without them: numpy.transpose.

    Raises TypeError (no tensor) and ValueError (axes that are not each dimension once).
    """
    check_kind(0, a)
    order = range(a.dim() - 1, -1, -1) if axes is None else _dimensions(axes, a, 0)
    if len(order) != a.dim():
        raise ValueError(f"axes {list(order)} are not the {a.dim()} dimensions of operand 0 (each must stand once)")
    return a.permute(*order)


def _pairs(a: Tensor, b: Tensor, dims: Any) -> tuple[list[int], list[int]]:
    """The dimensions of a and of b that are summed together."""
    if isinstance(dims, Tensor):
        if strided("dims", dims).device.type == "meta" or dims.numel() > 2 * (a.dim() + b.dim()):
            raise ValueError(
                f"dims must be a number of dimensions, or two lists of them, got {list(dims.shape)} numbers"
            )
        dims = dims.tolist()
    if hasattr(dims, "__index__"):
        n = operator.index(dims)
        if not 0 <= n <= min(a.dim(), b.dim()):
            raise ValueError(
                f"tensordot pairs {n} dimensions, but operand 0 has {a.dim()} and operand 1 has {b.dim()}"
                " (a number of dimensions that both have)"
            )
        return list(range(a.dim() - n, a.dim())), list(range(n))
    if not isinstance(dims, (list, tuple)) or len(dims) != 2:
        raise TypeError(f"dims must be a number of dimensions, or two lists of them, got {dims!r}")
    left, right = _dimensions(dims[0], a, 0), _dimensions(dims[1], b, 1)
    if len(left) != len(right):
        raise ValueError(
            f"tensordot pairs {len(left)} dimensions of operand 0 with {len(right)} of operand 1 (must be equal)"
        )
    return left, right


def _dimensions(given: Any, tensor: Tensor, position: int) -> list[int]:
    """Dimensions of a tensor, counted from 0; one number counts as a list of it."""
    found = [operator.index(d) for d in ((given,) if hasattr(given, "__index__") else given)]
    for d in found:
        if not -tensor.dim() <= d < tensor.dim():
            raise ValueError(
                f"operand {position} of shape {list(tensor.shape)} has no dimension {d}"
                f" (dimensions are {-tensor.dim()} to {tensor.dim() - 1})"
            )
    found = [d % tensor.dim() for d in found]
    if len(set(found)) < len(found):
        raise ValueError(f"a dimension of operand {position} stands twice in {found} (each may be given once)")
    return found
