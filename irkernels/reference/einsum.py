"""W = P(factors), the end-to-end product: torch.einsum itself, after checks."""

from __future__ import annotations

import torch
from torch import Tensor

from irkernels.reference.equation import read_equation


def einsum(equation: str, *operands: Tensor) -> Tensor:
    """The product that the equation names; torch.einsum's syntax, semantics and result.

    operands: tensors of one dtype (float16, bfloat16, float32, float64) and device.  Differentiable to any order.
    Raises TypeError and ValueError naming the operand or letter (reference/equation.py).
    """
    read_equation(equation, operands)
    return torch.einsum(equation, *operands)
