"""What E6's three models have in common: problem size, optimizer, stopping rule, picture."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from irkernels.experiments.grid import Settings
from irkernels.experiments.incremental import draw_components, end_of
from irkernels.experiments.outcome import Outcome, Run
from irkernels.experiments.seen_in_part import Truth, seen_in_part
from irkernels.experiments.session import Session
from irkernels.nn import Product
from irkernels.observed import Observed
from irkernels.optim import GroupRMSprop
from irkernels.training import Stop

PARAMETERS = {"lr": (0.01,), "trials": 2, "seed": 0, "steps": 500_000, "dtype": "float32"}
RANK, NORM, OBSERVED = 5, 64.0, 2048
STOP = Stop(loss=5e-5, patience=100, every=25)


def train(
    session: Session, name: str, model: Product, truth: Truth, settings: Settings, record: Sequence[Any], timed: int,
    trials: int, seed: int, steps: int,
) -> Run:  # fmt: skip
    """One model on truths of norm 64, half of their 4,096 entries observed; repeat t has truth t."""
    dtype, device, repeat = model.factors[0].dtype, session.device, settings.column("trial").long()
    dense, seen = seen_in_part(truth, NORM, OBSERVED, trials, seed, dtype)
    dense = dense[repeat].to(device)
    norm = dense.flatten(1).norm(dim=1)
    return session.fit(
        name,
        model,
        Observed(seen.at, seen.values[repeat], seen.shape).to(device),
        functools.partial(GroupRMSprop, trials=len(settings)),
        settings,
        timed,
        lr=settings.column("lr"),
        steps=steps,
        stop=STOP,
        record=["loss", {"relative error": lambda model: (model() - dense).flatten(1).norm(dim=1) / norm}, *record],
        record_every=max(1, min(50, steps // 20)),
    )


def draw_side(outcome: Outcome, path: Path, metric: str, label: str, title: str) -> None:
    """Components above, error below, a column for each of the first four trials."""
    from matplotlib.figure import Figure

    columns = [(run, trial) for run in outcome.runs.values() for trial in range(len(run.settings))][:4]
    figure = Figure(figsize=(4 + 4 * len(columns), 6), layout="constrained")
    grid = figure.subplots(2, len(columns), sharex="col", squeeze=False)
    for (run, trial), upper, lower in zip(columns, grid[0], grid[1], strict=True):
        records = slice(0, end_of(run.trajectory, trial))
        steps = run.steps[records]
        draw_components(upper, steps, run.metrics[metric][records, trial], RANK, label)
        error, loss = (run.metrics[name][records, trial] for name in ("relative error", "loss"))
        lower.semilogy(steps, error, color="#1b6ca8", label="all entries, relative")
        lower.semilogy(steps, loss, color="0.55", linestyle="--", label="observed, mean square")
        setting = run.settings.each[trial]
        upper.set_title(f"run {setting['trial'] + 1}, initial std {setting['init_std']:g}", fontsize=10)
        upper.set_xlabel("")
        lower.set_xlabel("iterations")
        lower.set_ylabel("error")
    grid[1, 0].legend(fontsize=9)
    figure.suptitle(f"{title}, half observed,\nGroupRMSprop, {RANK} largest coloured", fontsize=11)
    figure.savefig(path, dpi=110)
