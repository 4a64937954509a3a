"""What an experiment gives back: its runs, their verdict, and how long the same steps take elsewhere."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from irkernels.experiments.criteria import Criterion
from irkernels.experiments.eager import Eager, Timed
from irkernels.training import Trajectory


@dataclass(frozen=True)
class Outcome:
    """runs: depth -> trajectory.  seconds: of all runs.  eager: the same runs in eager PyTorch, extrapolated."""

    runs: dict[int, Trajectory]
    criteria: list[Criterion]
    seconds: float
    eager: list[Eager] = field(default_factory=list)
    goal: dict[str, float] = field(default_factory=dict)  # what the ground truth itself has, by metric
    notes: list[str] = field(default_factory=list)  # lines beside the criteria

    @property
    def passed(self) -> bool:
        return all(criterion.passed for criterion in self.criteria)

    @property
    def eager_seconds(self) -> float:
        return math.fsum(each.seconds for each in self.eager)

    @property
    def beside_eager(self) -> str:
        """One line that sets the time of the runs beside eager PyTorch's."""
        timed = ", ".join(sorted({f"{each.timed:,}" for each in self.eager}))
        return (
            f"training took {self.seconds:.1f} s; eager PyTorch would take {self.eager_seconds:,.0f} s"
            f" (extrapolated from {timed} steps of each run), {self.eager_seconds / self.seconds:,.0f} times as long"
        )


def judged(fits: Mapping[int, Timed], criteria: Callable[[dict[int, Trajectory]], list[Criterion]]) -> Outcome:
    """The outcome of an experiment's fits, by depth."""
    runs = {depth: each.run for depth, each in fits.items()}
    return Outcome(runs, criteria(runs), math.fsum(each.seconds for each in fits.values()), [each.eager for each in fits.values()])
