"""E7: with Adam, a penalty on the ratio of norms lets depth 1 find the low rank; with gradient descent it does not.

Zhao, *Combining Explicit and Implicit Regularization for Efficient Learning in Deep Networks* (NeurIPS 2022): a
100 x 100 matrix of rank 5 and norm 100, 2,000 entries observed, one factor from entries of std alpha / sqrt(100),
alpha = 1e-3, mean squared error plus lambda times nuclear norm over Frobenius norm. The paper's values of lambda were
not seen; here are three, and none. All values are trials of one fit. The penalty needs singular vectors at every step,
so that the steps are taken in plain torch.

The learning rate decides. Adam moves every entry by about its rate whatever lambda is, and R(W) has no minimum: it
falls to 1 as any entry not observed goes to infinity. At the published script's default rate, 0.01, the matrix is
passed by: the error is least, 0.77 and 0.95, after 1,000 steps with lambda 0.01 and 0.1, and 2.5 and 3.2 after 6,000,
while the effective rank falls all the same, to 12.6 and 11.0. At 0.003 and below the same lambdas find it: lambda 0.01
at 0.001 has error 0.030 after 12,500 steps and 6e-5 after 17,500, effective rank 4.96; lambda 0.1 has 0.016 after
20,000. Quick scale takes 0.003, where fewer steps do; paper scale has 0.01 and 0.001 side by side, and is judged on
the best.

Gradient descent at these rates stands still: the gradient of an observed entry is its residual over 1,000. It is given
rates at which the observed entries are met too, and within 12,000 steps the penalty does not help: at rate 10 the error
is 0.99 with lambda 0.01 and 2.8 with 0.03, since the slope at the small start, lambda over the norm of W, throws W off
at the first step. Over 200,000 steps it helps all the same, against what is published: at rate 10 gradient descent with
lambda 0.01 ends at an error of 8.3e-5, where Adam at 0.001 has 8.5e-5.

Copy this file to begin a study of your own: a problem, a model, a fit, criteria, a picture.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from irkernels.experiments.criteria import Criterion, judged, worst
from irkernels.experiments.grid import Swept, listed, trials_of
from irkernels.experiments.low_rank import OBSERVED, RANK, SIZE, completion
from irkernels.experiments.outcome import Outcome, Run
from irkernels.experiments.session import Session
from irkernels.nn import MatrixChain
from irkernels.spectrum import nuclear_to_frobenius

TITLE = "with Adam, a ratio of norms as penalty finds the low rank at depth 1"
PAPER = "Zhao 2022"
PARAMETERS = {
    "optimizer": ("adam", "gd"), "strength": (0.0, 0.01, 0.1, 1.0), "depth": 1, "init_scale": (1e-3,),
    "lr": (0.01, 0.001), "descent_lr": (0.01, 10.0), "trials": 1, "seed": 0, "steps": 200_000, "dtype": "float32",
}  # fmt: skip
QUICK = {"strength": (0.0, 0.03), "lr": (0.003,), "descent_lr": (10.0,), "steps": 12_000}
OPTIMIZERS = {"adam": torch.optim.Adam, "gd": torch.optim.SGD}
DASHES = ("-", "--", ":", "-.")  # of the rates
TIMED = 20  # eager steps


class Penalty:
    """lambda R(W) of each trial's W: [trials]."""

    def __init__(self, strength: Tensor) -> None:
        self.strength = strength

    def __call__(self, W: Tensor) -> Tensor:
        return self.strength * nuclear_to_frobenius(W)


def run(
    session: Session, optimizer: Swept, strength: Swept, depth: int, init_scale: Swept, lr: Swept, descent_lr: Swept,
    trials: int, seed: int, steps: int, dtype: torch.dtype,
) -> Outcome:  # fmt: skip
    """All strengths and rates at once, a fit for each optimizer; one problem, seen by all."""
    truth, observed = completion(None, seed, dtype)
    rates, runs = {"adam": lr, "gd": descent_lr}, {}
    for name in listed(optimizer):
        if name not in OPTIMIZERS:
            raise ValueError(f"--optimizer: expected one of {', '.join(OPTIMIZERS)}, got {name!r}")
        settings = trials_of(trials, strength=strength, init_scale=init_scale, lr=rates[name])
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
                penalty=Penalty(settings.column("strength").to(session.device, dtype)),
                steps=steps,
                truth=truth.to(session.device),
                record=["loss", "error", "effective_rank", "singular_values"],
                record_every=max(1, min(1000, steps // 60)),
            )
    return Outcome(runs, criteria(runs))


def criteria(runs: Mapping[str, Run]) -> list[Criterion]:
    """Some lambda with Adam finds the matrix; at any rate gradient descent with it, and Adam without, do not."""
    if "adam" not in runs:
        return []
    adam = runs["adam"]
    tried = [
        (each, rate) for each in adam.settings.values("strength") if each > 0 for rate in adam.settings.values("lr")
    ]
    if not tried:
        return []

    def greatest(pair: tuple[float, float]) -> float:
        return float(adam.final("error", strength=pair[0], lr=pair[1]).nan_to_num(torch.inf).max())

    strength, rate = best = min(tried, key=greatest)
    said = "Adam, lambda {:g}, rate {:g}".format(*best)
    error, rank = (adam.final(name, strength=strength, lr=rate) for name in ("error", "effective_rank"))
    descent = runs["gd"].final("error", strength=strength) if "gd" in runs else ()
    return judged(
        worst(f"{said}: test error", error, high=0.1, paper="as deep ones"),
        worst(f"{said}: effective rank", rank, high=7.0, paper="low"),
        worst(f"gradient descent, lambda {strength:g}: test error", descent, low=0.5, paper="no effect"),
        worst("Adam, lambda 0: test error", adam.final("error", strength=0.0), low=0.5, paper="no effect"),
    )


def draw(outcome: Outcome, path: Path) -> None:
    """Test error and effective rank against iterations: a line for each lambda and rate, a column an optimizer."""
    from matplotlib import colormaps
    from matplotlib.figure import Figure
    from matplotlib.ticker import EngFormatter

    figure = Figure(figsize=(1 + 5 * len(outcome.runs), 6), layout="constrained")
    grid = figure.subplots(2, len(outcome.runs), sharex="col", sharey="row", squeeze=False)
    for (name, run), errors, ranks in zip(outcome.runs.items(), grid[0], grid[1], strict=True):
        strengths, rates = run.settings.values("strength"), run.settings.values("lr")
        for (n, strength), (dash, rate) in itertools.product(enumerate(strengths), zip(itertools.cycle(DASHES), rates)):
            trial = int(run.settings.where(strength=strength, lr=rate).int().argmax())
            style = {
                "color": colormaps["viridis"](n / max(1, len(strengths) - 1) * 0.9),
                "linewidth": 1.4,
                "linestyle": dash,
            }
            errors.semilogy(
                run.steps, run.metrics["error"][:, trial], label=f"lambda {strength:g}, rate {rate:g}", **style
            )
            ranks.plot(run.steps, run.metrics["effective_rank"][:, trial], **style)
        ranks.axhline(RANK, color="0.5", linestyle=":", linewidth=1)
        errors.set_title({"adam": "Adam", "gd": "gradient descent"}[name])
        errors.legend(fontsize=9 if len(run.settings) < 5 else 6)
        ranks.set_xlabel("iterations")
        ranks.xaxis.set_major_formatter(EngFormatter(sep=""))
    grid[0, 0].set_ylabel("mean squared error, all entries")
    grid[1, 0].set_ylabel("effective rank")
    figure.suptitle(
        f"Rank-{RANK} matrix, {OBSERVED:,} of {SIZE * SIZE:,} entries observed, depth 1,\n"
        f"penalty lambda ||W||_* / ||W||_F"
    )
    figure.savefig(path, dpi=110)
