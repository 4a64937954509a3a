"""E3: singular values are learned one at a time, and depth decides how many.

Arora, Cohen, Hu, Luo, *Implicit Regularization in Deep Matrix Factorization* (NeurIPS 2019), Figure 3: a 100 x 100
matrix of rank 5, 2,000 entries observed, plain gradient descent from small multiples of the identity.

The steps at which values rise depend on the draw: where the fifth one comes late, depth 3 has not yet reached its bound
on the test error at 20,000 steps (seed 1 is such a draw).

Copy this file to begin a study of your own: a problem, a model, a fit, criteria, a picture.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import torch

from irkernels.experiments.criteria import Criterion, worst
from irkernels.experiments.eager import fit_beside_eager
from irkernels.experiments.low_rank import OBSERVED, RANK, SIZE, completion
from irkernels.experiments.outcome import Outcome, judged
from irkernels.nn import MatrixChain
from irkernels.training import Trajectory

INIT_SCALE, LR = 1e-3, 0.1
TRIALS, SEED, STEPS, DTYPE = 2, 0, 20_000, "float64"
TIMED = 100  # eager steps
DEPTHS = (1, 2, 3)


def run(
    trials: int = TRIALS,
    seed: int = SEED,
    steps: int = STEPS,
    dtype: torch.dtype = torch.float64,
    progress: bool | Callable = False,
) -> Outcome:
    """Train depths 1, 2 and 3 on the same problems, all trials at once, and judge them."""
    truth, observed = completion(trials, seed, dtype)
    optimizer = functools.partial(torch.optim.SGD, lr=LR)
    fits = {}
    for depth in DEPTHS:
        model = MatrixChain(SIZE, SIZE, depth, trials=trials, init="identity", init_scale=INIT_SCALE, dtype=dtype)
        fits[depth] = fit_beside_eager(
            model,
            observed,
            optimizer,
            TIMED,
            steps=steps,
            truth=truth,
            record=["loss", "error", "singular_values", "effective_rank"],
            record_every=max(1, steps // 100),
            progress=progress,
        )
    return judged(fits, criteria)


def criteria(runs: dict[int, Trajectory]) -> list[Criterion]:
    """Depth 1 cannot move unobserved entries, depth 2 learns them in part, depth 3 finds the rank."""
    least = {depth: run.metrics["error"].amin(dim=0) for depth, run in runs.items()}
    rank = {depth: run.metrics["effective_rank"][-1] for depth, run in runs.items()}
    sixth = runs[3].metrics["singular_values"][-1, :, RANK]
    return [
        worst("depth 1: smallest test error (the unobserved share)", least[1], 0.77, 0.83),
        worst("depth 2: smallest test error", least[2], 0.05, 0.2),
        worst("depth 3: smallest test error", least[3], high=0.02),
        worst("depth 2: effective rank at the end", rank[2], low=7.0),
        worst("depth 3: effective rank at the end", rank[3], high=5.3),
        worst("depth 3: sixth singular value at the end", sixth, high=1.0),
    ]


def draw(outcome: Outcome, path: Path) -> None:
    """Loss, test error and singular values of the first trial against steps, a column for each depth."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 6.5), layout="constrained")
    grid = figure.subplots(2, len(outcome.runs), sharex=True, sharey="row")
    for (depth, run), losses, values in zip(outcome.runs.items(), grid[0], grid[1], strict=True):
        steps = run.steps.numpy()
        losses.semilogy(steps, run.metrics["error"], color="#1b6ca8", linewidth=1.2)
        losses.semilogy(steps, run.metrics["loss"], color="0.55", linewidth=1.0, linestyle="--")
        losses.set_title(f"depth {depth}")
        spectrum = run.metrics["singular_values"][:, 0].numpy()
        values.plot(steps, spectrum[:, RANK:20], color="0.7", linewidth=0.8)
        values.plot(steps, spectrum[:, :RANK], linewidth=1.6)
        values.set_xlabel("gradient descent steps")
    grid[0, 0].set_ylabel("mean squared error")
    grid[0, 0].set_ylim(bottom=1e-4)
    grid[1, 0].set_ylabel(f"singular values, {RANK} leading coloured")
    grid[0, -1].plot([], [], color="#1b6ca8", label="all entries (test)")
    grid[0, -1].plot([], [], color="0.55", linestyle="--", label="observed (train)")
    grid[0, -1].legend(fontsize=9)
    figure.suptitle(
        f"Rank-{RANK} matrix, {OBSERVED:,} of {SIZE * SIZE:,} entries observed, gradient descent from {INIT_SCALE:g} I"
    )
    figure.savefig(path, dpi=130)
