"""Reproductions of published experiments, each a file of its own."""

from __future__ import annotations

from types import ModuleType

from irkernels.experiments import e1, e2, e3

EXPERIMENTS: dict[str, ModuleType] = {"E1": e1, "E2": e2, "E3": e3}
"""Name -> a module with `run(trials, seed, steps, dtype, progress)`, defaults TRIALS, SEED, STEPS and DTYPE, and `draw`."""
