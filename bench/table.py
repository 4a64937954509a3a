"""Measures tables of ratios against other packages, side by side in one run, and prints them with their targets.

A: operators (and what a call costs).  sizes: the same between table A's sizes.  plain: equations that bytes bound.
B: whole training steps.  C: the same for tensors.  D: completions as large as memory allows.  sweep: every size from 1
to 128.  layer: factorised layers in training.  gradients: what all gradients cost beside the value.  curvature: second
derivatives beside gradients.  tensorly: TensorLy's decompositions and functions, stock and with irkernels.  dynamics:
the end-to-end preconditioner against matrix powers.  numerics: how errors grow with depth and size, beside eager torch.
Progress goes to standard error, tables to standard output.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
from pathlib import Path

from bench import (
    curvature,
    decompositions,
    dynamics,
    gradient_cost,
    keep,
    large,
    layer,
    limits,
    machine,
    numerics,
    operators,
    plain,
    report,
    sizes,
    sweep,
    tensors,
    training,
)
from bench.measure import FULL, QUICK
from bench.session import Session
from bench.workers import Workers

TABLES = {
    "A": operators.table_a,
    "sizes": sizes.sizes,
    "plain": plain.plain_equations,
    "B": training.table_b,
    "C": tensors.table_c,
    "D": large.table_d,
    "sweep": sweep.sweep,
    "layer": layer.layer,
    "gradients": gradient_cost.gradient_cost,
    "curvature": curvature.curvature,
    "tensorly": decompositions.decompositions,
    "dynamics": dynamics.dynamics,
    "numerics": numerics.numerics,
}

_QUIET = 0.1  # cores' worth of other work that still leaves a fair picture


def main(arguments: list[str] | None = None) -> None:
    import torch

    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__.splitlines()[0])
    parser.add_argument("tables", nargs="*", metavar="TABLE", help=f"of {', '.join(TABLES)}; default A and B")
    parser.add_argument(
        "--quick", action="store_true", help="for a look: fewer and shorter samples, the largest rows left out"
    )
    parser.add_argument(
        "--rows", default="*", metavar="PATTERN", help="only rows whose name contains this shell pattern"
    )
    parser.add_argument("--dtype", choices=("float32", "float64"), default="float32")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="the same for every peer")
    parser.add_argument("--json", metavar="FILE", help="also write every figure with quartiles, machine and commit")
    parser.add_argument(
        "--results",
        metavar="DIR",
        type=Path,
        help="keep each table's figures in DIR/TABLE.json, and the sweep's picture",
    )
    options = parser.parse_args(arguments)
    if unknown := set(options.tables) - set(TABLES):
        parser.error(f"unknown table {sorted(unknown)[0]!r}; there are {', '.join(TABLES)}")
    if options.threads < 1:
        parser.error(f"--threads must be at least 1, got {options.threads}")
    if options.results and "sweep" in options.tables and importlib.util.find_spec("matplotlib") is None:
        parser.error("--results keeps a picture of the sweep, drawn with matplotlib, which is not installed")
    about = machine.environment(options.threads)
    print(machine.header(options.threads))
    others = machine.OtherLoad()
    found = limits.measure(options.dtype, options.threads)
    about["limits"] = dataclasses.asdict(found)
    print(f"limits measured: {limits.describe(found)}")
    with Workers(options.threads) as workers:
        effort = QUICK if options.quick else FULL
        session = Session(workers, found, options.dtype, effort, options.quick, options.rows, about, options.results)
        for name in options.tables or ["A", "B"]:
            rows, targets = len(session.json_rows), len(session.targets)
            TABLES[name](session)
            if options.results:
                path = keep.keep(options.results, name, about, session.json_rows[rows:], session.targets[targets:])
                print(f"\nkept in {path}")
    if (load := others.cores()) is not None:
        warning = "; times with several threads are not to be trusted" if load > _QUIET else ""
        print(f"\nOther processes kept {load:.2f} cores busy during the run{warning}")
    if session.targets:
        print("\nTargets")
        print("\n".join(target.line() for target in session.targets))
    if options.json:
        report.write_json(options.json, about, session.json_rows, session.targets)


if __name__ == "__main__":
    main()
