"""How many steps go into one call of the engine, so that the loop looks up often enough."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

LOOK_UP = 0.1  # seconds between looks at Ctrl-C, the progress line and the checkpoint's clock
_GROWTH = 8  # a chunk follows the measured rate, but never faster than this


class Pace:
    """Chunk lengths from measured time. They decide when the loop looks up, never what a step computes."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._start = clock()
        self._steps = 0
        self.chunk = 1

    @contextmanager
    def measured(self, steps: int) -> Iterator[None]:
        """Around an engine call of so many steps: the next chunk's length follows from its time."""
        before = self._clock()
        yield
        seconds = max(self._clock() - before, 1e-9)
        self._steps += steps
        if steps >= self.chunk or seconds > LOOK_UP:  # a chunk cut short by a record says little of a longer one
            self.chunk = max(1, min(int(steps * LOOK_UP / seconds), steps * _GROWTH))

    @property
    def seconds(self) -> float:
        return self._clock() - self._start

    @property
    def rate(self) -> float:
        """Steps per second so far, recording included."""
        return self._steps / max(self.seconds, 1e-9)
