"""What the tables of one run share: options, worker processes, measured limits, and what was found."""

from __future__ import annotations

import fnmatch
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.limits import Limits
from bench.measure import Effort, Measurement, side_by_side
from bench.peer import Peer
from bench.report import Target
from bench.workers import Workers


@dataclass
class Session:
    workers: Workers
    limits: Limits
    dtype: str
    effort: Effort
    quick: bool
    pattern: str  # rows to measure, as a shell pattern
    about: dict[str, Any]  # machine, threads, commit, date
    results: Path | None = None  # the folder in which results are kept
    json_rows: list[dict[str, Any]] = field(default_factory=list)
    targets: list[Target] = field(default_factory=list)

    def chosen(self, rows: list) -> list:
        return [row for row in rows if fnmatch.fnmatch(row.name, f"*{self.pattern}*")]

    def measured(
        self, table: str, rows: list, peers: list[Peer], mode: str = "gradients", dtype: str | None = None
    ) -> list[Measurement]:
        """The rows one after the other, each with its peers side by side; progress goes to standard error."""
        found = []
        for place, row in enumerate(rows):
            start = time.perf_counter()
            found.append(side_by_side(self.workers, table, row, peers, dtype or self.dtype, mode, self.effort))
            seconds = time.perf_counter() - start
            print(f"[{place + 1}/{len(rows)}] {row.name} ({mode}), {seconds:.1f} s", file=sys.stderr, flush=True)
        return found
