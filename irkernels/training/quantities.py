"""Numbers of a trial that the step loop can note at every step: formulas over loss, entries and determinant of W."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from irkernels._arguments import integer
from irkernels._watching import DETERMINANT_ORDER, MOST_NUMBERS, Number, Records


class Quantity:
    """One number for each trial: Loss(), Entry(i, j), Determinant(), and what + - * / ** abs() .sqrt() < <= make of it.

    A comparison is 1 where it holds and 0 elsewhere; `a & b` is their product.  Give it to `fit(record=...)` itself for
    its value at the recorded steps, or in a `Running` for its extreme over all steps.
    """

    def __init__(self, word: str, operands: tuple[Quantity, ...] = (), detail: Any = None, text: str = "") -> None:
        self._word, self._operands, self._detail, self._text = word, operands, detail, text

    def __repr__(self) -> str:
        return self._text

    def sqrt(self) -> Quantity:
        return Quantity("root", (self,), text=f"sqrt({self})")

    def __abs__(self) -> Quantity:
        return Quantity("absolute", (self,), text=f"abs({self})")

    def __neg__(self) -> Quantity:
        return -1.0 * self

    def __pow__(self, power: int) -> Quantity:
        return Quantity("power", (self,), integer("power", power, 1), f"{self}**{power}")

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
        super().__init__("loss", text="loss")


class Entry(Quantity):
    """The entry of W at these coordinates."""

    def __init__(self, *at: int) -> None:
        at = tuple(integer("Entry: a coordinate", each, 0) for each in at)
        super().__init__("entry", detail=at, text=f"W[{', '.join(map(str, at))}]")


class Determinant(Quantity):
    """det W of a square matrix of up to 8 rows; record the name "determinant" for larger ones."""

    def __init__(self) -> None:
        super().__init__("determinant", text="determinant")


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
            named = name == "quantity" and isinstance(given, str) and given in NAMED
            absent = name == "where" and given is None
            if not (isinstance(given, Quantity) or named or absent):
                raise TypeError(f"Running: {name} must be a Quantity, got {given!r}")

    def __repr__(self) -> str:
        return f"{self.kind} {self.quantity}" + ("" if self.where is None else f" where {self.where}")


NAMED: dict[str, Quantity] = {"loss": Loss(), "determinant": Determinant()}
_EXTREMES = {"min": ("least", math.inf), "max": ("greatest", -math.inf)}


def compile_records(
    quantities: Mapping[str, Quantity | Running], shape: tuple[int, ...], trials: int, every: int, like: torch.Tensor
) -> Records | None:
    """The quantities as probes, in their order; like: a factor, for dtype and device.

    Raises ValueError for coordinates that W does not have, a determinant of what is not square or too large, and too
    many numbers.
    """
    if not quantities:
        return None
    items, listed = list(quantities.values()), _List()
    extremes = {n: listed.add(_counted(item)) for n, item in enumerate(items) if isinstance(item, Running)}
    each_step = len(listed.numbers)
    places = [extremes[n] if isinstance(item, Running) else listed.add(item) for n, item in enumerate(items)]
    keeps = [_EXTREMES[item.kind] if isinstance(item, Running) else ("value", math.nan) for item in items]
    if len(listed.numbers) > MOST_NUMBERS:
        wanted = len(listed.numbers)
        raise ValueError(f"record: {wanted} numbers are needed at a step, at most {MOST_NUMBERS} can be held")
    square = any(number.word == "determinant" for number in listed.numbers)
    _check_shape(shape, square, listed.entries)
    whole = square or (len(listed.entries) > 1 and math.prod(shape) <= DETERMINANT_ORDER**2)
    linear = [_linear(at, shape) for at in listed.entries]
    numbers = [n._replace(a=linear[n.a]) if whole and n.word == "watched" else n for n in listed.numbers]
    now = torch.stack([like.new_full((trials,), start) for _, start in keeps])
    probes = [(place, keep) for place, (keep, _) in zip(places, keeps)]
    return Records(every, numbers, each_step, probes, None if whole else listed.entries, shape[0] if square else 0, now)


class _List:
    """Numbers in an order in which each follows from earlier ones, every one of them once."""

    def __init__(self) -> None:
        self.numbers: list[Number] = []
        self.entries: list[tuple[int, ...]] = []
        self._places: dict[Number, int] = {}

    def add(self, quantity: Quantity) -> int:
        operands = [self.add(operand) for operand in quantity._operands]
        word, detail = quantity._word, quantity._detail
        if word == "entry":
            if detail not in self.entries:
                self.entries.append(detail)
            number = Number("watched", self.entries.index(detail))
        elif word == "power":
            number = Number(word, operands[0], detail)
        else:
            a, b = (*operands, 0, 0)[:2]
            number = Number(word, a, b, 0.0 if detail is None else detail)
        if number not in self._places:
            self._places[number] = len(self.numbers)
            self.numbers.append(number)
        return self._places[number]


def _counted(item: Running) -> Quantity:
    """Its quantity where it counts; elsewhere what no extreme takes."""
    quantity = NAMED[item.quantity] if isinstance(item.quantity, str) else item.quantity
    if item.where is None:
        return quantity
    return Quantity("choose", (quantity, item.where), _EXTREMES[item.kind][1])


def _check_shape(shape: tuple[int, ...], square: bool, entries: list[tuple[int, ...]]) -> None:
    if square and not has_determinant(shape):
        raise ValueError(
            f"record: no determinant of {shape} can be taken at each step; a square matrix of up to {DETERMINANT_ORDER}"
            " rows has one"
        )
    for at in entries:
        if len(at) != len(shape) or any(a >= extent for a, extent in zip(at, shape)):
            raise ValueError(f"record: Entry{at} is not an entry of the product, whose shape is {shape}")


def has_determinant(shape: tuple[int, ...]) -> bool:
    """Whether the step loop can take it."""
    return len(shape) == 2 and shape[0] == shape[1] <= DETERMINANT_ORDER


def _binary(word: str, sign: str, left: Any, right: Any) -> Quantity:
    left, right = _quantity(left), _quantity(right)
    return Quantity(word, (left, right), text=f"({left} {sign} {right})")


def _quantity(value: Any) -> Quantity:
    if isinstance(value, Quantity):
        return value
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"expected a number or a Quantity, got {value!r}")
    return Quantity("constant", detail=float(value), text=f"{value:g}" if float(f"{value:g}") == value else repr(value))


def _linear(at: tuple[int, ...], shape: tuple[int, ...]) -> int:
    linear = 0
    for a, extent in zip(at, shape):
        linear = linear * extent + a
    return linear
