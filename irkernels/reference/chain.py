"""W = A_1 A_2 ... A_N, the matrix chain in matmul order."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import torch
from torch import Tensor

from irkernels.reference.equation import join_axes
from irkernels.reference.operands import check_operands


def multi_dot(tensors: Sequence[Tensor]) -> Tensor:
    """The product of two or more matrices, as torch.linalg.multi_dot, leading dimensions broadcast.

    tensors: [..., n_k, n_{k+1}]; the first may be [n_1] (a row) and the last [n_N] (a column), and the result then
    lacks that axis.  Differentiable to any order.  Raises ValueError (fewer than two, dimensions, extents, devices)
    and TypeError (no tensor, dtypes).
    """
    tensors = tuple(tensors)
    _check(tensors)
    row, column = tensors[0].dim() == 1, tensors[-1].dim() == 1
    factors = [
        tensors[0].unsqueeze(0) if row else tensors[0],
        *tensors[1:-1],
        tensors[-1].unsqueeze(1) if column else tensors[-1],
    ]
    product = reduce(torch.matmul, factors)
    product = product.squeeze(-1) if column else product
    return product.squeeze(-1 if column else -2) if row else product


def _check(tensors: tuple[Tensor, ...]) -> None:
    if len(tensors) < 2:
        raise ValueError(f"multi_dot needs at least two tensors, got {len(tensors)}")
    check_operands(tensors)
    last = len(tensors) - 1
    trials: tuple[int, ...] = ()
    owner: dict[int, int] = {}
    for position, tensor in enumerate(tensors):
        if tensor.dim() < (1 if position in (0, last) else 2):
            raise ValueError(
                f"operand {position} has {tensor.dim()} dimensions, but a factor of a chain has at least 2"
            )
        trials = join_axes(tensors, position, tuple(tensor.shape[:-2]), trials, owner)
        if position == 0:
            continue
        before = tensors[position - 1].shape[-1]
        rows = tensor.shape[0] if tensor.dim() == 1 else tensor.shape[-2]
        if rows != before:
            raise ValueError(
                f"operand {position} has {rows} rows, operand {position - 1} has {before} columns (must be equal)"
            )
