"""What a peer is: something that can be prepared for a row and then run on fresh inputs."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


class Absent(Exception):
    """Why a peer has no figure in a row."""


@dataclass
class Case:
    """A peer prepared for one row. `fresh` replaces its inputs, `run` is what is timed."""

    fresh: Callable[[int], None]  # seed -> new inputs
    run: Callable[[], Any]  # returns what `results` reads
    results: Callable[[Any], list]  # what run() returned -> NumPy arrays, to compare peers by
    units: int = 1  # steps x trials in one run; a time is given for one
    note: str = ""  # which variant was taken


@dataclass(frozen=True)
class Peer:
    name: str
    prepare: Callable[..., Case]  # (row, dtype, mode) -> Case; raises Absent
    process: str  # "torch" or "jax": their thread pools are kept in processes of their own
    needs: str = ""  # a module that must be importable
    cores: int | None = None  # None: all that the run was given

    def case(self, row: Any, dtype: str, mode: str) -> Case:
        """The peer prepared for the row.  Raises Absent with the reason where it has no figure."""
        if self.needs and importlib.util.find_spec(self.needs) is None:
            raise Absent(f"{self.needs} is not installed")
        return self.prepare(row, dtype, mode)


def absent_unless(condition: bool, reason: str) -> None:
    if not condition:
        raise Absent(reason)
