"""Benchmarks: workloads, peers, measured limits, and the command that prints the ratio tables (`python -m bench`)."""

from __future__ import annotations

import sys
from pathlib import Path

# `python -m bench` puts the checkout first on the path, where its plain source tree would hide an installed irkernels.
_ROOT = str(Path(__file__).resolve().parent.parent)
if sys.path and sys.path[0] in ("", _ROOT):
    sys.path.append(sys.path.pop(0))
