"""The end-to-end product of trainable factors as a module: any equation, constants, trials."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from irkernels import functional
from irkernels._arguments import integer
from irkernels._problem import with_trials
from irkernels.logscaled import log_entries
from irkernels.observed import Observed
from irkernels.reference.equation import ELLIPSIS, read_equation
from irkernels.reference.logscaled import LogScaled
from irkernels.reference.operands import check_kind


class Product(nn.Module):
    """W = equation(factors, constants): a multilinear product whose factors are trained.

    equation: torch.einsum's syntax without `...`, for one trial.  factors: the trainable operands in operand order,
    each [*extents], or [trials, *extents] where `trials` is given; a nn.Parameter is taken as it is (the same one
    twice ties two operands), any other tensor is copied.  constants: operand position -> tensor without a trial axis,
    kept as a buffer.  All of one dtype (float16, bfloat16, float32, float64) and device.

    Called, it gives W, [*output] or [trials, *output].  `parameters()` yields the factors in operand order.
    Raises ValueError or TypeError naming the operand by position.
    """

    def __init__(
        self,
        equation: str,
        *factors: Tensor,
        constants: Mapping[int, Tensor] | None = None,
        trials: int | None = None,
    ) -> None:
        super().__init__()
        self.trials = None if trials is None else integer("trials", trials, 1)
        if constants is not None and not isinstance(constants, Mapping):
            raise TypeError(f"constants must map operand positions to tensors, got {type(constants).__name__}")
        constants = dict(constants or {})
        operands = _in_operand_order(factors, constants)
        self.equation = _explicit(equation, operands, constants, self.trials)
        self._constant_positions = tuple(sorted(constants))
        self.factors = nn.ParameterList(
            f if isinstance(f, nn.Parameter) else nn.Parameter(f.detach().clone(memory_format=torch.contiguous_format))
            for f in factors
        )
        for position in self._constant_positions:
            self.register_buffer(_buffer_name(position), constants[position].detach().clone())
        self._mark_trials()
        self.register_load_state_dict_post_hook(_mark_anew)  # type: ignore[no-untyped-call]

    def forward(self) -> Tensor:
        """The dense product W: [*output], or [trials, *output]."""
        return functional.einsum(self.verb_equation, *self.operands())

    def entries(self, at: Any) -> Tensor:
        """W[at], W never formed: [nnz], or [trials, nnz].  at: integer tensor [nnz, output letters] or Coordinates."""
        return functional.entries(self.verb_equation, *self.operands(), at=at)

    def log_entries(self, at: Any) -> LogScaled:
        """W[at] as sign and log |W[at]|, of any size: two tensors of the shape that `entries` has."""
        return log_entries(self.verb_equation, *self.operands(), at=at)

    def completion_loss(self, observed: Observed, loss: str = "mse", delta: float = 1.0) -> Tensor:
        """The loss at observed entries: a scalar, or [trials].  loss: mse, half_sse, l1 or huber (delta)."""
        return functional.completion_loss(
            self.verb_equation, *self.operands(), observed=observed, loss=loss, delta=delta
        )

    def operands(self) -> list[Tensor]:
        """Factors and constants in operand order."""
        constants, factors = self.constants, iter(self.factors)
        count = len(self.factors) + len(constants)
        return [constants[position] if position in constants else next(factors) for position in range(count)]

    @property
    def constants(self) -> dict[int, Tensor]:
        """Operand position -> constant."""
        return {position: getattr(self, _buffer_name(position)) for position in self._constant_positions}

    @property
    def verb_equation(self) -> str:
        """The equation as the verbs take it: with trials, factors and output begin with `...`."""
        return self.equation if self.trials is None else with_trials(self.equation, self._constant_positions)

    @property
    def shape(self) -> tuple[int, ...]:
        """The extents of W, without the trial axis."""
        return read_equation(self.verb_equation, tuple(self.operands())).shape

    def extra_repr(self) -> str:
        skip = 0 if self.trials is None else 1
        parts = [repr(self.equation), f"shape={_cross(self.shape)}"]
        parts.append(f"factors=[{', '.join(_cross(f.shape[skip:]) for f in self.factors)}]")
        if self._constant_positions:
            listed = ", ".join(f"{position}: {_cross(c.shape)}" for position, c in self.constants.items())
            parts.append(f"constants={{{listed}}}")
        if self.trials is not None:
            parts.append(f"trials={self.trials}")
        return ", ".join(parts)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.extra_repr()})"  # the parameter list would say the shapes again

    def _mark_trials(self) -> None:
        # a parameter's attribute is how an optimizer, given parameters only, knows that trials must not meet
        for factor in self.factors:
            factor.trials = self.trials

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        self._mark_trials()  # a copied parameter has lost its attributes

    def _apply(self, fn: Any, recurse: bool = True) -> Product:
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self._mark_trials()
        return self


def _mark_anew(module: Product, _: Any) -> None:
    """After load_state_dict, which with assign=True has put other parameters in."""
    module._mark_trials()


def _in_operand_order(factors: tuple[Tensor, ...], constants: dict[int, Tensor]) -> tuple[Tensor, ...]:
    count = len(factors) + len(constants)
    for position in constants:
        if isinstance(position, bool) or not isinstance(position, int):
            raise TypeError(f"constants: an operand position must be an integer, got {position!r}")
        if not 0 <= position < count:
            raise ValueError(f"constants: position {position} is not one of the {count} operands 0 to {count - 1}")
    if not factors:
        raise ValueError("a product needs at least one factor to train; all operands are constants")
    remaining = iter(factors)
    return tuple(constants[p] if p in constants else next(remaining) for p in range(count))


def _explicit(equation: str, operands: tuple[Tensor, ...], constants: dict[int, Tensor], trials: int | None) -> str:
    """The equation with its output written out and no spaces, checked against the operands."""
    if isinstance(equation, str) and ELLIPSIS in equation:
        raise ValueError(f"equation {equation!r} contains `...`; trials= gives every factor its trial axis")
    samples = tuple(operands)
    if trials is not None:
        for position, operand in enumerate(operands):
            if position in constants or not isinstance(operand, Tensor):
                continue
            check_kind(position, operand)
            if operand.dim() == 0 or operand.shape[0] != trials:
                raise ValueError(
                    f"operand {position} must be [{trials}, ...], one copy for each trial, got {list(operand.shape)}"
                )
        samples = tuple(o if p in constants or not isinstance(o, Tensor) else o[0] for p, o in enumerate(operands))
    read = read_equation(equation, samples)
    return ",".join("".join(term) for term in read.terms) + "->" + "".join(read.output)


def _buffer_name(position: int) -> str:
    return f"constant_{position}"


def _cross(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) if len(shape) else "scalar"
