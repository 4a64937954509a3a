"""The operators that torch.compile, torch.export and other tracers record; an eager call of a verb never comes here.

    verbs   product  entries  gradients  entries_gradients  completion_loss: compositions, by the rules of autograd.py
    leaves  value  forward  pullback  and their twins for listed entries, entries_loss: native code; shapes for tracers

A recorded verb becomes leaves where torch differentiates, transforms or casts it. A leaf that is differentiated itself
(a recorded graph run under autograd) goes back to the rules, so that derivatives chain to any order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, overload

import torch
from torch import _C, Tensor
from torch.autograd import forward_ad
from torch.utils.flop_counter import register_flop_formula

from irkernels import autocast, autograd, execute, flops, leaves, trials
from irkernels.observed import Coordinates, Observed, unchecked_coordinates, unchecked_observed
from irkernels.reference.equation import read_equation
from irkernels.reference.gradients import at_and_values, read_listed
from irkernels.reference.losses import check_loss

_LIBRARY = torch.library.Library("irkernels", "DEF")


def entries(equation: str, operands: tuple[Tensor, ...], at: Any) -> Tensor:
    """The recorded verb `entries`; coordinates are checked when they are looked at."""
    recorded: Tensor = torch.ops.irkernels.entries(equation, operands, _at(at, operands))
    return recorded


def gradients(equation: str, operands: tuple[Tensor, ...], cotangent: Any) -> tuple[Tensor, ...]:
    """The recorded verb `gradients`."""
    if isinstance(cotangent, Tensor):
        return tuple(torch.ops.irkernels.gradients(equation, operands, cotangent))
    at, values = at_and_values(cotangent)
    return tuple(torch.ops.irkernels.entries_gradients(equation, operands, values, _at(at, operands)))


def completion_loss(equation: str, operands: tuple[Tensor, ...], observed: Observed, loss: str, delta: float) -> Tensor:
    """The recorded verb `completion_loss`."""
    if not isinstance(observed, Observed):
        raise TypeError(f"observed must be an irkernels.Observed, got {type(observed).__name__}")
    recorded: Tensor = torch.ops.irkernels.completion_loss(
        equation, operands, observed.values, observed.weights, loss, float(delta), observed.at
    )
    return recorded


def _at(at: Any, operands: tuple[Tensor, ...]) -> Tensor:
    if isinstance(at, (Coordinates, Observed)):
        return at.at.to(operands[0].device)
    try:
        return (at if isinstance(at, Tensor) else torch.as_tensor(at)).to(operands[0].device)
    except (RuntimeError, TypeError, ValueError):
        raise TypeError(f"at must be a tensor or what torch.as_tensor takes, got {type(at).__name__}") from None


def _product(equation: str, operands: Sequence[Tensor], at: Tensor | None = None) -> Tensor:
    cast = autocast.product_operands(equation, tuple(operands))
    return autograd.product(equation, cast, _coordinates(equation, cast, at))


def _gradients(equation: str, operands: Sequence[Tensor], cotangent: Tensor, at: Tensor | None = None) -> list[Tensor]:
    given = cotangent if at is None else (at, cotangent)
    cast, given = autocast.gradient_operands(equation, tuple(operands), given)
    coordinates = _coordinates(equation, cast, at)
    if coordinates is not None:
        given = read_listed((coordinates, given[1]), read_equation(equation, cast), cast)[1]
    found = autograd.gradients(equation, (True,) * len(cast), cast, given, coordinates)
    return list(autocast.as_given(operands, found))


def _completion_loss(
    equation: str,
    operands: Sequence[Tensor],
    values: Tensor,
    weights: Tensor | None,
    kind: str,
    delta: float,
    at: Tensor,
) -> Tensor:
    cast, values, weights = autocast.loss_tensors(tuple(operands), values, weights)
    dense = read_equation(equation, cast).dense
    observed = unchecked_observed(_coordinates(equation, cast, at), values, weights)
    check_loss(dense, cast[0], observed, kind, delta)
    if dense and not autograd.transformed() and not execute.trials_everywhere(equation, cast, observed.coordinates):
        equation, cast = trials.everywhere(equation, cast, dense)
    return autograd.completion_loss(equation, cast, observed, kind, delta)


@overload
def _coordinates(equation: str, operands: tuple[Tensor, ...], at: Tensor) -> Coordinates: ...
@overload
def _coordinates(equation: str, operands: tuple[Tensor, ...], at: Tensor | None) -> Coordinates | None: ...
def _coordinates(equation: str, operands: tuple[Tensor, ...], at: Tensor | None) -> Coordinates | None:
    """Coordinates for the rules, whose numbers nobody can look at yet."""
    if at is None:
        return None
    return unchecked_coordinates(at.to(torch.int64), read_equation(equation, operands).shape)


def _forward_rule(
    equation: str, wanted: Sequence[bool], operands: Sequence[Tensor], at: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Nothing is kept: pullback_rule starts from the operands."""
    output = autograd.product(equation, tuple(operands), _coordinates(equation, tuple(operands), at))
    return output, leaves.kept_nothing(operands)


def _value_rule(equation: str, operands: Sequence[Tensor], at: Tensor | None = None) -> Tensor:
    return _forward_rule(equation, (), operands, at)[0]


def _pullback_rule(
    equation: str, wanted: Sequence[bool], operands: Sequence[Tensor], cotangent: Tensor, saved: Tensor | None,
    at: Tensor | None = None,
) -> list[Tensor]:
    operands = tuple(operands)
    cotangent = cotangent.to(operands[0].dtype)
    found = autograd.gradients(equation, tuple(wanted), operands, cotangent, _coordinates(equation, operands, at))
    return [gradient for gradient in found if gradient is not None]


def _loss_rule(
    equation: str, wanted: Sequence[bool], operands: Sequence[Tensor], values: Tensor, weights: Tensor | None,
    kind: str, delta: float, at: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """The slope depends on the operands too."""
    operands = tuple(operands)
    observed = unchecked_observed(_coordinates(equation, operands, at), values, weights)
    losses = autograd.completion_loss(equation, operands, observed, kind, delta)
    slope = autograd.loss_slope(autograd.product(equation, operands, observed.coordinates), observed, kind, delta)
    return losses, slope.to(execute.compute_dtype(slope.dtype)), leaves.kept_nothing(operands)


def _tensors(arguments: Sequence[Any]) -> list[Tensor]:
    return [t for a in arguments for t in (a if isinstance(a, (list, tuple)) else (a,)) if isinstance(t, Tensor)]


def _differentiated(tensors: Sequence[Tensor]) -> bool:
    graph = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)
    return graph or (forward_ad._current_level >= 0 and _C._is_fwd_grad_enabled())


def _define_verb(name: str, arguments: str, rule: Callable[..., Any]) -> None:
    _LIBRARY.define(f"{name}({arguments}", tags=(torch.Tag.pt2_compliant_tag,))
    # torch.func's transforms meet the rule before they take the call apart; autocast is read inside
    for key in ("CompositeImplicitAutograd", "FuncTorchDynamicLayerFrontMode"):
        _LIBRARY.impl(name, rule, key)


def _define_leaf(
    name: str, arguments: str, native: Callable[..., Any], shapes: Callable[..., Any], rule: Callable[..., Any],
    multiply_adds: Callable[..., int],
) -> None:  # fmt: skip
    unsafe = getattr(torch.Tag, "cudagraph_unsafe", None)  # coordinates are sorted and checked when they are first seen
    tags = (torch.Tag.pt2_compliant_tag, *((unsafe,) if unsafe and name.startswith("entries") else ()))
    _LIBRARY.define(f"{name}({arguments}", tags=tags)
    operator = getattr(torch.ops.irkernels, name)

    def differentiable(*given: Any) -> Any:
        tensors = _tensors(given)
        if _differentiated(tensors):
            return rule(*given)
        if execute.natively(tensors):
            return native(*given)  # which is where the dispatcher would arrive
        with _C._AutoDispatchBelowAutograd():
            return operator(*given)

    _LIBRARY.impl(name, native, "CPU")
    _LIBRARY.impl(name, native, "CUDA")
    _LIBRARY.impl(name, differentiable, "Autograd")
    _LIBRARY.impl(name, rule, "FuncTorchDynamicLayerFrontMode")
    torch.library.register_fake(f"irkernels::{name}", shapes, lib=_LIBRARY)
    register_flop_formula(operator, get_raw=True)(multiply_adds)


_OPERANDS = "str equation, Tensor[] operands"
_WANTED = "str equation, bool[] wanted, Tensor[] operands"
_OBSERVED = "Tensor values, Tensor? weights, str kind, float delta, Tensor at"

for _prefix, _listed in (("", ""), ("entries_", ", Tensor at")):
    _define_verb(_prefix.rstrip("_") or "product", f"{_OPERANDS}{_listed}) -> Tensor", _product)
    _define_verb(f"{_prefix}gradients", f"{_OPERANDS}, Tensor cotangent{_listed}) -> Tensor[]", _gradients)
    _define_leaf(
        f"{_prefix}value", f"{_OPERANDS}{_listed}) -> Tensor", leaves.value, leaves.value_shape, _value_rule,
        flops.value,
    )  # fmt: skip
    _define_leaf(
        f"{_prefix}forward", f"{_WANTED}{_listed}) -> (Tensor, Tensor)",
        leaves.forward, leaves.forward_shapes, _forward_rule, flops.forward,
    )  # fmt: skip
    _define_leaf(
        f"{_prefix}pullback", f"{_WANTED}, Tensor cotangent, Tensor? saved{_listed}) -> Tensor[]",
        leaves.pullback, leaves.pullback_shapes, _pullback_rule, flops.pullback,
    )  # fmt: skip
_define_verb("completion_loss", f"{_OPERANDS}, {_OBSERVED}) -> Tensor", _completion_loss)
_define_leaf(
    "entries_loss", f"{_WANTED}, {_OBSERVED}) -> (Tensor, Tensor, Tensor)",
    leaves.loss, leaves.loss_shapes, _loss_rule, flops.loss,
)  # fmt: skip
