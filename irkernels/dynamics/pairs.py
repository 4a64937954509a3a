"""Checks of a matrix or a vector and the loss's gradient in it."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from irkernels.spectrum.matrices import as_matrices


def matrix_and_gradient(verb: str, W: Any, gradient: Any) -> tuple[Tensor, Tensor]:
    """Both [..., rows, cols], half types in float32.  Raises TypeError (kind, dtype) and ValueError (axes, shape)."""
    matrix, slope = as_matrices(verb, W), as_matrices(verb, gradient, "gradient")
    alike(verb, W, gradient, "W")
    return matrix, slope


def alike(verb: str, value: Tensor, gradient: Any, name: str) -> None:
    """Raises TypeError and ValueError unless the gradient has the value's kind, dtype, device and shape."""
    if not isinstance(gradient, Tensor):
        raise TypeError(f"{verb}: gradient must be a torch.Tensor, got {type(gradient).__name__}")
    if gradient.dtype != value.dtype:
        raise TypeError(f"{verb}: gradient is {gradient.dtype}, {name} is {value.dtype} (dtypes must be equal)")
    if gradient.device != value.device:
        raise ValueError(f"{verb}: gradient is on {gradient.device}, {name} is on {value.device} (must be equal)")
    if gradient.shape != value.shape:
        raise ValueError(
            f"{verb}: gradient is {list(gradient.shape)}, {name} is {list(value.shape)} (shapes must be equal)"
        )
