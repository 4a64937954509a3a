"""What the leaf operators of ops.py do: native calls on tensors in memory, and shapes for tracers.

`at` is an integer tensor [nnz, letters of the output] or None (the whole product); `saved` is what `forward` kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import overload

import torch
from torch import SymInt, Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from irkernels import _launch, autograd, execute, reference
from irkernels.gather import gathered, scattered
from irkernels.observed import Coordinates, unchecked_observed
from irkernels.reference.equation import Equation, read_equation

_seen = WeakTensorKeyDictionary()  # coordinates checked and sorted before: tensor -> (version, Coordinates)


def value(equation: str, operands: Sequence[Tensor], at: Tensor | None = None) -> Tensor:
    operands, coordinates = tuple(operands), _coordinates(equation, operands, at)
    if coordinates is not None and _launch.prefers_gather(equation, operands, coordinates):
        return _launch.value(*gathered(equation, operands, coordinates))
    return _launch.value(equation, operands, coordinates)


def forward(
    equation: str, wanted: Sequence[bool], operands: Sequence[Tensor], at: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    operands, coordinates = tuple(operands), _coordinates(equation, operands, at)
    if coordinates is not None and _launch.prefers_gather(equation, operands, coordinates):
        return _launch.value(*gathered(equation, operands, coordinates)), kept_nothing(operands)
    output, saved = _launch.forward(equation, wanted, operands, coordinates)
    return output, kept_nothing(operands) if saved is None else saved


def pullback(
    equation: str, wanted: Sequence[bool], operands: Sequence[Tensor], cotangent: Tensor, saved: Tensor | None,
    at: Tensor | None = None,
) -> list[Tensor]:
    operands, coordinates = tuple(operands), _coordinates(equation, operands, at)
    if coordinates is not None:
        _check_cotangent(cotangent, (*read_equation(equation, operands).dense, coordinates.nnz))
    if coordinates is not None and _launch.prefers_gather(equation, operands, coordinates):
        rows_equation, rows = gathered(equation, operands, coordinates)
        of_rows = _launch.gradients(rows_equation, wanted, rows, cotangent.to(operands[0].dtype))
        found = scattered(equation, operands, coordinates, of_rows)
        return [gradient.contiguous() for gradient in found if gradient is not None]
    if saved is None or saved.numel() == 0:
        found = _launch.gradients(equation, wanted, operands, cotangent, coordinates)
    else:
        found = _launch.backward(equation, wanted, operands, saved, cotangent, coordinates)
    return [gradient for gradient in found if gradient is not None]


def loss(
    equation: str, wanted: Sequence[bool], operands: Sequence[Tensor], values: Tensor, weights: Tensor | None,
    kind: str, delta: float, at: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    operands, coordinates = tuple(operands), _coordinates(equation, operands, at)
    if not _launch.prefers_gather(equation, operands, coordinates):
        observed = unchecked_observed(coordinates, values, weights)
        losses, slope, saved = _launch.loss(equation, wanted, operands, observed, kind, delta)
        return losses, slope, kept_nothing(operands) if saved is None else saved
    dtype = _launch.compute_dtype(operands[0].dtype)
    entries = _launch.value(*gathered(equation, tuple(operand.to(dtype) for operand in operands), coordinates))
    observed = unchecked_observed(coordinates, values.to(dtype), None if weights is None else weights.to(dtype))
    losses = reference.observed_loss(entries, observed.values, observed.weights, kind, delta)
    return losses.to(operands[0].dtype), autograd.loss_slope(entries, observed, kind, delta), kept_nothing(operands)


def kept_nothing(operands: Sequence[Tensor]) -> Tensor:
    return operands[0].new_empty(0, dtype=_launch.compute_dtype(operands[0].dtype))


@overload
def _coordinates(equation: str, operands: tuple[Tensor, ...], at: Tensor) -> Coordinates: ...
@overload
def _coordinates(equation: str, operands: tuple[Tensor, ...], at: Tensor | None) -> Coordinates | None: ...
def _coordinates(equation: str, operands: tuple[Tensor, ...], at: Tensor | None) -> Coordinates | None:
    """Checked against the equation, and sorted, once for each tensor that comes again unchanged."""
    if at is None:
        return None
    shape = read_equation(equation, operands).shape
    if at.is_inference():  # counts no changes
        return Coordinates(at, shape)
    seen: tuple[int, Coordinates] | None = _seen.get(at)
    if seen is None or seen[0] != at._version or seen[1].shape != shape:
        _seen[at] = seen = at._version, Coordinates(at, shape)
    return seen[1]


def value_shape(equation: str, operands: Sequence[Tensor], at: Tensor | None = None) -> Tensor:
    return operands[0].new_empty(_output_shape(_read(equation, operands, at), at))


def forward_shapes(
    equation: str, wanted: Sequence[bool], operands: Sequence[Tensor], at: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    return value_shape(equation, operands, at), _kept(equation, wanted, operands, at, of_loss=False)


def pullback_shapes(
    equation: str, wanted: Sequence[bool], operands: Sequence[Tensor], cotangent: Tensor, saved: Tensor | None,
    at: Tensor | None = None,
) -> list[Tensor]:
    _check_cotangent(cotangent, _output_shape(_read(equation, operands, at), at))
    if cotangent.device != operands[0].device:
        raise ValueError(
            f"the cotangent is on {cotangent.device}, the operands are on {operands[0].device} (devices must be equal)"
        )
    if at is None and cotangent.dtype != operands[0].dtype:
        raise TypeError(f"the cotangent is {cotangent.dtype}, the operands are {operands[0].dtype}")
    return [operand.new_empty(operand.shape) for operand, w in zip(operands, wanted) if w]


def loss_shapes(
    equation: str, wanted: Sequence[bool], operands: Sequence[Tensor], values: Tensor, weights: Tensor | None,
    kind: str, delta: float, at: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    shape = _output_shape(_read(equation, operands, at), at)
    slope = operands[0].new_empty(shape, dtype=_launch.compute_dtype(operands[0].dtype))
    return operands[0].new_empty(shape[:-1]), slope, _kept(equation, wanted, operands, at, of_loss=True)


def _read(equation: str, operands: Sequence[Tensor], at: Tensor | None) -> Equation:
    read = read_equation(equation, tuple(operands))
    if at is not None and (at.dim() != 2 or at.shape[1] != len(read.letters)):
        raise ValueError(
            f"coordinates: at must be [nnz, {len(read.letters)}], one column for each letter of the output, got "
            f"{list(at.shape)}"
        )
    return read


def _check_cotangent(cotangent: Tensor, expected: tuple[int, ...]) -> None:
    if tuple(cotangent.shape) != tuple(expected):
        raise ValueError(f"the cotangent has shape {list(cotangent.shape)}, the product has {list(expected)}")


def _output_shape(read: Equation, at: Tensor | None) -> tuple[int, ...]:
    return read.output_shape if at is None else (*read.dense, at.shape[0])


def _kept(
    equation: str, wanted: Sequence[bool], operands: Sequence[Tensor], at: Tensor | None, of_loss: bool
) -> Tensor:
    if at is None:
        sized, nnz = operands, -1
    else:
        sized, nnz = (*operands, at), at.shape[0]
    size: int | SymInt
    if not any(wanted):
        size = 0
    elif not execute.static(sized):
        size = torch.library.get_ctx().new_dynamic_size()
    elif at is not None and _launch.would_gather(equation, operands, nnz):
        size = 0
    else:
        size = _launch.kept_elements(equation, wanted, operands, nnz, of_loss)
    return operands[0].new_empty(size, dtype=_launch.compute_dtype(operands[0].dtype))
