"""All factor gradients from the end-to-end G = dL/dW: a vector-Jacobian product."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from irkernels.observed import Coordinates, Observed
from irkernels.reference.einsum import einsum
from irkernels.reference.entries import entries, read_coordinates
from irkernels.reference.equation import Equation, read_equation


def gradients(equation: str, *operands: Tensor, cotangent: Any, path: Any = None) -> tuple[Tensor, ...]:
    """One gradient for each operand position (tied operands included): the pullback of the product at `cotangent`.

    cotangent: tensor of the output's shape; or an Observed, whose values stand at its entries (duplicates add, weights
    play no part); or a pair (at, values [..., nnz]).  Operands that do not matter get zeros.  Differentiable to any
    order in the operands and in the cotangent's values.  Raises what einsum and entries raise, ValueError for a
    cotangent of another shape and TypeError for one of another dtype.
    """
    read = read_equation(equation, operands)
    if isinstance(cotangent, Tensor):
        _check("cotangent", cotangent, read.output_shape, operands)
        pullback = torch.func.vjp(lambda *factors: einsum(equation, *factors, path=path), *operands)[1]
        pulled: tuple[Tensor, ...] = pullback(cotangent)
        return pulled
    coordinates, values = read_listed(cotangent, read, operands)
    pullback = torch.func.vjp(lambda *factors: entries(equation, *factors, at=coordinates), *operands)[1]
    pulled = pullback(values)
    return pulled


def read_listed(cotangent: Any, read: Equation, operands: tuple[Tensor, ...]) -> tuple[Coordinates, Tensor]:
    """A cotangent given at listed entries, checked: its coordinates and its values [..., nnz]."""
    at, values = at_and_values(cotangent)
    if values.layout != torch.strided:
        raise TypeError(f"values of the cotangent are {values.layout}; supported is torch.strided")
    coordinates = read_coordinates(at, read)
    _check("values of the cotangent", values, (*read.dense, coordinates.nnz), operands, broadcasts=True)
    return coordinates, values.expand(*read.dense, coordinates.nnz)


def at_and_values(cotangent: Any) -> tuple[Any, Tensor]:
    """What lists a cotangent, (at, values), unchecked.  Raises TypeError for what does not."""
    if isinstance(cotangent, Observed):
        return cotangent, cotangent.values
    if not (isinstance(cotangent, (tuple, list)) and len(cotangent) == 2 and isinstance(cotangent[1], Tensor)):
        raise TypeError(
            f"cotangent must be a tensor, an Observed or a pair (at, values), got {type(cotangent).__name__}"
        )
    return cotangent[0], cotangent[1]


def _check(
    name: str, given: Tensor, shape: tuple[int, ...], operands: tuple[Tensor, ...], broadcasts: bool = False
) -> None:
    if given.dtype != operands[0].dtype:
        raise TypeError(f"{name} must be {operands[0].dtype} as the operands, got {given.dtype} (dtypes must be equal)")
    if given.device != operands[0].device:
        raise ValueError(
            f"{name} is on {given.device}, the operands are on {operands[0].device} (devices must be equal)"
        )
    fits = given.shape == shape
    if broadcasts:
        sizes = given.shape[-1:] == shape[-1:] and given.dim() <= len(shape)
        fits = sizes and all(a in (1, b) for a, b in zip(reversed(given.shape), reversed(shape)))
    if not fits:
        rule = "broadcast to it" if broadcasts else "must be equal"
        raise ValueError(f"{name} must be of shape {list(shape)}, got {list(given.shape)} ({rule})")
