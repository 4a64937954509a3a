"""Numbers of a trial that the step loop itself can note at every step: formulas over loss, entries and determinant of W."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from irkernels._arguments import integer
from irkernels._watching import DETERMINANT_ORDER, FORMULA_DEPTH, Probe, Records

_OPERANDS = {"loss": 0, "watched": 0, "determinant": 0, "constant": 0, "absolute": 1, "root": 1, "power": 1, "choose": 3}


class Quantity:
    """A formula, one number for each trial: Loss(), Entry(i, j), Determinant(), and what + - * / ** abs() sqrt() < <= make.

    A comparison is 1 where it holds and 0 elsewhere; `a & b` is their product.  Give it to `fit(record=...)` itself for
    its value at the recorded steps, or in a `Running` for its extreme over all steps.
    """

    def __init__(self, tokens: tuple[tuple, ...], text: str) -> None:
        self._tokens, self._text = tokens, text

    def __repr__(self) -> str:
        return self._text

    def sqrt(self) -> Quantity:
        return Quantity((*self._tokens, ("root",)), f"sqrt({self._text})")

    def __abs__(self) -> Quantity:
        return Quantity((*self._tokens, ("absolute",)), f"abs({self._text})")

    def __neg__(self) -> Quantity:
        return -1.0 * self

    def __pow__(self, power: int) -> Quantity:
        return Quantity((*self._tokens, ("power", integer("power", power, 1))), f"{self._text}**{power}")

    def __bool__(self) -> bool:
        raise TypeError(f"{self._text} has a value at each step only; write (a < b) & (b < c) for a < b < c")

    def __add__(self, other: Any) -> Quantity:
        return _binary("add", "+", self, other)

    def __sub__(self, other: Any) -> Quantity:
        return _binary("subtract", "-", self, other)

    def __mul__(self, other: Any) -> Quantity:
        return _binary("multiply", "*", self, other)

    def __truediv__(self, other: Any) -> Quantity:
        return _binary("divide", "/", self, other)

    def __and__(self, other: Any) -> Quantity:
        return _binary("multiply", "&", self, other)

    def __lt__(self, other: Any) -> Quantity:
        return _binary("less", "<", self, other)

    def __le__(self, other: Any) -> Quantity:
        return _binary("at_most", "<=", self, other)

    def __gt__(self, other: Any) -> Quantity:
        return _binary("less", "<", other, self)

    def __ge__(self, other: Any) -> Quantity:
        return _binary("at_most", "<=", other, self)

    def __radd__(self, other: Any) -> Quantity:
        return _binary("add", "+", other, self)

    def __rsub__(self, other: Any) -> Quantity:
        return _binary("subtract", "-", other, self)

    def __rmul__(self, other: Any) -> Quantity:
        return _binary("multiply", "*", other, self)

    def __rtruediv__(self, other: Any) -> Quantity:
        return _binary("divide", "/", other, self)


class Loss(Quantity):
    """The loss that is trained."""

    def __init__(self) -> None:
        super().__init__((("loss",),), "loss")


class Entry(Quantity):
    """The entry of W at these coordinates."""

    def __init__(self, *at: int) -> None:
        at = tuple(integer("Entry: a coordinate", each, 0) for each in at)
        super().__init__((("entry", at),), f"W[{', '.join(map(str, at))}]")


class Determinant(Quantity):
    """det W of a square matrix of up to 8 rows; record the name "determinant" for larger ones."""

    def __init__(self) -> None:
        super().__init__((("determinant",),), "determinant")


@dataclass(frozen=True, repr=False)
class Running:
    """The least ("min") or greatest ("max") value of a quantity over all steps so far, where `where` is not 0.

    quantity: a Quantity, "loss" or "determinant".  Each step is looked at, whatever record_every is.  An infinity where
    no step has counted yet; a NaN stays.
    """

    kind: str
    quantity: Quantity | str
    where: Quantity | None = None

    def __post_init__(self) -> None:
        if self.kind not in _EXTREMES:
            raise ValueError(f"Running: the first argument must be min or max, got {self.kind!r}")
        for name, given in (("quantity", self.quantity), ("where", self.where)):
            if not isinstance(given, Quantity) and not (name == "where" and given is None):
                if name == "where" or not isinstance(given, str) or given not in NAMED:
                    raise TypeError(f"Running: {name} must be a Quantity, got {given!r}")

    def __repr__(self) -> str:
        return f"{self.kind} {self.quantity}" + ("" if self.where is None else f" where {self.where}")


NAMED: dict[str, Quantity] = {"loss": Loss(), "determinant": Determinant()}
_EXTREMES = {"min": ("least", float("inf")), "max": ("greatest", float("-inf"))}


def compile_records(
    quantities: Mapping[str, Quantity | Running], shape: tuple[int, ...], trials: int, every: int, like: torch.Tensor
) -> Records | None:
    """The quantities as probes, in their order; like: a factor, for dtype and device.

    Raises ValueError: coordinates that W does not have, a determinant of what is not square or too large, a formula too
    deep.
    """
    if not quantities:
        return None
    items = [(item, *_EXTREMES[item.kind]) if isinstance(item, Running) else (item, "value", float("nan"))
             for item in quantities.values()]  # fmt: skip
    formulas = [(_tokens(item), keep) for item, keep, _ in items]
    words = [token for tokens, _ in formulas for token in tokens]
    square = any(token[0] == "determinant" for token in words)
    if square and not has_determinant(shape):
        raise ValueError(f"record: no determinant of {shape} can be taken at each step; a square matrix of up to"
                         f" {DETERMINANT_ORDER} rows has one")  # fmt: skip
    listed = list(dict.fromkeys(token[1] for token in words if token[0] == "entry"))
    for at in listed:
        if len(at) != len(shape) or any(a >= extent for a, extent in zip(at, shape)):
            raise ValueError(f"record: Entry{at} is not an entry of the product, whose shape is {shape}")
    whole = square or (len(listed) > 1 and torch.Size(shape).numel() <= DETERMINANT_ORDER**2)
    index = {at: _linear(at, shape) if whole else n for n, at in enumerate(listed)}
    probes = [Probe(_numbered(tokens, index), keep) for tokens, keep in formulas]
    now = torch.stack([like.new_full((trials,), start) for _, _, start in items])
    return Records(every, probes, None if whole else listed, now, shape[0] if square else 0)


def has_determinant(shape: tuple[int, ...]) -> bool:
    """Whether the step loop can take it."""
    return len(shape) == 2 and shape[0] == shape[1] <= DETERMINANT_ORDER


def _tokens(item: Quantity | Running) -> tuple[tuple, ...]:
    if isinstance(item, Quantity):
        tokens = item._tokens
    else:
        tokens = (NAMED[item.quantity] if isinstance(item.quantity, str) else item.quantity)._tokens
        if item.where is not None:
            tokens = (*tokens, *item.where._tokens, ("constant", _EXTREMES[item.kind][1]), ("choose",))
    depth = most = 0
    for word, *_ in tokens:
        depth += 1 - _OPERANDS.get(word, 0 if word == "entry" else 2)
        most = max(most, depth)
    if most > FORMULA_DEPTH:
        raise ValueError(f"record: {item} needs {most} numbers at once, at most {FORMULA_DEPTH} can be held")
    return tokens


def _numbered(tokens: tuple[tuple, ...], index: dict[tuple[int, ...], int]) -> tuple:
    numbered = []
    for word, *rest in tokens:
        if word == "entry":
            numbered.append(("watched", index[rest[0]], 0.0))
        else:
            numbered.append((word, rest[0] if word == "power" else 0, rest[0] if word == "constant" else 0.0))
    return tuple(numbered)


def _binary(word: str, sign: str, left: Any, right: Any) -> Quantity:
    left, right = _quantity(left), _quantity(right)
    return Quantity((*left._tokens, *right._tokens, (word,)), f"({left} {sign} {right})")


def _quantity(value: Any) -> Quantity:
    if isinstance(value, Quantity):
        return value
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"expected a number or a Quantity, got {value!r}")
    return Quantity((("constant", float(value)),), f"{value:g}")


def _linear(at: tuple[int, ...], shape: tuple[int, ...]) -> int:
    linear = 0
    for a, extent in zip(at, shape):
        linear = linear * extent + a
    return linear
