"""Which trials still run, why the others stopped and when."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from irkernels._arguments import integer

STEPS, CONVERGED, DIVERGED, INTERRUPTED = "steps", "converged", "diverged", "interrupted"


@dataclass(frozen=True)
class Stop:
    """Stop a trial once its loss is below `loss` at `patience` consecutive checks, one every `every` steps.

    every: default record_every.  Step 0 is checked too.  Every trial stops alone.
    """

    loss: float
    patience: int = 1
    every: int | None = None

    def __post_init__(self) -> None:
        if isinstance(self.loss, bool) or not isinstance(self.loss, (int, float)) or not self.loss > 0:
            raise ValueError(f"Stop: loss must be a positive number, got {self.loss!r}")
        integer("Stop: patience", self.patience, 1)
        if self.every is not None:
            integer("Stop: every", self.every, 1)


class Running:
    """The state of T trials between chunks; a trial not active keeps its reason and the updates made until then."""

    def __init__(self, trials: int, device: torch.device) -> None:
        self.active = torch.ones(trials, dtype=torch.bool, device=device)
        self.diverged = torch.zeros_like(self.active)
        self.stopped_at = torch.zeros(trials, dtype=torch.int64, device=device)
        self.below = torch.zeros(trials, dtype=torch.int64, device=device)  # consecutive checks below Stop.loss

    def advanced(self, reached: int, steps: int, done: Tensor) -> None:
        """After an engine call from step `reached`: an active trial that made fewer updates has diverged."""
        failed = self.active & (done < steps)
        self.diverged |= failed
        self._stop(failed, reached + done)

    def check(self, stop: Stop, losses: Tensor, reached: int) -> None:
        self.below = torch.where(losses < stop.loss, self.below + 1, torch.zeros_like(self.below))
        self._stop(self.active & (self.below >= stop.patience), torch.full_like(self.stopped_at, reached))

    def _stop(self, which: Tensor, at: Tensor) -> None:
        self.stopped_at = torch.where(which, at, self.stopped_at)
        self.active = self.active & ~which

    def restart_converged(self) -> None:
        """Under another Stop, what has converged runs on."""
        self.active = ~self.diverged
        self.below.zero_()

    def settled(self, step: int) -> Tensor:
        """bool [T]: stopped at `step` or before, so that nothing recorded from there on can differ."""
        return ~self.active & (self.stopped_at <= step)

    def reasons(self, interrupted: bool) -> list[str]:
        running = INTERRUPTED if interrupted else STEPS
        return [
            running if active else DIVERGED if diverged else CONVERGED
            for active, diverged in zip(self.active.tolist(), self.diverged.tolist())
        ]

    def ends(self, reached: int) -> Tensor:
        """int64 [T]: updates made by each trial, on the CPU."""
        return torch.where(self.active, torch.full_like(self.stopped_at, reached), self.stopped_at).cpu()

    def state(self) -> dict[str, Tensor]:
        return {name: value.cpu() for name, value in vars(self).items()}

    def load(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            setattr(self, name, value.to(self.active.device))
