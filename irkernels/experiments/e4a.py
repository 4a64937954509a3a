"""E4a: a CP completion with as many components as fit everything finds the rank-1 truth, if it begins small.

Razin, Cohen, *Implicit Regularization in Deep Learning May Not Be Explainable by Norms* (NeurIPS 2020), tensor
completion: 8 x 8 x 8 (and x 8) tensors of rank 1 and norm 1, 64 (and 512) components, Gaussian initial factors of two
sizes, GroupRMSprop until the mean loss on observed entries is below 1e-6 at three checks. Beside it: the observed
entries with zero elsewhere. All numbers of observations are trials of one fit: an entry that a trial does not see has
weight 0.

Chance has a part where few entries are seen. Of 50 runs of order 3 with 200 observed from factors of 1e-3 (ten seeds)
the relative error is 4.7e-5 in the median and 7e-7 at best, 35 are below the 1e-4 that the criterion asks of every
run, and two end at another tensor altogether, after 40,000 steps. The paper's figure reads 5e-6.

Copy this file to begin a study of your own: a problem, a model, a fit, criteria, a picture.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from irkernels.experiments.cp_rank import cp_rank
from irkernels.experiments.criteria import Criterion, judged, worst
from irkernels.experiments.grid import Settings, Swept, listed, trials_of
from irkernels.experiments.outcome import Outcome, Run
from irkernels.experiments.session import Session
from irkernels.families.streams import trial_generators
from irkernels.nn import CP
from irkernels.observed import Observed
from irkernels.optim import GroupRMSprop
from irkernels.training import Stop

TITLE = "small beginnings find the rank-1 tensor"
PAPER = "Razin, Cohen 2020, rank-1 tensor completion"
PARAMETERS = {
    "order": (3, 4), "init_std": (1e-2, 1e-3), "lr": (0.01,), "observed": "paper",
    "trials": 5, "seed": 0, "steps": 1_000_000, "dtype": "float64",
}  # fmt: skip
QUICK = {"order": (3,), "trials": 2}
SIZE = 8
OBSERVED = {3: (*range(50, 500, 50), 511), 4: (100, 500, 1000, 1500, 2000, 2500, 3000, 3500, 4095)}
STOP = Stop(loss=1e-6, patience=3, every=100)
TOLERANCE = 1e-6  # mean squared error at which a CP rank is counted
TIMED = 5  # eager steps


def problem(order: int, settings: Settings, trials: int, seed: int) -> tuple[Tensor, Observed]:
    """Truths [T, 8, 8, ...] of rank 1 and norm 1, all entries listed, weight 1 where a trial sees one; float64.

    A repeat has its truth, and its entries in one random order, of which each trial sees the first.
    """
    truths, ranks = [], []
    for generator in trial_generators(trials, None, seed):
        tensor = CP((SIZE,) * order, 1, init_std=1.0, generator=generator, dtype=torch.float64)().detach()
        truths.append(tensor / torch.linalg.vector_norm(tensor))
        ranks.append(torch.randperm(SIZE**order, generator=generator))
    repeat = settings.column("trial").long()
    truth, rank = torch.stack(truths)[repeat], torch.stack(ranks)[repeat]
    at = torch.ones((SIZE,) * order).nonzero()
    weights = (rank < settings.column("observed")[:, None]).double()
    return truth, Observed(at, truth.flatten(1), (SIZE,) * order, weights)


def run(
    session: Session, order: Swept, init_std: Swept, lr: Swept, observed: Swept, trials: int, seed: int, steps: int,
    dtype: torch.dtype,
) -> Outcome:  # fmt: skip
    """All sizes, numbers of observations and repeats of an order at once."""
    runs, zeros, ranks = {}, {}, {}
    for modes in listed(order):
        counts = OBSERVED[min(modes, 4)] if observed == "paper" else [int(count) for count in listed(observed)]
        settings = trials_of(trials, init_std=init_std, lr=lr, observed=counts)
        truth, seen = problem(modes, settings, trials, seed)
        zeros[modes] = (truth.flatten(1) * (seen.weights == 0)).norm(dim=1)
        model = CP(
            (SIZE,) * modes, SIZE ** (modes - 1), trials=len(settings), init_std=settings.column("init_std"), seed=seed,
            dtype=dtype, device=session.device,
        )  # fmt: skip
        goal = truth.to(session.device, dtype)
        runs[modes] = session.fit(
            f"order {modes}",
            model,
            seen.to(dtype).to(session.device),
            functools.partial(GroupRMSprop, trials=len(settings)),
            settings,
            TIMED,
            lr=settings.column("lr"),
            steps=steps,
            stop=STOP,
            record=["loss", {"relative error": lambda model, goal=goal: (model() - goal).flatten(1).norm(dim=1)}],
            record_every=max(1, min(100, steps // 20)),
        )
        ranks[modes] = _ranks(runs[modes], model)
    zero = {f"zero elsewhere, order {modes}": values.tolist() for modes, values in zeros.items()}
    return Outcome(runs, criteria(runs, zeros, ranks), zero, _notes(zeros, ranks, runs))


JUDGED = {3: 200, 4: 1000}  # observations at which an order is judged


def _ranks(run: Run, model: CP) -> list[int]:
    """Of the completed tensors from factors of 1e-3, where the paper's criterion looks."""
    chosen = run.settings.where(init_std=1e-3, observed=JUDGED.get(len(model.shape)))
    with torch.no_grad():
        return [cp_rank(W, TOLERANCE, 3) for W in model()[chosen.to(model.factors[0].device)].cpu()]


def _notes(zeros: Mapping[int, Tensor], ranks: Mapping[int, list[int]], runs: Mapping[int, Run]) -> list[str]:
    lines = []
    for order, run in runs.items():
        for count in run.settings.values("observed"):
            ends = (
                f"init {std:g} {run.final('relative error', init_std=std, observed=count).mean():.2g}"
                for std in run.settings.values("init_std")
            )
            zero = zeros[order][run.settings.where(observed=count)].mean()
            lines.append(
                f"order {order}, {count} observed, mean relative error: {', '.join(ends)}, zero elsewhere {zero:.2g}"
            )
        if ranks[order]:
            lines.append(f"order {order}, {JUDGED[order]} observed, init 0.001: CP rank {sorted(set(ranks[order]))}")
    return lines


def criteria(runs: Mapping[int, Run], zeros: Mapping[int, Tensor], ranks: Mapping[int, list[int]]) -> list[Criterion]:
    """From factors of 1e-3 the truth, of rank 1; from 1e-2 an error at least 50 times as large."""
    found: list[Criterion | None] = []
    known = {3: ("5e-6", "1400", "0.8"), 4: ("8e-7", "125", "0.9")}
    for order, count in JUDGED.items():
        if order not in runs:
            continue
        run, (small_error, ratio, zero) = runs[order], known[order]
        small = run.final("relative error", init_std=1e-3, observed=count)
        large = run.final("relative error", init_std=1e-2, observed=count)
        where = f"order {order}, {count} observed"
        elsewhere = zeros[order][run.settings.where(observed=count)]
        both = [large.mean() / small.mean()] if len(small) and len(large) else ()
        found += [
            worst(f"{where}, init 1e-3: relative error", small, high=1e-4, paper=small_error),
            worst(f"{where}: error from init 1e-2 over that from 1e-3, means", both, low=50, paper=ratio),
            worst(f"{where}: relative error of zeros elsewhere", elsewhere, low=0.5, paper=zero),
            worst(f"{where}, init 1e-3: CP rank", ranks[order], 0.5, 1.5, paper="1"),
        ]
    return judged(*found)


def draw(outcome: Outcome, path: Path) -> None:
    """Relative error against the number of observations, a panel for each order."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4 + 5 * len(outcome.runs), 4), layout="constrained")
    panels = figure.subplots(1, len(outcome.runs), squeeze=False)[0]
    for axes, (order, run) in zip(panels, outcome.runs.items(), strict=True):
        counts = run.settings.values("observed")
        for std, color in zip(run.settings.values("init_std"), ("#b8336a", "#1b6ca8", "#2a9d5c", "#c77f1a")):
            ends = [run.final("relative error", init_std=std, observed=count) for count in counts]
            mean, least, most = ([end(each) for each in ends] for end in (torch.mean, torch.min, torch.max))
            axes.semilogy(counts, mean, "o-", color=color, markersize=4, label=f"initial std {std:g}")
            axes.fill_between(counts, least, most, color=color, alpha=0.2, linewidth=0)
        zero = torch.tensor(outcome.goal[f"zero elsewhere, order {order}"])
        elsewhere = [zero[run.settings.where(observed=count)].mean() for count in counts]
        axes.semilogy(counts, elsewhere, ":", color="0.3", label="zero elsewhere")
        axes.set_title(f"order {order}, {SIZE} per mode, {SIZE ** (order - 1)} components", fontsize=10)
        axes.set_xlabel(f"observed entries of {SIZE**order:,}")
        axes.set_ylabel("relative reconstruction error")
    panels[0].legend(fontsize=9)
    figure.suptitle("Rank-1 tensor completed by CP of maximal rank, GroupRMSprop: mean and range of runs")
    figure.savefig(path, dpi=110)
