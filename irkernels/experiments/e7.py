"""E7: with Adam, a penalty on the ratio of norms lets a matrix of depth 1 find the low rank; with gradient descent it
does not.

Zhao, *Combining Explicit and Implicit Regularization for Efficient Learning in Deep Networks* (NeurIPS 2022): a 100 x
100 matrix of rank 5 and norm 100, 2,000 entries observed, one factor from entries of std alpha / sqrt(100), alpha =
1e-3, mean squared error plus lambda times nuclear norm over Frobenius norm, learning rate 0.01. The paper's values of
lambda were not seen; here are five, and none. All values are trials of one fit. The penalty needs singular vectors at
every step, so that the steps are taken in plain torch.

Copy this file to begin a study of your own: a problem, a model, a fit, criteria, a picture.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from irkernels.experiments.criteria import Criterion, judged, worst
from irkernels.experiments.grid import listed, trials_of
from irkernels.experiments.low_rank import OBSERVED, RANK, SIZE, completion
from irkernels.experiments.outcome import Outcome, Run
from irkernels.experiments.session import Session
from irkernels.nn import MatrixChain
from irkernels.spectrum import nuclear_to_frobenius

TITLE = "with Adam, a ratio of norms as penalty finds the low rank at depth 1"
PAPER = "Zhao 2022"
PARAMETERS = {
    "optimizer": ("adam", "gd"), "strength": (0.0, 0.01, 0.03, 0.1, 0.3, 1.0), "depth": 1, "init_scale": (1e-3,),
    "lr": (0.01,),
    "trials": 1, "seed": 0, "steps": 200_000, "dtype": "float32",
}  # fmt: skip
QUICK = {"strength": (0.0, 0.1), "steps": 6000}
OPTIMIZERS = {"adam": torch.optim.Adam, "gd": torch.optim.SGD}
TIMED = 20  # eager steps


class Penalty:
    """lambda R(W) of each trial's W: [trials]."""

    def __init__(self, strength: Tensor) -> None:
        self.strength = strength

    def __call__(self, W: Tensor) -> Tensor:
        return self.strength * nuclear_to_frobenius(W)


def run(session: Session, optimizer, strength, depth, init_scale, lr, trials, seed, steps, dtype) -> Outcome:
    """All strengths at once, a fit for each optimizer; one problem, seen by all."""
    truth, observed = completion(None, seed, dtype)
    settings, runs = trials_of(trials, strength=strength, init_scale=init_scale, lr=lr), {}
    penalty = Penalty(settings.column("strength").to(session.device, dtype))
    for name in listed(optimizer):
        if name not in OPTIMIZERS:
            raise ValueError(f"--optimizer: expected one of {', '.join(OPTIMIZERS)}, got {name!r}")
        scales = settings.column("init_scale")
        model = MatrixChain(
            SIZE, SIZE, depth, trials=len(settings), init_scale=scales, seed=seed, dtype=dtype, device=session.device
        )
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*penalty.*")  # said in this file's first lines
            runs[name] = session.fit(
                name,
                model,
                observed.to(session.device),
                OPTIMIZERS[name],
                settings,
                TIMED,
                lr=settings.column("lr"),
                penalty=penalty,
                steps=steps,
                truth=truth.to(session.device),
                record=["loss", "error", "effective_rank", "singular_values"],
                record_every=max(1, min(1000, steps // 60)),
            )
    return Outcome(runs, criteria(runs))


def criteria(runs: Mapping[str, Run]) -> list[Criterion]:
    """Some lambda with Adam finds the matrix; gradient descent with that lambda, and Adam without, do not."""
    if "adam" not in runs:
        return []
    strengths = [each for each in runs["adam"].settings.values("strength") if each > 0]
    if not strengths:
        return []
    best = min(strengths, key=lambda each: float(runs["adam"].final("error",
                                                                    strength=each).nan_to_num(torch.inf).max()))
    error, rank = (runs["adam"].final(name, strength=best) for name in ("error", "effective_rank"))
    descent = runs["gd"].final("error", strength=best) if "gd" in runs else ()
    return judged(
        worst(f"Adam, lambda {best:g}: test error", error, high=0.1, paper="as deep ones"),
        worst(f"Adam, lambda {best:g}: effective rank", rank, high=7.0, paper="low"),
        worst(f"gradient descent, lambda {best:g}: test error", descent, low=0.5, paper="no effect"),
        worst("Adam, lambda 0: test error", runs["adam"].final("error", strength=0.0), low=0.5, paper="no effect"),
    )


def draw(outcome: Outcome, path: Path) -> None:
    """Test error and effective rank against iterations, a line for each lambda, a column for each optimizer."""
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    figure = Figure(figsize=(1 + 5 * len(outcome.runs), 6), layout="constrained")
    grid = figure.subplots(2, len(outcome.runs), sharex="col", sharey="row", squeeze=False)
    for (name, run), errors, ranks in zip(outcome.runs.items(), grid[0], grid[1], strict=True):
        strengths = run.settings.values("strength")
        for n, strength in enumerate(strengths):
            trial = int(run.settings.where(strength=strength).int().argmax())
            style = {"color": colormaps["viridis"](n / max(1, len(strengths) - 1) * 0.9), "linewidth": 1.4}
            errors.semilogy(run.steps, run.metrics["error"][:, trial], label=f"lambda {strength:g}", **style)
            ranks.plot(run.steps, run.metrics["effective_rank"][:, trial], **style)
        ranks.axhline(RANK, color="0.5", linestyle=":", linewidth=1)
        errors.set_title({"adam": "Adam", "gd": "gradient descent"}[name])
        ranks.set_xlabel("iterations")
    grid[0, 0].set_ylabel("mean squared error, all entries")
    grid[1, 0].set_ylabel("effective rank")
    grid[0, 0].legend(fontsize=9)
    figure.suptitle(
        f"Rank-{RANK} matrix, {OBSERVED:,} of {SIZE * SIZE:,} entries observed, depth 1,\npenalty lambda ||W||_* / "
        f"||W||_F"
    )
    figure.savefig(path, dpi=110)
