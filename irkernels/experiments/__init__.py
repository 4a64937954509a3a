"""Reproductions of published experiments, each a file of its own."""

from __future__ import annotations

from types import ModuleType

from irkernels.experiments import e3

EXPERIMENTS: dict[str, ModuleType] = {"E3": e3}
"""Name -> a module with `run(trials, seed, steps, dtype, progress)` (gives runs, criteria, seconds), and `draw`."""
