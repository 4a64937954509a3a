"""Progress of a fit: a line on a terminal, nothing in a pipe, or a call of the user's own."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TextIO

import torch
from torch import Tensor


@dataclass(frozen=True)
class Progress:
    """Where a fit stands; what a `progress=` callable is given, about ten times a second and at the end."""

    step: int
    steps: int
    rate: float  # steps per second
    remaining: float  # seconds, at that rate
    losses: Tensor  # [T], each trial's loss at the last step it attempted; NaN before any
    running: int  # trials not stopped

    def __str__(self) -> str:
        share = 100 * self.step // self.steps if self.steps else 100
        parts = [f"{self.step:,}/{self.steps:,} steps", f"{share:3d} %", f"{_short(self.rate)} steps/s"]
        parts.append(f"{_duration(self.remaining)} left")
        known = self.losses[torch.isfinite(self.losses)]
        if len(known):
            low, high = known.min().item(), known.max().item()
            parts.append(f"loss {low:.2e}" + (f" to {high:.2e}" if high > low else ""))
        if len(self.losses) > 1:
            parts.append(f"{self.running} of {len(self.losses)} trials running")
        return "   ".join(parts)


class _Silent:
    def __call__(self, progress: Progress) -> None:
        pass

    def close(self) -> None:
        pass


class _Calls(_Silent):
    def __init__(self, call: Callable[[Progress], Any]) -> None:
        self._call = call

    def __call__(self, progress: Progress) -> None:
        self._call(progress)


class _Line(_Silent):
    """One line, written over; no width of it is left behind when a shorter one follows."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._width = 0

    def __call__(self, progress: Progress) -> None:
        columns = shutil.get_terminal_size().columns - 1
        line = str(progress)[:columns]
        self._stream.write("\r" + line.ljust(self._width))
        self._stream.flush()
        self._width = len(line)

    def close(self) -> None:
        if self._width:
            self._stream.write("\n")
            self._stream.flush()


def reporter(progress: Any) -> _Silent:
    """progress: True (a line on standard error where that is a terminal), False, or a callable taking a Progress."""
    if callable(progress):
        return _Calls(progress)
    if not isinstance(progress, bool):
        raise TypeError(f"progress must be True, False or a callable, got {type(progress).__name__}")
    return _Line(sys.stderr) if progress and sys.stderr is not None and sys.stderr.isatty() else _Silent()


def _short(rate: float) -> str:
    for limit, suffix in ((1e6, "M"), (1e3, "k")):
        if rate >= limit:
            return f"{rate / limit:.3g}{suffix}"
    return f"{rate:.3g}"


def _duration(seconds: float) -> str:
    if seconds == float("inf"):
        return "unknown"
    whole = round(seconds)
    hours, minutes = whole // 3600, whole // 60 % 60
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {whole % 60:02d} s" if minutes else f"{whole} s"
