"""E6-matrix: singular values of a depth-3 matrix completion are learned one after another.

Razin, Maman, Cohen, *Implicit Regularization in Hierarchical Tensor Factorization and Deep Convolutional Neural
Networks* (ICML 2022), first of three models side by side: a 64 x 64 matrix of rank 5 and norm 64, 2,048 of its
4,096 entries observed, initial std 1e-3, GroupRMSprop until the mean loss on observed entries has been below 5e-5
at 100 checks.

Copy this file to begin a study of your own: a problem, a model, a fit, criteria, a picture.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from irkernels.experiments.criteria import Criterion, judged, worst
from irkernels.experiments.grid import Swept, listed, trials_of
from irkernels.experiments.incremental import counted
from irkernels.experiments.outcome import Outcome, Run
from irkernels.experiments.session import Session
from irkernels.experiments.side_by_side import NORM, RANK, draw_side, train
from irkernels.experiments.side_by_side import PARAMETERS as COMMON
from irkernels.nn import MatrixChain

TITLE = "singular values of a depth-3 matrix completion are learned one after another"
PAPER = "Razin, Maman, Cohen 2022, dynamical analysis: matrix factorization"
PARAMETERS = {"depth": (3,), "init_std": (1e-3,), **COMMON}
QUICK = {"trials": 1}
SIZE = 64
TIMED = 50  # eager steps


def run(
    session: Session, depth: Swept, init_std: Swept, lr: Swept, trials: int, seed: int, steps: int, dtype: torch.dtype
) -> Outcome:
    """All sizes and repeats of a depth at once; repeat t has truth t."""
    settings, runs = trials_of(trials, init_std=init_std, lr=lr), {}
    for layers in listed(depth):
        model = MatrixChain(
            SIZE, SIZE, layers, trials=len(settings), init_std=settings.column("init_std"), seed=seed, dtype=dtype,
            device=session.device,
        )  # fmt: skip
        record = ["singular_values", "effective_rank"]
        runs[layers] = train(session, f"depth {layers}", model, _low_rank, settings, record, TIMED, trials, seed, steps)
    return Outcome(runs, criteria(runs))


def _low_rank(generator: torch.Generator) -> MatrixChain:
    return MatrixChain(SIZE, SIZE, 2, hidden=RANK, init_std=1.0, generator=generator, dtype=torch.float64)


def criteria(runs: Mapping[int, Run]) -> list[Criterion]:
    """At depth 3 five singular values, one at a time, which hold the truth's norm."""
    if 3 not in runs:
        return []
    values = runs[3].metrics["singular_values"][:, runs[3].settings.where(init_std=1e-3)]
    each = [values[:, trial] for trial in range(values.shape[1])]
    shares = [float(one[-1].square().sum()) / NORM**2 for one in each]
    return judged(
        *(counted("singular value", runs[3].steps, each, RANK, paper="0.55") if each else []),
        worst("sum of squared singular values over the truth's", shares, 0.95, 1.05, paper="1"),
    )


def draw(outcome: Outcome, path: Path) -> None:
    """Singular values and relative error of each run against iterations."""
    draw_side(outcome, path, "singular_values", "singular values", f"{SIZE} x {SIZE} matrix of rank {RANK}")
