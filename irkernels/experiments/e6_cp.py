"""E6-cp: components of a CP completion of order 3 are learned one after another.

Razin, Maman, Cohen, *Implicit Regularization in Hierarchical Tensor Factorization and Deep Convolutional Neural
Networks* (ICML 2022), second of three models side by side: a 16 x 16 x 16 tensor of CP rank 5 and norm 64, 2,048 of its
4,096 entries observed, 256 components, initial std 1e-3, GroupRMSprop until the mean loss on observed entries has been
below 5e-5 at 100 checks.

Copy this file to begin a study of your own: a problem, a model, a fit, criteria, a picture.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from irkernels.experiments.criteria import Criterion, judged
from irkernels.experiments.grid import Swept, trials_of
from irkernels.experiments.incremental import counted
from irkernels.experiments.outcome import Outcome, Run
from irkernels.experiments.session import Session
from irkernels.experiments.side_by_side import PARAMETERS as COMMON
from irkernels.experiments.side_by_side import RANK, draw_side, train
from irkernels.nn import CP

TITLE = "components of an order-3 CP completion are learned one after another"
PAPER = "Razin, Maman, Cohen 2022, dynamical analysis: CP factorization"
PARAMETERS = {"rank": 256, "init_std": (1e-3,), **COMMON}
QUICK = {"trials": 1}
SHAPE = (16, 16, 16)
TIMED = 50  # eager steps


def run(
    session: Session, rank: int, init_std: Swept, lr: Swept, trials: int, seed: int, steps: int, dtype: torch.dtype
) -> Outcome:
    """All sizes and repeats at once; repeat t has truth t."""
    settings = trials_of(trials, init_std=init_std, lr=lr)
    model = CP(
        SHAPE, rank, trials=len(settings), init_std=settings.column("init_std"), seed=seed, dtype=dtype,
        device=session.device
    )
    found = train(session, "CP", model, _low_rank, settings, ["component_norms"], TIMED, trials, seed, steps)
    return Outcome({"CP": found}, criteria({"CP": found}))


def _low_rank(generator: torch.Generator) -> CP:
    return CP(SHAPE, RANK, init_std=1.0, generator=generator, dtype=torch.float64)


def criteria(runs: Mapping[str, Run]) -> list[Criterion]:
    """Five components, one at a time."""
    (run,) = runs.values()
    norms = run.metrics["component_norms"][:, run.settings.where(init_std=1e-3)]
    each = [norms[:, trial] for trial in range(norms.shape[1])]
    return judged(*(counted("component", run.steps, each, RANK, paper="0.47") if each else []))


def draw(outcome: Outcome, path: Path) -> None:
    """Component norms and relative error of each run against iterations."""
    draw_side(outcome, path, "component_norms", "norm of a component", f"16 x 16 x 16 tensor of CP rank {RANK}")
