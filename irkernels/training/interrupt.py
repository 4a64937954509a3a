"""Ctrl-C as a request that the loop reads between chunks, so that parameters and step numbers always agree.

A chunk of one long step is given up where it comes (_long_steps.py).
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from types import FrameType

from irkernels._long_steps import heard_within


@dataclass
class Interrupt:
    requested: bool = False

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.requested:  # the second Ctrl-C does not wait
            raise KeyboardInterrupt
        self.requested = True


@contextmanager
def answer_interrupts(within_steps: bool = False) -> Iterator[Interrupt]:
    """Inside, the first SIGINT sets `.requested`; the second raises KeyboardInterrupt.

    within_steps: a long native step is given up.  Signals belong to the main thread, and a handler of the user's own is
    left in place: there it stays False.
    """
    interrupt = Interrupt()
    ours = (
        threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    )
    if ours:
        signal.signal(signal.SIGINT, interrupt._handle)
    try:
        with heard_within() if ours and within_steps else nullcontext():
            yield interrupt
    finally:
        if ours:
            signal.signal(signal.SIGINT, signal.default_int_handler)
