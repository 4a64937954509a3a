"""Reproductions of published experiments, each a file of its own."""

from __future__ import annotations

from types import ModuleType

from irkernels.experiments import e1, e2, e3, e4a, e4b, e4c, e5, e6_cp, e6_htf, e6_matrix, e7, e8

EXPERIMENTS: dict[str, ModuleType] = {
    "E1": e1,
    "E2": e2,
    "E3": e3,
    "E4a": e4a,
    "E4b": e4b,
    "E4c": e4c,
    "E5": e5,
    "E6-matrix": e6_matrix,
    "E6-cp": e6_cp,
    "E6-htf": e6_htf,
    "E7": e7,
    "E8": e8,
}
"""Name -> a module with TITLE, PAPER, PARAMETERS (the paper's), QUICK (those that quick scale changes), run and draw.

run(session, **parameters) -> Outcome; draw(outcome, path).  A parameter that is a tuple may have any number of values.
"""
