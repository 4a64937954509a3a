"""What a fit returns: the recorded steps and metrics, why and when each trial ended; saved, loaded, drawn."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, fields
from typing import Any

import torch
from torch import Tensor

from irkernels.training import checkpoint as files

_ENDED = {"steps": "completed"}


@dataclass(frozen=True, repr=False)
class Trajectory:
    """One fit of one model, all its trials.

    steps: int64 [records], the recorded step numbers.  metrics: name -> [records, trials, ...], [records, ...] without
    trials, on the CPU.  reason: "steps" (all were taken), "converged", "diverged" or "interrupted", a list with trials.
    stopped_at: updates made, int64 [trials], or an int.  lr: float64 [trials] or a scalar, the learning rates in use.
    optimizer_state: None where the optimizer itself has it; else (trials with their own hyper-parameters, or Adam's
    after different numbers of updates) each trial's, for the next fit's optimizer_state=.
    tier: which tier of native code took the steps, and why.
    """

    steps: Tensor
    reason: str | list[str]
    stopped_at: int | Tensor
    lr: Tensor
    equation: str
    shape: tuple[int, ...]
    trials: int | None
    loss: str
    optimizer: str
    tier: str = ""
    metrics: dict[str, Tensor] = field(default_factory=dict)
    optimizer_state: dict[str, Any] | None = None

    def plot(
        self, path: str | os.PathLike[str] | None = None, metrics: list[str] | None = None, log_steps: bool = False
    ) -> Any:
        """A figure with one panel for each metric against steps, all of them or those named; written to path if given.

        A line is a trial (up to eight of them) or else the median, with the range of the trials behind it; a metric
        with several values (singular values) has a line for each.  log_steps: a logarithmic axis, step 0 left out.
        Returns the matplotlib figure.  Raises ValueError (nothing recorded, unknown metric, nothing to draw) and
        ImportError where matplotlib is missing.
        """
        from irkernels.training.plot import draw

        return draw(self, path, metrics, log_steps)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Into one file, atomically; torch.load(weights_only=True) reads it."""
        files.write(path, "Trajectory", {**{f.name: getattr(self, f.name) for f in fields(self)}})

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Trajectory:
        """A saved trajectory. Raises OSError and CheckpointError (damaged, or another kind of file)."""
        return cls(**files.read(path, "Trajectory"))

    def __repr__(self) -> str:
        trials = "one trial" if self.trials is None else f"{self.trials} trials"
        lines = [
            f"Trajectory of {self.equation} ({'x'.join(map(str, self.shape))}), {trials}, {self.optimizer}, {self.loss}"
        ]
        lines.append(f"  ended: {self._ends()}")
        if len(self.steps):
            lines.append(f"  {len(self.steps)} records, steps {self.steps[0]} to {self.steps[-1]}")
        width = max(map(len, self.metrics), default=0)
        lines += [f"  {name.ljust(width)}  {_summary(values)}" for name, values in self.metrics.items() if len(values)]
        return "\n".join(lines)

    def _ends(self) -> str:
        if isinstance(self.reason, str):
            return f"{_ENDED.get(self.reason, self.reason)} at step {self.stopped_at}"
        parts, stopped_at = [], torch.as_tensor(self.stopped_at, device="cpu")
        for reason in sorted(set(self.reason)):
            at = stopped_at[torch.tensor([each == reason for each in self.reason], device="cpu")]
            when = f"{at.min()}" if at.min() == at.max() else f"{at.min()} to {at.max()}"
            parts.append(f"{len(at)} {_ENDED.get(reason, reason)} at step {when}")
        return ", ".join(parts)


def _summary(values: Tensor) -> str:
    if values[0].numel() > 1000 or values.dim() > 3:
        return f"{list(values.shape)}"
    return f"{_range(values[0])} -> {_range(values[-1])}"


def _range(values: Tensor) -> str:
    low, high = values.min().item(), values.max().item()
    return f"{low:.4g}" if low == high else f"{low:.4g} to {high:.4g}"
