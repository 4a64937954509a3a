"""Measurements of W: y = a linear map of the product, given by constants of one row a measurement.

With its constants as further operands, a measured product is again a product, of the shape of y: `ij,jk->ik` measured
by `mik->m` is `ij,jk,mik->m`. So training on measurements is training on a dense target.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from irkernels._arguments import strided, with_numbers
from irkernels.grammar import fresh_letters

_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


class Measurements:
    """Base of Sensing, RankOneSensing and Regression: constants [m, ...] and y, copied and never changed.

    y: [m, ...] or [trials, m, ...], finite, of the constants' dtype (float16, bfloat16, float32, float64) and device.
    Raises TypeError (dtype) and ValueError (shapes, devices, NaN or infinite entries, tensors that require grad).
    """

    __slots__ = ("_constants", "_y")
    kind: str  # in messages
    names: tuple[str, str]  # of the constants and of y

    def __init__(self, constants: tuple[Any, ...], labels: tuple[str, ...], y: Any) -> None:
        said = [f"{self.kind}: {label}" for label in (*labels, self.names[1])]
        given = [_read(name, each) for name, each in zip(said, (*constants, y))]
        for name, tensor in zip(said, given):
            if tensor.dtype != given[0].dtype:
                raise TypeError(f"{name} is of dtype {tensor.dtype}, but {labels[0]} of {given[0].dtype}")
            if tensor.device != given[0].device:
                raise ValueError(f"{name} is on {tensor.device}, but {labels[0]} on {given[0].device}")
        *rows, target = (_finite_copy(name, tensor) for name, tensor in zip(said, given))
        for label, tensor in zip(labels, rows):
            if tensor.dim() == 0 or tensor.shape[0] == 0:
                raise ValueError(f"{self.kind}: {label} must be [m, ...] with m at least 1, got {list(tensor.shape)}")
            if tensor.shape[0] != rows[0].shape[0]:
                raise ValueError(
                    f"{self.kind}: {label} has {tensor.shape[0]} rows, but {labels[0]} has {rows[0].shape[0]}"
                    " (one row for each measurement)"
                )
        self._constants, self._y = tuple(rows), target

    @property
    def constants(self) -> tuple[Tensor, ...]:
        """The operands that the measured product has beside the factors, each [m, ...]."""
        return self._constants

    @property
    def count(self) -> int:
        """m, the number of measurements."""
        return self._constants[0].shape[0]

    @property
    def target(self) -> Tensor:
        """What the measured product is to be."""
        return self._y

    @property
    def dtype(self) -> torch.dtype:
        return self._y.dtype

    @property
    def device(self) -> torch.device:
        return self._y.device

    def extend(self, equation: str) -> str:
        """The equation of the measured product; the constants are its last operands."""
        inputs, output = equation.split("->")
        terms, measured = self._terms(output, fresh_letters(equation, 1)[0])
        return f"{','.join((inputs, *terms))}->{measured}"

    def measured_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of the measurements of a product of this shape. Raises ValueError where constants do not fit."""
        raise NotImplementedError

    def _terms(self, output: str, row: str) -> tuple[tuple[str, ...], str]:
        """The constants' terms and the output's, from the product's output letters and the letter of the rows."""
        raise NotImplementedError

    def _arguments(self) -> tuple[Any, Any]:
        """What the constructor was given."""
        return self._constants[0], self._y

    def batch(self, chosen: Tensor, shape: tuple[int, ...]) -> Measurements:
        """These rows alone, of measurements of a product of this shape."""
        part = object.__new__(type(self))
        axis = self._y.dim() - len(self.measured_shape(shape))
        part._constants = tuple(constant[chosen] for constant in self._constants)
        part._y = self._y.index_select(axis, chosen)
        return part

    def to(self, *args: Any, **kwargs: Any) -> Measurements:
        """These measurements in another dtype or on another device; takes what torch.Tensor.to takes."""
        moved = [tensor.to(*args, **kwargs) for tensor in (*self._constants, self._y)]
        if all(new is old for new, old in zip(moved, (*self._constants, self._y))):
            return self
        first = tuple(moved[:-1]) if isinstance(self._arguments()[0], tuple) else moved[0]
        make: Callable[..., Measurements] = type(self)  # subclasses take what _arguments() gives
        return make(first, moved[-1])

    def __len__(self) -> int:
        return self.count

    def __repr__(self) -> str:
        shapes = ", ".join(str(tuple(constant.shape)) for constant in self._constants)
        shapes = f"({shapes})" if len(self._constants) > 1 else shapes
        said = f"{self.names[0]}={shapes}, {self.names[1]}={tuple(self._y.shape)}"
        return f"{type(self).__name__}({said}, dtype={self.dtype}, device={self.device})"

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), self._arguments()


def _read(name: str, given: Any) -> Tensor:
    try:
        tensor = given if isinstance(given, Tensor) else torch.as_tensor(given)
    except (RuntimeError, TypeError, ValueError):
        raise TypeError(f"{name} must be a tensor or what torch.as_tensor takes, got {type(given).__name__}") from None
    strided(name, tensor)
    if tensor.dtype not in _FLOATS:
        raise TypeError(
            f"{name} must be float16, bfloat16, float32 or float64 (the factors' dtype), got {tensor.dtype}"
        )
    if tensor.requires_grad:
        raise ValueError(f"{name} must not require grad; detach it")
    return tensor


def _finite_copy(name: str, tensor: Tensor) -> Tensor:
    finite = torch.isfinite(with_numbers(name, tensor))
    if not finite.all():
        where = (~finite).nonzero()[0].tolist()
        raise ValueError(f"{name} has {tensor[tuple(where)].item()} at {where}; it must be finite")
    return tensor.clone(memory_format=torch.contiguous_format)
