"""What an engine of `fit` notes of its steps, and when it lets a trial go, as plain data (csrc/plan/records.h).

An engine looks at every step before its update: the loss is known there, and W is that of the factors as they stand.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

# how a number follows from earlier ones, what is kept of it, why a trial stops: as csrc/plan/records.h numbers them
WORDS = (
    "loss", "watched", "determinant", "constant", "add", "subtract", "multiply", "divide", "absolute", "root", "power",
    "less", "at_most", "choose",
)  # fmt: skip
KEEP = ("value", "least", "greatest")
VERDICTS = ("none", "converged", "diverged", "interrupted")
MOST_NUMBERS = 64  # of one trial at one step
DETERMINANT_ORDER = 8  # larger ones are taken between chunks


class Number(NamedTuple):
    """One number of a trial at one step; a and b are places of earlier numbers in the list."""

    word: str
    a: int = 0
    b: int = 0
    constant: float = 0.0


@dataclass
class Records:
    """What to note: rows of the probes at each multiple of `every`, and extremes of every step."""

    every: int
    numbers: list[Number]  # those that an extreme needs first
    each_step: int  # how many these are
    probes: list[tuple[int, str]]  # which number, and what is kept of it (KEEP)
    entries: list[tuple[int, ...]] | None  # coordinates of the watched entries of W; None: all of them, in order
    order: int  # of the determinant, where it is asked for: W is square then and all of it is watched; else 0
    now: Tensor  # [probes, T] extremes so far, and the values last looked at

    def watches(self, numbers: int | None = None) -> bool:
        """Whether the first so many numbers read entries of W."""
        return any(number.word in ("watched", "determinant") for number in self.numbers[:numbers])

    def plain(self) -> tuple[Any, ...]:
        """What csrc/bind/watching.h reads first."""
        numbers = tuple((WORDS.index(number.word), *number[1:]) for number in self.numbers)
        probes = tuple((number, KEEP.index(keep)) for number, keep in self.probes)
        return self.every, numbers, self.each_step, int(self.watches(self.each_step)), probes, self.order

    def sliced(
        self, equation: str, operands: tuple[Tensor, ...], has_trials: list[bool]
    ) -> list[tuple[str, tuple[Tensor, ...]]]:
        """The products that make the watched entries, in their order."""
        if not self.watches():
            return []
        if self.entries is None:
            return [(equation, operands)]
        return [slice_at(equation, operands, has_trials, at) for at in self.entries]


@dataclass
class Limits:
    """Converged: loss < below at `patience` checks on end, one each `every` steps; diverged: loss > above at one."""

    below: float
    above: float
    patience: int
    every: int
    checked: int  # the last step that has been checked already
    streak: Tensor  # int64 [T] checks on end at which the loss was below


@dataclass
class Watching:
    """Of one engine call: the steps it takes, and what it leaves."""

    trials: int
    first: int = 0  # number of the first step
    look_back: bool = False  # look at the state after the last step too
    records: Records | None = None
    limits: Limits | None = None
    rows: Tensor = field(init=False)  # [probes, T, rows], one for each multiple of records.every among the steps
    verdicts: Tensor = field(init=False)  # uint8 [T], of VERDICTS

    def __post_init__(self) -> None:
        self.rows = torch.empty(0, device="cpu")
        self.verdicts = torch.zeros(self.trials, dtype=torch.uint8, device="cpu")

    def prepare(self, steps: int, device: torch.device) -> None:
        """Fresh rows and verdicts for a call of so many steps."""
        self.verdicts = torch.zeros(self.trials, dtype=torch.uint8, device=device)
        if self.records is not None:
            self.rows = self.records.now.new_empty(*self.records.now.shape, self.row(self.first + steps))

    @property
    def interrupted(self) -> bool:
        """Whether the call was given up: no step of it counts."""
        return bool((self.verdicts == VERDICTS.index("interrupted")).any())

    def settle(self, steps: int) -> None:
        """Where some trials have stopped within the first so many steps, their rows from there on repeat their last."""
        if self.records is not None and self.verdicts.any():
            rest = self.rows[..., self.row(self.first + steps) :]
            rest.copy_(torch.where(self.verdicts[:, None] > 0, self.records.now[..., None], rest))

    def row(self, step: int) -> int:
        """The first row of a step not before `step`."""
        if self.records is None:
            return 0  # there are none
        return -(-step // self.records.every) - -(-self.first // self.records.every)


def slice_at(
    equation: str, operands: tuple[Tensor, ...], has_trials: list[bool], at: tuple[int, ...]
) -> tuple[str, tuple[Tensor, ...]]:
    """The equation and views of the operands whose product is W's entry at these coordinates, a scalar."""
    terms, output = equation.split("->")
    index = dict(zip(output, at))
    kept, views = [], []
    for term, operand, lead in zip(terms.split(","), operands, has_trials):
        for axis in reversed(range(len(term))):
            if term[axis] in index:
                extent = operand.shape[axis + lead]
                operand = operand.select(axis + lead, index[term[axis]] if extent > 1 else 0)
        kept.append("".join(letter for letter in term if letter not in index))
        views.append(operand)
    return f"{','.join(kept)}->", tuple(views)
