"""What an experiment gives back: its runs, their verdict, and how long the same steps take elsewhere."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from irkernels.experiments.criteria import Criterion
from irkernels.experiments.eager import Eager
from irkernels.experiments.grid import Settings
from irkernels.nn import Product
from irkernels.training import Trajectory


@dataclass(frozen=True)
class Run:
    """One fit: its trajectory, what each trial is, the trained model, the seconds taken, and eager PyTorch's."""

    trajectory: Trajectory
    settings: Settings
    model: Product
    seconds: float
    eager: Eager

    @property
    def metrics(self) -> dict[str, Tensor]:
        return self.trajectory.metrics

    @property
    def steps(self) -> Tensor:
        return self.trajectory.steps

    @property
    def updates(self) -> int:
        """Of all trials together."""
        return int(torch.as_tensor(self.trajectory.stopped_at).sum())

    def final(self, metric: str, **wanted: Any) -> Tensor:
        """A metric's last record, of the trials with these settings."""
        return self.metrics[metric][-1][self.settings.where(**wanted)]

    def least(self, metric: str, **wanted: Any) -> Tensor:
        """The least of a metric's records, of the trials with these settings."""
        return self.metrics[metric].amin(0)[self.settings.where(**wanted)]


def final(runs: Mapping[Any, Run], key: Any, metric: str, **wanted: Any) -> Tensor:
    """A run's last records of these settings; none where a sweep has no such run."""
    return runs[key].final(metric, **wanted) if key in runs else torch.empty(0)


@dataclass(frozen=True)
class Outcome:
    """runs: one for each shape of the product, by the parameter that sets it.  criteria: of these runs.

    goal: what the ground truth itself has, by metric.  notes: lines beside the criteria.
    """

    runs: Mapping[Any, Run]
    criteria: list[Criterion]
    goal: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        return all(criterion.passed for criterion in self.criteria)

    @property
    def seconds(self) -> float:
        return math.fsum(run.seconds for run in self.runs.values())

    @property
    def eager_seconds(self) -> float:
        return math.fsum(run.eager.seconds for run in self.runs.values())

    @property
    def updates(self) -> int:
        return sum(run.updates for run in self.runs.values())

    @property
    def speed_up(self) -> float:
        return self.eager_seconds / self.seconds

    @property
    def beside_eager(self) -> str:
        """One line that sets the time of the runs beside eager PyTorch's."""
        timed = ", ".join(sorted({f"{run.eager.timed:,}" for run in self.runs.values()}))
        return (
            f"training took {self.seconds:.1f} s, {self.updates / self.seconds:,.0f} steps of a trial a second; eager "
            f"PyTorch would take {self.eager_seconds:,.0f} s (extrapolated from {timed} steps of each fit),"
            f" {self.speed_up:,.1f} times as long"
        )

    def table(self) -> list[dict[str, Any]]:
        """One row for each setting: its parameters, and the range over trials of each single number at the end."""
        return [row for run in self.runs.values() for row in _rows(run)]


def _rows(run: Run) -> list[dict[str, Any]]:
    steps = torch.as_tensor(run.trajectory.stopped_at).reshape(-1)
    scalars = {name: values[-1] for name, values in run.metrics.items() if values.dim() == 2}
    rows = []
    for setting in run.settings.combinations():
        chosen = run.settings.where(**setting)
        ends = {name: _range(values[chosen]) for name, values in {"steps": steps, **scalars}.items()}
        rows.append({**setting, "runs": int(chosen.sum()), **ends})
    return rows


def _range(values: Tensor) -> Any:
    low, high = values.min().item(), values.max().item()
    finite = [each if math.isfinite(each) else None for each in (low, high)]  # JSON has neither infinity nor NaN
    return finite[0] if low == high else finite
