"""A trajectory drawn: one panel for each metric against steps."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from irkernels.training.trajectory import Trajectory

_LABELS = {
    "error": "mean squared error",
    "gradient_norm": "gradient norm",
    "singular_values": "singular values of W",
    "effective_rank": "effective rank of W",
    "product": "entries of W",
}
_LOSSES = {
    "mse": "loss (mean squared)",
    "half_sse": "loss (half sum of squares)",
    "l1": "loss (l1)",
    "huber": "loss (Huber)",
}
_LOGARITHMIC = ("loss", "error", "gradient_norm")
_FEW = 8  # lines that an eye still tells apart
_MOST = 400  # values of a metric that are drawn at all


def draw(run: Trajectory, path: str | os.PathLike[str] | None, metrics: list[str] | None, log_steps: bool) -> Any:
    """See Trajectory.plot."""
    Figure, EngFormatter = _matplotlib()
    names = _drawable(run, metrics)
    columns = 2 if len(names) == 4 else min(len(names), 3)
    rows = -(-len(names) // columns)
    figure = Figure(figsize=(4.6 * columns, 3.4 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).flat
    keep = run.steps > 0 if log_steps else torch.ones_like(run.steps, dtype=torch.bool)
    named = False
    for name, panel in zip(names, axes):
        values = run.metrics[name][keep].double()
        values = values.unsqueeze(1) if run.trials is None else values
        _panel(panel, run.steps[keep], values.flatten(2) if values.dim() > 2 else values)
        if values.dim() == 2 and values.shape[1] > 1 and not named:  # the lines mean the same in every panel
            panel.legend(fontsize="x-small", frameon=False)
            named = True
        panel.set_xlabel("step")
        label = _LOSSES[run.loss] if name == "loss" else _LABELS.get(name, name)
        panel.set_ylabel(label + (", median and range" if values.dim() > 2 and values.shape[1] > 1 else ""))
        if log_steps:
            panel.set_xscale("log")
        else:
            panel.xaxis.set_major_formatter(EngFormatter(sep=""))
        if name in _LOGARITHMIC and (values > 0).any():
            panel.set_yscale("log")
        panel.grid(alpha=0.25)
        panel.spines[["top", "right"]].set_visible(False)
    for unused in figure.axes[len(names) :]:
        unused.remove()
    trials = "" if run.trials is None else f", {run.trials} trials"
    figure.suptitle(f"{run.equation}  ({' x '.join(map(str, run.shape))}), {run.optimizer}{trials}", fontsize="medium")
    if path is not None:
        figure.savefig(path, dpi=150)
    return figure


def _panel(panel: Any, steps: Tensor, values: Tensor) -> None:
    """values: [records, trials] or [records, trials, k]."""
    trials = values.shape[1]
    if values.dim() == 3:
        _components(panel, steps, values)
    elif trials <= _FEW:
        for trial in range(trials):
            panel.plot(steps, values[:, trial], label=f"trial {trial}", linewidth=1.4)
    else:
        _spread(panel, steps, values, "C0", f"median and range of {trials} trials")


def _components(panel: Any, steps: Tensor, values: Tensor) -> None:
    """One line for each of k values, dark for the first; with trials their median and range."""
    import matplotlib

    count = values.shape[2]
    shades = matplotlib.colormaps["viridis"]
    for r in reversed(range(count)):
        colour = shades(0.9 * (r / max(count - 1, 1)) ** 0.5)  # the first few are those that must be told apart
        if values.shape[1] == 1:
            panel.plot(steps, values[:, 0, r], color=colour, linewidth=1.4)
        else:
            _spread(panel, steps, values[:, :, r], colour, None)


def _spread(panel: Any, steps: Tensor, values: Tensor, colour: Any, label: str | None) -> None:
    low, middle, high = (values.nanquantile(q, dim=1) for q in (0.0, 0.5, 1.0))
    panel.fill_between(steps, low, high, color=colour, alpha=0.2, linewidth=0)
    panel.plot(steps, middle, color=colour, linewidth=1.4, label=label)


def _drawable(run: Trajectory, metrics: list[str] | None) -> list[str]:
    if metrics is not None and not len(metrics):
        raise ValueError(f"metrics names none; recorded were {', '.join(run.metrics)}")
    if not len(run.steps):
        raise ValueError("nothing was recorded; give fit a record=")
    for name in metrics or ():
        if name not in run.metrics:
            raise ValueError(f"unknown metric {name!r}; recorded were {', '.join(run.metrics)}")
    skip = 1 if run.trials is None else 2
    asked = list(run.metrics) if metrics is None else list(metrics)
    names = [name for name in asked if run.metrics[name].shape[skip:].numel() <= _MOST]
    if not names or (metrics is not None and names != asked):
        large = ", ".join(name for name in asked if name not in names)
        raise ValueError(f"{large} has more than {_MOST} values a record, too many to draw")
    return names


def _matplotlib() -> tuple[Any, Any]:
    try:
        # the object interface leaves the user's backend and current figure alone
        from matplotlib.figure import Figure
        from matplotlib.ticker import EngFormatter
    except ImportError as error:
        raise ImportError('Trajectory.plot needs matplotlib: pip install "irkernels[plot]"') from error
    return Figure, EngFormatter
