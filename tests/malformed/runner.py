"""Malformed calls in processes of their own: one that dies, or does not come back, tells the seed, and the next goes
on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_TESTS = Path(__file__).resolve().parent.parent
_BATCH = 5000  # calls of one process
_PATIENCE = 600  # seconds for one batch: a call that hangs is told by the seed printed last


@dataclass
class Outcome:
    calls: int = 0
    refused: int = 0
    grown_mib: int = 0  # the most that one process grew by
    findings: list[dict[str, Any]] = field(default_factory=list)


def run(first: int, count: int) -> Outcome:
    """The calls of these seeds, and what is wrong with how they ended."""
    outcome, seed, end = Outcome(), first, first + count
    while seed < end:
        seed = _batch(seed, min(_BATCH, end - seed), outcome)
    return outcome


def _batch(first: int, count: int, outcome: Outcome) -> int:
    """The seed after the last one answered."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(_TESTS), *sys.path]), "PYTHONFAULTHANDLER": "1"}
    command = [sys.executable, "-m", "malformed", str(first), str(count)]
    with tempfile.TemporaryFile("w+") as told, tempfile.TemporaryFile("w+") as errors:
        try:
            code = subprocess.run(command, stdout=told, stderr=errors, env=environment, timeout=_PATIENCE).returncode
        except subprocess.TimeoutExpired:
            code = "timeout"
        told.seek(0), errors.seek(0)
        lines, tail = told.read().splitlines(), errors.read()[:1500]
    seed = first
    for line in lines:
        if line.startswith("seed "):
            seed = int(line.split()[1])
            continue
        found = json.loads(line)
        if "finding" in found:
            outcome.findings.append(found)
        else:
            outcome.refused += found["refused"]
            outcome.grown_mib = max(outcome.grown_mib, found["grown_mib"])
    outcome.calls += seed + 1 - first
    if code:
        outcome.findings.append({"seed": seed, "finding": f"the process ended with {code}: {tail}"})
    return seed + 1
