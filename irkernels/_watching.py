"""What an engine of `fit` notes of the steps it takes, and when it lets a trial go, as plain data (csrc/plan/records.h).

An engine looks at every step before its update: the loss is known there, and W is that of the factors as they stand.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

# words of a formula in postfix order, verdicts and kinds of probes, numbered as in csrc/plan/records.h
WORDS = (
    "loss", "watched", "determinant", "constant", "add", "subtract", "multiply", "divide", "absolute", "root", "power",
    "less", "at_most", "choose",
)  # fmt: skip
KEEP = ("value", "least", "greatest")  # of the recorded step, or the extreme of all steps until then
VERDICTS = ("none", "converged", "diverged")
FORMULA_DEPTH = 16  # numbers on a formula's stack
DETERMINANT_ORDER = 8  # larger ones are taken between chunks

Token = tuple[str, int, float]  # a word, its index (of a watched entry; a power), its constant


@dataclass(frozen=True)
class Probe:
    """One number of every trial: a formula, and what is kept of it."""

    tokens: tuple[Token, ...]
    keep: str = "value"

    @property
    def watches(self) -> bool:
        return any(word in ("watched", "determinant") for word, _, _ in self.tokens)


@dataclass
class Records:
    """Probes whose numbers are rows at each multiple of `every`; those that keep an extreme look at each step."""

    every: int
    probes: list[Probe]
    entries: list[tuple[int, ...]] | None  # coordinates of the watched entries of W; None: all of them, in order
    now: Tensor  # [probes, T] extremes so far, and the values last looked at

    order: int = 0  # of the determinant, where a probe asks for it: W is square then and all of it is watched

    @property
    def watches(self) -> bool:
        return any(probe.watches for probe in self.probes)


@dataclass
class Limits:
    """Converged: loss < below at `patience` checks on end, one each `every` steps; diverged: loss > above at a check."""

    below: float
    above: float
    patience: int
    every: int
    streak: Tensor  # int64 [T] checks on end at which the loss was below
    checked: int = -1  # the last step that has been checked already


@dataclass
class Watching:
    """Of one engine call: the steps it takes, and what it leaves."""

    trials: int
    first: int = 0  # number of the first step
    look_back: bool = False  # look at the state after the last step too
    records: Records | None = None
    limits: Limits | None = None
    rows: Tensor | None = None  # [rows, probes, T], one for each multiple of records.every among the steps
    verdicts: Tensor = field(init=False)  # uint8 [T], of VERDICTS

    def prepare(self, steps: int, device: torch.device) -> None:
        """Fresh rows and verdicts for a call of so many steps."""
        self.verdicts = torch.zeros(self.trials, dtype=torch.uint8, device=device)
        if self.records is not None:
            self.rows = self.records.now.new_empty(self.row(self.first + steps), *self.records.now.shape)

    def row(self, step: int) -> int:
        """The first row of a step not before `step`."""
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
