"""E6-htf: local components of a hierarchical tensor completion are learned one after another.

Razin, Maman, Cohen, *Implicit Regularization in Hierarchical Tensor Factorization and Deep Convolutional Neural
Networks* (ICML 2022), last of three models side by side: an 8 x 8 x 8 x 8 tensor of hierarchical rank (5, 5) and norm
64, 2,048 of its 4,096 entries observed, a binary tree with 512 local components at each node, initial std 1e-2,
GroupRMSprop until the mean loss on observed entries has been below 5e-5 at 100 checks. Shown are the local components
of the top node.

How the truth was drawn was not seen: here it is a Gaussian hierarchical Tucker tensor with full transfer tensors. The
default seed is a draw whose unfolding at the top has five values worth learning, (1, 0.76, 0.52, 0.21, 0.07) of the
largest; of most draws the fifth is below 0.05. Gaussian local components give truths with two to four such values only.

A step at width 512 has 104 million multiply-adds, nearly all of them in products of 64 x 512 by 512 x 512 of the two
lower nodes, as quick by own kernels as by BLAS, and the run has tens of thousands. Quick scale has 128 local
components, 16 times less work, from std 1.6e-2, at which a component of the top node begins as large as at width 512
from 1e-2 (the norm of a column goes with the root of the width); from 1e-2 it does not leave the start.

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
from irkernels.nn import HierarchicalTucker

TITLE = "local components of a hierarchical completion are learned one after another"
PAPER = "Razin, Maman, Cohen 2022, dynamical analysis: hierarchical tensor factorization"
PARAMETERS = {"width": 512, "init_std": (1e-2,), **COMMON, "trials": 1, "seed": 9}
QUICK = {"width": 128, "init_std": (0.016,), "steps": 80_000}
SHAPE = (8, 8, 8, 8)
TOP = "top node's component norms"
TIMED = 10  # eager steps


def run(
    session: Session, width: int, init_std: Swept, lr: Swept, trials: int, seed: int, steps: int, dtype: torch.dtype
) -> Outcome:
    """All sizes and repeats at once; repeat t has truth t."""
    settings = trials_of(trials, init_std=init_std, lr=lr)
    model = HierarchicalTucker(
        SHAPE, width, trials=len(settings), init_std=settings.column("init_std"), seed=seed, dtype=dtype,
        device=session.device
    )
    found = train(session, "HTF", model, _low_rank, settings, [{TOP: _top_node}], TIMED, trials, seed, steps)
    return Outcome({"HTF": found}, criteria({"HTF": found}))


def _top_node(model: HierarchicalTucker) -> torch.Tensor:
    return model.component_norms()[model.root.modes].detach()


def _low_rank(generator: torch.Generator) -> HierarchicalTucker:
    return HierarchicalTucker(SHAPE, RANK, transfer="full", init_std=1.0, generator=generator, dtype=torch.float64)


def criteria(runs: Mapping[str, Run]) -> list[Criterion]:
    """Five local components at the top node, one at a time, from the smallest factors."""
    (run,) = runs.values()
    norms = run.metrics[TOP][:, run.settings.where(init_std=min(run.settings.values("init_std")))]
    each = [norms[:, trial] for trial in range(norms.shape[1])]
    return judged(*(counted("top node's component", run.steps, each, RANK, paper="0.095") if each else []))


def draw(outcome: Outcome, path: Path) -> None:
    """The top node's local components and the relative error of each run against iterations."""
    draw_side(outcome, path, TOP, "norm of a local component, top node",
              f"8 x 8 x 8 x 8 tensor of hierarchical rank {RANK}")
