"""What the verbs are held to: torch.einsum on the dense product, and the scale that errors are judged by."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from operator import add
from typing import Any

import torch
from torch import Tensor

from irkernels.reference.equation import ELLIPSIS, read_equation
from irkernels.reference.losses import LOSSES


def dense_entries(equation: str, *operands: Tensor, at: Tensor) -> Tensor:
    """[..., nnz]: the dense product, then indexed."""
    read = read_equation(equation, tuple(operands))
    dense = torch.einsum(equation, *operands)
    first = read.output.index(ELLIPSIS) if ELLIPSIS in read.output else 0
    dense = dense.movedim(tuple(range(first, first + len(read.dense))), tuple(range(len(read.dense))))
    if not read.letters:
        return dense.unsqueeze(-1).expand(*dense.shape, len(at))
    index: tuple[Any, ...] = (..., *at.unbind(1))
    return dense[index]


def dense_completion_loss(
    equation: str, *operands: Tensor, at: Tensor, values: Tensor, weights: Tensor | None, loss: str, delta: float
) -> Tensor:
    """[...]: the loss at indexed entries of the dense product, entry by entry from its definition."""
    prediction = dense_entries(equation, *operands, at=at)
    values = values.expand(prediction.shape)
    weights = torch.ones_like(values) if weights is None else weights.expand(prediction.shape)
    parts = (
        weights[..., entry] * LOSSES[loss](prediction[..., entry], values[..., entry], delta)
        for entry in range(len(at))
    )
    total = reduce(add, parts, values.new_zeros(()))
    return total if loss == "half_sse" else total / weights.sum(-1)


def factor_gradients(equation: str, operands: Sequence[Tensor], cotangent: Tensor) -> tuple[Tensor, ...]:
    """Gradients of torch.einsum by autograd, one an operand position."""
    factors = [operand.detach().clone().requires_grad_() for operand in operands]
    product = torch.einsum(equation, *factors)
    return torch.autograd.grad(product, factors, cotangent, materialize_grads=True, allow_unused=True)


def absolute_product(equation: str, operands: Sequence[Tensor]) -> Tensor:
    """The same product of absolute values: what a rounding error is relative to, cancellation or not."""
    return torch.einsum(equation, *(operand.abs() for operand in operands))


def worst_ratio(found: Tensor, expected: Tensor, scale: Tensor) -> float:
    """max |found - expected| / scale over elements; 0 for no elements, infinite for any error where the scale is 0."""
    if found.shape != expected.shape:
        raise AssertionError(f"shape {tuple(found.shape)}, expected {tuple(expected.shape)}")
    if found.numel() == 0:
        return 0.0
    error = (found.detach().to(torch.float64) - expected.detach()).abs()
    ratio = torch.where(error == 0, 0.0, error / scale.detach())
    return float(torch.nan_to_num(ratio, nan=float("inf")).max())
