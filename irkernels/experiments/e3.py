"""E3: singular values are learned one at a time, and depth decides how many.

Arora, Cohen, Hu, Luo, *Implicit Regularization in Deep Matrix Factorization* (NeurIPS 2019), Figure 3: a 100 x 100
matrix of rank 5, 2,000 entries observed, plain gradient descent from small multiples of the identity.

The steps at which values rise depend on the draw: where the fifth one comes late, depth 3 has not yet reached its bound
on the test error at 20,000 steps (seed 1 is such a draw).

Copy this file to begin a study of your own: a problem, a model, a fit, criteria, a picture.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from irkernels.experiments.criteria import Criterion, judged, worst
from irkernels.experiments.grid import Swept, listed, trials_of
from irkernels.experiments.low_rank import OBSERVED, RANK, SIZE, completion
from irkernels.experiments.outcome import Outcome, Run, final
from irkernels.experiments.session import Session
from irkernels.nn import MatrixChain

TITLE = "singular values are learned one at a time"
PAPER = "Arora, Cohen, Hu, Luo 2019, Figure 3"
PARAMETERS = {
    "depth": (1, 2, 3), "init_scale": (1e-3,), "lr": (0.1,), "positions": "distinct", "trials": 2, "seed": 0,
    "steps": 20_000, "dtype": "float64",
}  # fmt: skip
QUICK: dict[str, Any] = {}
TIMED = 100  # eager steps


def run(
    session: Session, depth: Swept, init_scale: Swept, lr: Swept, positions: str, trials: int, seed: int, steps: int,
    dtype: torch.dtype,
) -> Outcome:  # fmt: skip
    """All trials of a depth at once; trial t has the same problem whatever its scale and rate."""
    settings = trials_of(trials, init_scale=init_scale, lr=lr)
    repeats = settings.column("trial").long()
    truth, observed = completion(trials, seed, dtype, repeats, positions)
    runs = {}
    for layers in listed(depth):
        scales = settings.column("init_scale")
        runs[layers] = session.fit(
            f"depth {layers}",
            MatrixChain(
                SIZE, SIZE, layers, trials=len(settings), init="identity", init_scale=scales, dtype=dtype,
                device=session.device
            ),
            observed.to(session.device),
            torch.optim.SGD,
            settings,
            TIMED,
            lr=settings.column("lr"),
            steps=steps,
            truth=truth.to(session.device),
            record=["loss", "error", "singular_values", "effective_rank"],
            record_every=max(1, steps // 100),
        )
    return Outcome(runs, criteria(runs))


def criteria(runs: Mapping[int, Run]) -> list[Criterion]:
    """Depth 1 cannot move unobserved entries, depth 2 learns them in part, depth 3 finds the rank."""
    least = {depth: run.least("error") for depth, run in runs.items()}
    sixth = runs[3].metrics["singular_values"][-1, :, RANK] if 3 in runs else ()
    return judged(
        worst("depth 1: smallest test error (the unobserved share)", least.get(1, ()), 0.77, 0.83, paper="0.8195"),
        worst("depth 2: smallest test error", least.get(2, ()), 0.05, 0.2, paper="0.0988"),
        worst("depth 3: smallest test error", least.get(3, ()), high=0.02, paper="0.00167"),
        worst("depth 2: effective rank at the end", final(runs, 2, "effective_rank"), low=7.0),
        worst("depth 3: effective rank at the end", final(runs, 3, "effective_rank"), high=5.3),
        worst("depth 3: sixth singular value at the end", sixth, high=1.0, paper="< 0.5"),
    )


def draw(outcome: Outcome, path: Path) -> None:
    """Loss, test error and singular values of the first trial against steps, a column for each depth."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 6.5), layout="constrained")
    grid = figure.subplots(2, len(outcome.runs), sharex=True, sharey="row", squeeze=False)
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
        f"Rank-{RANK} matrix, {OBSERVED:,} of {SIZE * SIZE:,} entries observed, gradient descent from "
        f"{_scales(outcome)} I"
    )
    figure.savefig(path, dpi=130)


def _scales(outcome: Outcome) -> str:
    return ", ".join(f"{scale:g}" for scale in next(iter(outcome.runs.values())).settings.values("init_scale"))
