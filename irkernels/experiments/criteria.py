"""Pass criteria of an experiment: a value, the interval it must lie in, and a table of them."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Criterion:
    """`low < value < high`, judged on the worst trial; an infinite end is no bound, and NaN never passes."""

    name: str
    value: float
    low: float = -math.inf
    high: float = math.inf

    @property
    def passed(self) -> bool:
        return self.low < self.value < self.high

    @property
    def bound(self) -> str:
        if math.isinf(self.low):
            return f"< {self.high:g}"
        return f"> {self.low:g}" if math.isinf(self.high) else f"{self.low:g} to {self.high:g}"

    def summary(self) -> dict:
        value = self.value if math.isfinite(self.value) else None  # JSON has no NaN
        return {"name": self.name, "value": value, "bound": self.bound, "pass": self.passed}


def worst(name: str, values, low: float = -math.inf, high: float = math.inf) -> Criterion:
    """The criterion on the value, among all trials', that lies deepest outside its bounds or nearest to one."""
    values = [float(value) for value in values]
    return Criterion(name, min(values, key=lambda value: _margin(value, low, high)), low, high)


def table(criteria: list[Criterion]) -> str:
    """One line for each criterion."""
    width = max(len(criterion.name) for criterion in criteria)
    lines = [f"{'criterion (worst trial)':{width}}  {'value':>12}  {'bound':>16}"]
    for criterion in criteria:
        verdict = "pass" if criterion.passed else "FAIL"
        lines.append(f"{criterion.name:{width}}  {criterion.value:12.5g}  {criterion.bound:>16}  {verdict}")
    return "\n".join(lines)


def _margin(value: float, low: float, high: float) -> float:
    return -math.inf if math.isnan(value) else min(value - low, high - value)
