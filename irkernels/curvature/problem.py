"""What is differentiated twice: a product, a loss on data, and the operands that move, checked and read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from irkernels import execute
from irkernels._arguments import integer
from irkernels.curvature.linearization import Linearization
from irkernels.curvature.losses import Callback, Pointwise, checked_loss
from irkernels.grammar import explicit, without_path
from irkernels.measurements import Measurements
from irkernels.observed import Coordinates
from irkernels.reference.entries import read_coordinates
from irkernels.reference.equation import ELLIPSIS, Equation, read_equation
from irkernels.reference.losses import check_loss


@dataclass(frozen=True)
class Problem:
    """loss(P(operands)) at dtype float32 or float64; `given` are the operands as the caller has them."""

    equation: str
    given: tuple[Tensor, ...]
    operands: tuple[Tensor, ...]  # those, then the data's constants
    wanted: tuple[bool, ...]  # of `operands`
    loss: Pointwise | Callback
    at: Coordinates | None
    dense: tuple[int, ...]  # extents of the output's `...`: one loss for each

    def linearized(self) -> Linearization:
        return Linearization(self.equation, self.operands, self.wanted, self.loss, self.at)

    @property
    def terms(self) -> list[str]:
        """The letters of each given operand."""
        return explicit(without_path(self.equation)).partition("->")[0].split(",")[: len(self.given)]

    def as_given(self, found: Sequence[Tensor | None]) -> tuple[Tensor | None, ...]:
        """One for each given operand, in its dtype."""
        return tuple(None if each is None else each.to(operand.dtype) for each, operand in zip(found, self.given))


def read_problem(
    equation: str, operands: Sequence[Tensor], observed: Any, target: Any, loss: Any, delta: Any, wrt: Any
) -> Problem:
    """Raises TypeError and ValueError naming what does not fit."""
    given = tuple(operands)
    read = read_equation(equation, given)
    if observed is not None and target is not None:
        raise ValueError("observed and target were both given; a loss has one kind of data")
    checked_loss(loss, delta, observed is not None or target is not None)
    wanted = moving(wrt, len(given))
    dtype = execute.compute_dtype(given[0].dtype)
    if observed is not None:
        check_loss(read.dense, given[0], observed, loss, delta)
        at = read_coordinates(observed, read).to(given[0].device)
        weights = None if observed.weights is None else observed.weights.to(dtype)
        pointwise: Pointwise | Callback = Pointwise(loss, float(delta), observed.values.to(dtype), weights, 1)
    else:
        at = None
        if target is None:
            pointwise = Callback(loss)
        else:
            _check_dots_first(equation, read)
            equation, operands, values, axes = _read_target(equation, given, read, target)
            pointwise = Pointwise(loss, float(delta), values.to(dtype), None, axes)
    wanted += (False,) * (len(operands) - len(given))
    return Problem(equation, given, tuple(o.to(dtype) for o in operands), wanted, pointwise, at, read.dense)


def checked_tangents(tangents: Any, problem: Problem) -> list[Tensor | None]:
    """One for each operand of the problem, in its dtype; None stands for zero."""
    if isinstance(tangents, Tensor) or not isinstance(tangents, Sequence):
        raise TypeError(f"tangents must be a sequence, one for each operand, got {type(tangents).__name__}")
    if len(tangents) != len(problem.given):
        raise ValueError(
            f"tangents are {len(tangents)}, but the product has {len(problem.given)} operands (one for each)"
        )
    for position, (tangent, operand) in enumerate(zip(tangents, problem.given)):
        if tangent is None:
            continue
        if not isinstance(tangent, Tensor):
            raise TypeError(f"tangent {position} must be a tensor or None, got {type(tangent).__name__}")
        if (tangent.dtype, tangent.device) != (operand.dtype, operand.device):
            raise TypeError(
                f"tangent {position} is {tangent.dtype} on {tangent.device}, but operand {position} is"
                f" {operand.dtype} on {operand.device}"
            )
        if tangent.shape != operand.shape:
            raise ValueError(
                f"tangent {position} has shape {list(tangent.shape)}, but operand {position} has {list(operand.shape)}"
            )
    dtype = problem.operands[0].dtype
    cast = [None if tangent is None else tangent.to(dtype) for tangent in tangents]
    return cast + [None] * (len(problem.operands) - len(cast))


def moving(wrt: Any, count: int) -> tuple[bool, ...]:
    """Which of the operands move."""
    if wrt is None:
        return (True,) * count
    positions = [integer("wrt: a position", position, 0) for position in wrt]
    for position in positions:
        if position >= count:
            raise ValueError(f"wrt: position {position} is not one of the {count} operands 0 to {count - 1}")
    if not positions:
        raise ValueError("wrt is empty; at least one operand must move")
    return tuple(position in positions for position in range(count))


def _check_dots_first(equation: str, read: Equation) -> None:
    if ELLIPSIS in read.output and read.output[0] != ELLIPSIS:
        raise ValueError(
            f"the output of {without_path(equation)!r} must begin with its `...`: one loss for each of its indices"
        )


def _read_target(
    equation: str, given: tuple[Tensor, ...], read: Equation, target: Any
) -> tuple[str, tuple[Tensor, ...], Tensor, int]:
    """The equation of what meets the target, its operands, the target's values, and the axes of one loss."""
    if not isinstance(target, (Tensor, Measurements)):
        raise TypeError(
            "target must be a tensor of the product's shape, an irkernels.Sensing, RankOneSensing or Regression, got"
            f" {type(target).__name__}"
        )
    if target.dtype != given[0].dtype:
        raise TypeError(f"target is {target.dtype}, but the operands are {given[0].dtype}; convert with .to()")
    if target.device != given[0].device:
        raise ValueError(f"target is on {target.device}, but operand 0 is on {given[0].device}")
    operands, shape = given, read.shape
    if isinstance(target, Tensor):
        values = target
    else:
        shape, values = target.measured_shape(read.shape), target.target
        left, _, output = explicit(without_path(equation)).partition("->")
        dots = ELLIPSIS if ELLIPSIS in output else ""
        inputs, _, measured = target.extend(f"{left}->{output.replace(ELLIPSIS, '')}").partition("->")
        equation, operands = f"{inputs}->{dots}{measured}", (*given, *target.constants)
    if tuple(values.shape) not in {tuple(shape), (*read.dense, *shape)}:
        raise ValueError(
            f"target has shape {list(values.shape)}, but the {'product' if operands is given else 'measured product'}"
            f" is {[*read.dense, *shape]}"
        )
    return equation, operands, values, len(shape)
