"""Training steps so long that Ctrl-C is answered within one: the step is given up, and all is as it was before it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from irkernels import _native
from irkernels._problem import Problem

LONG = 1 << 28  # multiply-adds of a step of all trials: from a few hundredths of a second on


@contextmanager
def heard_within() -> Iterator[None]:
    """Inside, SIGINT ends a long step too. A handler of Python's must be in force, and it is called as ever."""
    _native.hear_interrupts()
    try:
        yield
    finally:
        _native.unhear_interrupts()


class Undo:
    """A copy of what one native step of a problem changes, in memory taken once.

    A trial that is interrupted has changed nothing; of many, those before it have made their step already.
    """

    def __init__(self, problem: Problem) -> None:
        self._changed = _changed(problem)
        self._copies = [torch.empty_like(tensor) for tensor in self._changed]

    def remember(self) -> None:
        for copy, tensor in zip(self._copies, self._changed):
            copy.copy_(tensor)

    def back(self) -> None:
        for copy, tensor in zip(self._copies, self._changed):
            tensor.copy_(copy)


def undo_bytes(problem: Problem, work: int) -> int:
    """What an Undo of steps of so many multiply-adds takes."""
    return sum(tensor.nbytes for tensor in _changed(problem)) if is_long(problem, work) else 0


def is_long(problem: Problem, work: int) -> bool:
    return work * problem.trials >= LONG


def _changed(problem: Problem) -> list[Tensor]:
    if problem.trials == 1:
        return []
    rule, watching = problem.rule, problem.watching
    state = [*problem.factors, *(moment for moments in rule.moments for moment in moments), rule.step, rule.v]
    records, limits = watching.records, watching.limits
    noted = (None if records is None else records.now, None if limits is None else limits.streak)
    return [tensor for tensor in (*state, *noted) if tensor is not None]
