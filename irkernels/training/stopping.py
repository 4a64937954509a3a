"""Which trials still run, why the others stopped and when."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from irkernels._arguments import integer
from irkernels._watching import VERDICTS, Limits
from irkernels.training.distributed import Ranks

STEPS, CONVERGED, DIVERGED, INTERRUPTED = "steps", "converged", "diverged", "interrupted"


@dataclass(frozen=True)
class Stop:
    """When a trial stops early: loss < `loss` at `patience` checks on end, or loss > `diverged_above` at one.

    A check every `every` steps (default record_every), step 0 included; it is made in the step loop at next to no cost,
    so every=1 stops at the very step.  Every trial stops alone.
    """

    loss: float | None = None
    patience: int = 1
    every: int | None = None
    diverged_above: float | None = None

    def __post_init__(self) -> None:
        for name in ("loss", "diverged_above"):
            value = getattr(self, name)
            if value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0:
                raise ValueError(f"Stop: {name} must be a positive number, got {value!r}")
        if self.loss is None and self.diverged_above is None:
            raise ValueError("Stop: give loss=, diverged_above= or both")
        integer("Stop: patience", self.patience, 1)
        if self.every is not None:
            integer("Stop: every", self.every, 1)

    def limits(self, trials: int, every: int, device: torch.device) -> Limits:
        """As the step loop reads it; every: where the rule names none."""
        streak = torch.zeros(trials, dtype=torch.int64, device=device)
        below = -math.inf if self.loss is None else self.loss
        above = math.inf if self.diverged_above is None else self.diverged_above
        return Limits(below, above, self.patience, self.every or every, -1, streak)


class Running:
    """The state of T trials between chunks; a trial not active keeps its reason and the updates made until then."""

    def __init__(self, trials: int, device: torch.device, own: slice) -> None:
        self.own = torch.zeros(trials, dtype=torch.bool, device=device)  # those that this process trains
        self.own[own] = True
        self.active = self.own.clone()
        self.diverged = torch.zeros_like(self.active)
        self.stopped_at = torch.zeros(trials, dtype=torch.int64, device=device)

    def advanced(self, reached: int, done: Tensor, verdicts: Tensor) -> None:
        """After an engine call from step `reached` in which trials made `done` updates."""
        stopped = self.active & (verdicts != VERDICTS.index("none"))
        self.diverged |= stopped & (verdicts == VERDICTS.index(DIVERGED))
        self.stopped_at = torch.where(stopped, reached + done, self.stopped_at)
        self.active = self.active & ~stopped

    def restart_converged(self, reached: int) -> None:
        """Under another Stop, what has converged runs on. Raises ValueError where that was before step `reached`."""
        converged = self.own & ~self.active & ~self.diverged
        for trial in (converged & (self.stopped_at < reached)).nonzero().flatten().tolist():
            raise ValueError(
                f"resume: trial {trial} has converged at step {int(self.stopped_at[trial])}, others are at {reached};"
                " under another stop= it would have to go on from there (resume with the stop= of the checkpoint)"
            )
        self.active = self.own & ~self.diverged

    def settled(self, step: int) -> Tensor:
        """bool [T]: stopped at `step` or before, so that nothing recorded from there on can differ."""
        return ~self.active & (self.stopped_at <= step)

    def pause(self, reached: int) -> None:
        """The trials that still run have made so many updates."""
        self.stopped_at = torch.where(self.active, reached, self.stopped_at)

    def reasons(self, steps: int) -> list[str]:
        """Of each trial; one that still ran before the last step was interrupted."""
        return [
            (STEPS if at == steps else INTERRUPTED) if active else DIVERGED if diverged else CONVERGED
            for active, diverged, at in zip(self.active.tolist(), self.diverged.tolist(), self.stopped_at.tolist())
        ]

    def gather(self, ranks: Ranks) -> None:
        for tensor in (self.active, self.diverged, self.stopped_at):
            ranks.gather(tensor)

    def state(self) -> dict[str, Tensor]:
        return {name: value.cpu() for name, value in vars(self).items()}

    def load(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            setattr(self, name, value.to(self.active.device))
