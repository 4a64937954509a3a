"""E1: depth helps matrix completion, and more so from smaller initial factors.

Arora, Cohen, Hu, Luo, *Implicit Regularization in Deep Matrix Factorization* (NeurIPS 2019), Figures 1 and 2: a
100 x 100 matrix of rank 5, 2,000 entries observed, Gaussian initial factors of four scales, GroupRMSprop until the
mean loss on observed entries is 1e-6. One problem, and in each setting as many runs as there are trials.

How well depth 2 does depends on the draw of the problem, and above all on whether an entry can be drawn twice. The
published script draws distinct entries, and so does this file by default. Nuclear norm minimisation errs by 0.106 on
the paper's problem; on 600 problems of distinct entries by 0.090 at most, 0.043 in the median, and on 80 of independent
ones (`--positions independent`, 1,813 or so seen) by 0.087 in the median, a fifth of them above 0.1. Figure 3's depth 1
says the same, see low_rank.py: the paper's files seem to be of independent draws. One such (`--scale paper --positions
independent --seed 3`) has at depth 2 mean errors of 0.025, 0.047, 0.071 and 0.13, where the paper has 0.024, 0.037,
0.065 and 0.105, and 2.5e-5 to 3e-5 in most settings of depths 3 and 4, where it has 2.2e-5 to 4e-5. SEED is the draw of
distinct entries nearest to the paper's by the error of nuclear norm minimisation, which no chain had a part in; depth 2
errs there by 0.0074 from the smallest scale, below its criterion (on the three draws that come next by 0.0050, 0.010
and 0.012).

At depth 4 one run in seven or so (5 of 36, of draws 0, 1 and 50; each of them from 1e-4 or smaller) settles on another
matrix. While W has rank 2 or 3, the entries observed in some row are met ever better, a little, while the others of
that row grow: of draw 0, trial 3, row 32 comes to a norm of 389, mean squared error 17. It seems that the best
approximation of that rank lies at infinity there, as in E2, and the flow follows it. float64, a rate of 3e-4 and the
published rule in eager PyTorch pass through the same singular values, to three digits after 27,000 steps: neither
rounding nor the size of steps decides it. The criteria are judged on the worst run, and fail then; beside them stand
mean and standard deviation over the runs of a setting, which is what the paper shows.

Copy this file to begin a study of your own: a problem, a model, a fit, criteria, a picture.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from irkernels.experiments.criteria import Criterion, judged, worst
from irkernels.experiments.grid import Swept, listed, trials_of
from irkernels.experiments.low_rank import OBSERVED, RANK, SIZE, completion
from irkernels.experiments.nuclear import least_nuclear_norm
from irkernels.experiments.outcome import Outcome, Run
from irkernels.experiments.session import Session
from irkernels.nn import MatrixChain
from irkernels.observed import Observed
from irkernels.optim import GroupRMSprop
from irkernels.spectrum import effective_rank, singular_values
from irkernels.training import Stop

TITLE = "depth helps matrix completion"
PAPER = "Arora, Cohen, Hu, Luo 2019, Figures 1 and 2"
PARAMETERS = {
    "depth": (2, 3, 4), "init_scale": (1e-6, 1e-5, 1e-4, 1e-3), "lr": (1e-3,), "baseline": "nuclear",
    "positions": "distinct",
    "trials": 3, "seed": 50, "steps": 1_000_000, "dtype": "float32",
}  # fmt: skip
QUICK = {"init_scale": (1e-5, 1e-3), "trials": 1}
EPS, LOSS = 1e-4, 1e-6
TEST = 1e-4  # test error of depths 3 and 4
TIMED = 50  # eager steps


def run(
    session: Session, depth: Swept, init_scale: Swept, lr: Swept, baseline: str, positions: str, trials: int,
    seed: int, steps: int, dtype: torch.dtype,
) -> Outcome:  # fmt: skip
    """One problem, all scales and rates of a depth at once, `trials` runs of each."""
    truth, observed = completion(None, seed, dtype, positions=positions)
    settings, runs = trials_of(trials, init_scale=init_scale, lr=lr), {}
    for layers in listed(depth):
        scales = settings.column("init_scale")
        runs[layers] = session.fit(
            f"depth {layers}",
            MatrixChain(
                SIZE, SIZE, layers, trials=len(settings), init_scale=scales, seed=seed, dtype=dtype,
                device=session.device
            ),
            observed.to(session.device),
            functools.partial(GroupRMSprop, eps=EPS, trials=len(settings)),
            settings,
            TIMED,
            lr=settings.column("lr"),
            steps=steps,
            stop=Stop(loss=LOSS, every=1),
            truth=truth.to(session.device),
            record=["loss", "error", "effective_rank", {"nuclear norm": lambda model: nuclear_norm(model())}],
            record_every=max(1, min(1000, steps // 100)),
        )
    goal = {"nuclear norm": float(nuclear_norm(truth)), "effective_rank": float(effective_rank(truth))}
    convex, notes = convex_baseline(observed, truth) if baseline == "nuclear" else ({}, [])
    return Outcome(runs, criteria(runs, convex), {**goal, **convex}, notes + spread(runs))


def nuclear_norm(W: Tensor) -> Tensor:
    """The sum of the singular values, over the last two axes."""
    return singular_values(W).sum(-1)


def convex_baseline(observed: Observed, truth: Tensor) -> tuple[dict[str, float], list[str]]:
    """What nuclear norm minimisation reaches, by metric, and a line on it."""
    try:
        W = least_nuclear_norm(observed)
    except ImportError as error:
        return {}, [f"no nuclear norm minimisation beside: {error}"]
    found = {
        "least norm: error": float((W - truth).square().mean()),
        "least norm: nuclear norm": float(nuclear_norm(W)),
        "least norm: effective_rank": float(effective_rank(W)),
    }
    said = ", ".join(f"{name[12:]} {value:.4g}" for name, value in found.items())
    return found, [f"nuclear norm minimisation: {said}"]


def spread(runs: Mapping[int, Run]) -> list[str]:
    """As the paper shows it: mean and standard deviation of each setting's runs, and how many runs went another way."""
    lines = []
    for depth, run in runs.items():
        for scale in run.settings.values("init_scale"):
            ends = {name: run.final(name, init_scale=scale) for name in ("error", "effective_rank")}
            each = (f"{name} {values.mean():.3g} +- {values.std(correction=0):.1g}" for name, values in ends.items())
            lines.append(f"depth {depth}, scale {scale:g}, mean and deviation of runs: {', '.join(each)}")
    for depth, run in runs.items():
        if depth > 2:
            error = run.final("error")
            lines.append(
                f"depth {depth}: {int((error > TEST).sum())} of {len(error)} runs on another matrix than the truth"
            )
    return lines


def means(run: Run, metric: str) -> Tensor:
    """At the end, over the runs of each initial scale, the smallest scale first."""
    scales = sorted(run.settings.values("init_scale"))
    return torch.stack([run.final(metric, init_scale=scale).mean() for scale in scales])


def criteria(runs: Mapping[int, Run], convex: Mapping[str, float] | None = None) -> list[Criterion]:
    """Depth 2 completes in part, better from smaller factors; depths 3 and 4 find the matrix, from all scales."""
    error = {depth: run.final("error") for depth, run in runs.items()}
    rank = {depth: run.final("effective_rank") for depth, run in runs.items()}
    mean = {depth: means(run, "error") for depth, run in runs.items()}
    rising = mean[2][1:] / mean[2][:-1] if 2 in mean else ()
    beside = mean[3] / mean[2] if 2 in mean and 3 in mean else ()
    losses = torch.cat([run.final("loss") for run in runs.values()])
    least = (convex or {}).get("least norm: error")
    return judged(
        worst("depth 2: test error", error.get(2, ()), 1e-2, 2e-1, paper="0.024 to 0.105"),
        worst("depth 2: mean test error over that of the scale below", rising, low=1.0, paper="1.5 to 1.8"),
        worst("depth 3: test error", error.get(3, ()), high=TEST, paper="2.6e-5 to 4e-5"),
        worst("depth 4: test error", error.get(4, ()), high=TEST, paper="2.2e-5 to 3e-5"),
        worst("depth 3: effective rank", rank.get(3, ()), 4.8, 5.2, paper="4.95 to 5.0"),
        worst("depth 4: effective rank", rank.get(4, ()), 4.8, 5.2, paper="4.95"),
        worst("depth 3: mean test error over that of depth 2", beside, high=1e-2, paper="0.0003 to 0.002"),
        worst("all depths: loss at observed entries", losses, high=LOSS, paper="1e-6"),
        worst("nuclear norm minimisation: test error", () if least is None else (least,), 1e-2, 2e-1, paper="0.106"),
    )


COLORS = ("#b8336a", "#1b6ca8", "#2a9d5c", "#c77f1a", "#6c4ab6")
_PANELS = {"error": "mean squared error, all entries", "nuclear norm": "nuclear norm",
           "effective_rank": "effective rank"}


def draw(outcome: Outcome, path: Path) -> None:
    """Test error, nuclear norm and effective rank at the end against the initial scale: mean and range of the runs."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 4), layout="constrained")
    for axes, (name, label) in zip(figure.subplots(1, len(_PANELS)), _PANELS.items(), strict=True):
        for color, (depth, run) in zip(itertools.cycle(COLORS), outcome.runs.items()):
            scales = sorted(run.settings.values("init_scale"))
            ends = [run.final(name, init_scale=scale) for scale in scales]
            axes.plot(scales, means(run, name), "o-", color=color, linewidth=1.4, markersize=4, label=f"depth {depth}")
            low, high = [values.min() for values in ends], [values.max() for values in ends]
            axes.fill_between(scales, low, high, color=color, alpha=0.2, linewidth=0)
        if (least := outcome.goal.get(f"least norm: {name}")) is not None:
            axes.axhline(least, color="0.2", linestyle=":", linewidth=1.2, label="least nuclear norm")
        if name in outcome.goal:
            axes.axhline(outcome.goal[name], color="0.4", linestyle="--", linewidth=1, label="ground truth")
        else:
            axes.set_yscale("log")
        axes.set_xscale("log")
        axes.set_xlabel("initial scale of the product")
        axes.set_ylabel(label)
    axes.legend(fontsize=9)
    figure.suptitle(f"Rank-{RANK} matrix, {OBSERVED:,} of {SIZE * SIZE:,} entries observed, GroupRMSprop")
    figure.savefig(path, dpi=130)
