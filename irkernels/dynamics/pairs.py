"""Checks of a matrix or a vector and the loss's gradient in it."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from irkernels._arguments import real
from irkernels.spectrum.matrices import as_matrices


def matrix_and_gradient(verb: str, W: Any, gradient: Any) -> tuple[Tensor, Tensor]:
    """Both [..., rows, cols], half types in float32.  Raises TypeError (kind, dtype) and ValueError (axes, shape)."""
    matrix, slope = as_matrices(verb, W), as_matrices(verb, gradient, "gradient")
    alike(verb, W, gradient, "W")
    return matrix, slope


def alike(verb: str, value: Any, other: Any, name: str, other_name: str = "gradient") -> None:
    """Raises TypeError and ValueError unless both are tensors of one dtype, device and shape."""
    for tensor, called in ((value, name), (other, other_name)):
        real(f"{verb}: {called}", tensor)
    if other.dtype != value.dtype:
        raise TypeError(f"{verb}: {other_name} is {other.dtype}, {name} is {value.dtype} (dtypes must be equal)")
    if other.device != value.device:
        raise ValueError(f"{verb}: {other_name} is on {other.device}, {name} is on {value.device} (must be equal)")
    if other.shape != value.shape:
        raise ValueError(
            f"{verb}: {other_name} is {list(other.shape)}, {name} is {list(value.shape)} (shapes must be equal)"
        )
