"""What is timed on a GPU: tables A and B's rows, B's with numbers of trials that fill a device."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

from bench.workloads import OPERATORS, TRAINING, Completion, Product

FILLING, VERY_MANY = 132, 100_000  # trials: one a multiprocessor of the largest devices, and of the tiniest products
_QUICK_OPERATORS = 1_000_000_000  # multiply-adds: --quick leaves larger rows out


@dataclass(frozen=True)
class Steps:
    """Training steps of a row of table B, of `trials` at once; None: of one without the axis."""

    completion: Completion
    trials: int | None = None

    @property
    def name(self) -> str:
        return f"{self.completion.name}, {f'{self.trials} trials' if self.trials else '1 trial'}"

    @property
    def multiply_adds(self) -> int:
        """Of one step of one trial, which is what times are given for."""
        return self.completion.multiply_adds

    def bytes(self, itemsize: int) -> int:
        return 0  # factors stay where they are


Row = Product | Steps


def rows(quick: bool) -> dict[str, Row]:
    """By name, A's and B's by turns: a part whose time ends early has some of both."""
    operators = [row for row in OPERATORS if row.multiply_adds < _QUICK_OPERATORS][::2] if quick else OPERATORS
    training = [Steps(row) for row in TRAINING]
    training += [Steps(row, FILLING) for row in TRAINING if row.n in (10, 30, 100) and row.depth == 3]
    training += [Steps(row, VERY_MANY) for row in TRAINING if row.n == 2]
    if quick:
        training = [row for row in training if row.completion.n in (2, 100) and row.completion.depth == 3]
    named = ([(f"{table}: {row.name}", row) for row in found] for table, found in (("A", operators), ("B", training)))
    return dict(each for pair in itertools.zip_longest(*named) for each in pair if each)
