"""Pass criteria of an experiment: a value, the interval it must lie in, and a table of them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, SupportsFloat


@dataclass(frozen=True)
class Criterion:
    """`low < value < high`, judged on the worst trial; an infinite end is no bound, and NaN never passes.

    paper: what the paper has there, as far as it is known.
    """

    name: str
    value: float
    low: float = -math.inf
    high: float = math.inf
    paper: str = ""

    @property
    def passed(self) -> bool:
        return self.low < self.value < self.high

    @property
    def bound(self) -> str:
        if math.isinf(self.low):
            return f"< {self.high:g}"
        return f"> {self.low:g}" if math.isinf(self.high) else f"{self.low:g} to {self.high:g}"

    def summary(self) -> dict[str, Any]:
        value = self.value if math.isfinite(self.value) else None  # JSON has no NaN
        return {"name": self.name, "value": value, "bound": self.bound, "paper": self.paper, "pass": self.passed}


def worst(
    name: str, values: Iterable[SupportsFloat], low: float = -math.inf, high: float = math.inf, paper: str = ""
) -> Criterion | None:
    """The criterion on the value, among all trials', that lies deepest outside its bounds or nearest to one.

    None where there is no value: a sweep need not have the settings that a criterion is for.
    """
    numbers = [float(value) for value in values]
    if not numbers:
        return None
    return Criterion(name, min(numbers, key=lambda value: _margin(value, low, high)), low, high, paper)


def judged(*criteria: Criterion | None) -> list[Criterion]:
    """Those that had something to judge."""
    return [criterion for criterion in criteria if criterion is not None]


def table(criteria: list[Criterion]) -> str:
    """One line for each criterion."""
    if not criteria:
        return "no criterion is for these parameters"
    width = max(len(criterion.name) for criterion in criteria)
    paper = max(len(criterion.paper) for criterion in criteria)
    lines = [f"{'criterion (worst trial)':{width}}  {'paper' if paper else '':>{paper}}  {'ours':>12}  {'bound':>16}"]
    for criterion in criteria:
        verdict = "pass" if criterion.passed else "FAIL"
        line = f"{criterion.name:{width}}  {criterion.paper:>{paper}}  {criterion.value:12.5g}  {criterion.bound:>16}"
        lines.append(f"{line}  {verdict}")
    return "\n".join(lines)


def _margin(value: float, low: float, high: float) -> float:
    return -math.inf if math.isnan(value) else min(value - low, high - value)
