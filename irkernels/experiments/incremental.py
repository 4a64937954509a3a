"""Components that are learned one after another: when each appears, criteria on how many, and their picture."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from irkernels.experiments.criteria import Criterion, worst


def sorted_at_the_end(norms: Tensor) -> Tensor:
    """Components [records, R] of one trial, the largest at the end first."""
    return norms[:, norms[-1].argsort(descending=True)]


def onsets(steps: Tensor, norms: Tensor) -> Tensor:
    """The first recorded step at which each component [records, R] has half its size at the end: [R]."""
    return steps[(norms > norms[-1] / 2).int().argmax(0)]


def counted(name: str, steps: Tensor, norms: list[Tensor], count: int, paper: str = "") -> list[Criterion | None]:
    """Exactly `count` components, judged on each trial's norms [records, R]: present, alone, and one at a time."""
    ordered = [sorted_at_the_end(each) for each in norms]
    share = [(each[-1] / each[-1, 0]) for each in ordered]
    gaps = [onsets(steps, each[:, :count]).sort().values.diff().min() for each in ordered]
    return [
        worst(f"{name} {count} over the largest", [each[count - 1] for each in share], low=0.05, paper=paper),
        worst(f"{name} {count + 1} over the largest", [each[count] for each in share], high=0.01, paper="~0"),
        worst(f"steps between onsets of {name}s, least", gaps, low=0.0, paper="> 0"),
    ]


def draw_components(axes: Any, steps: Tensor, norms: Tensor, count: int, label: str) -> None:
    """The `count` largest at the end in colour, the next fifteen behind them."""
    ordered = sorted_at_the_end(norms)
    axes.plot(steps, ordered[:, count : count + 15], color="0.75", linewidth=0.8)
    axes.plot(steps, ordered[:, :count], linewidth=1.6)
    axes.set_ylabel(label)
    axes.set_xlabel("iterations")
    axes.locator_params(axis="x", nbins=5)


def end_of(trajectory: Any, trial: int) -> int:
    """How many records a trial has before it stopped; the rest repeat the last."""
    stopped = int(torch.as_tensor(trajectory.stopped_at).reshape(-1)[trial])
    return min(len(trajectory.steps), int((trajectory.steps < stopped).sum()) + 1)
