"""One picture of a completion: what was given, what came out, its spectrum, and how it was learned."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from irkernels.complete.fitting import Fit
from irkernels.complete.run import Completed

_GREY = "0.82"  # missing, validation and held-out entries
_SHOWN = 60  # singular values
_DEPTH_COLOURS = ["#1b6ca8", "#d1495b", "#2e933c", "#7b4ea3", "#e08e1b", "#3aa6a6"]


def draw(done: Completed, path: Path) -> None:
    """Write the picture; its format follows from the name (.png, .pdf, .svg). Raises ImportError without matplotlib."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ImportError('drawing needs matplotlib: pip install "irkernels[data]"') from None
    figure = Figure(figsize=(11, 8.2), layout="constrained")
    (given, completed), (spectrum, curve) = figure.subplots(2, 2)
    best, rival = done.best, done.best_baseline
    _draw_arrays(done, given, completed, figure)
    _draw_spectrum(done, spectrum)
    _draw_curve(done, curve)
    error, theirs = done.parts.heldout.rmse(best.matrix), done.parts.heldout.rmse(done.baselines[rival].matrix)
    figure.suptitle(
        f"{done.array.source}: held-out RMSE {error:.4g} ({done.model}, depth {best.depth}), "
        f"{theirs:.4g} ({rival.replace('_', '-')})"
    )
    figure.savefig(path, dpi=130)


def _draw_arrays(done: Completed, given: Any, completed: Any, figure: Any) -> None:
    train = np.full(done.unfolding.shape, np.nan)
    train[tuple(done.parts.train.at.T)] = done.parts.train.values
    if done.array.image:
        arrays = [done.unfolding.refold(train), done.prediction()]
        for axes, array in zip((given, completed), arrays, strict=True):
            axes.imshow(_pixels(array), interpolation="nearest")
            axes.set_xticks([])
            axes.set_yticks([])
    else:
        import matplotlib

        colours = matplotlib.colormaps["viridis"].with_extremes(bad=_GREY)
        low, high = np.nanpercentile(train, [1, 99])
        for axes, array in ((given, train), (completed, done.best.matrix)):
            drawn = axes.imshow(array, aspect="auto", interpolation="nearest", cmap=colours, vmin=low, vmax=high)
            rows, columns = str(done.unfolding).split("|")
            axes.set_xlabel("column" if len(done.array.shape) == 2 else f"axes {columns} of the tensor")
            axes.set_ylabel("row" if len(done.array.shape) == 2 else f"axes {rows} of the tensor")
        figure.colorbar(drawn, ax=[given, completed], shrink=0.9)
    share = len(done.parts.train) / np.prod(done.unfolding.shape)
    given.set_title(f"training entries ({share:.1%}; grey is hidden or missing)")
    completed.set_title(f"completion, depth {done.best.depth}")


def _pixels(array: np.ndarray) -> np.ndarray:
    """Pixels [rows, columns, 3] from 0 to 1; grey where a value is missing."""
    scaled = np.where(np.isnan(array), 255 * float(_GREY), array).clip(0, 255) / 255
    return scaled if scaled.ndim == 3 else np.repeat(scaled[:, :, None], 3, axis=2)


def _draw_spectrum(done: Completed, axes: Any) -> None:
    centre = done.parts.train.values.mean()
    methods = [(f"{done.model}, depth {fit.depth}", fit.matrix, colour, "o-") for fit, colour in _coloured(done)]
    methods += [
        (name.replace("_", "-"), done.baselines[name].matrix, "black", style)
        for name, style in (("soft_impute", ":"), ("hard_impute", "--"))
    ]
    for name, matrix, colour, style in methods:
        values = np.linalg.svd(matrix - centre, compute_uv=False)[:_SHOWN]
        values = np.where(values > 1e-5 * values[0], values, np.nan)
        axes.semilogy(
            np.arange(1, len(values) + 1), values, style, color=colour, label=name, markersize=3, linewidth=1.2
        )
    axes.set_xlabel("index")
    axes.set_title("singular values (the mean taken off)")
    axes.grid(alpha=0.25)
    axes.legend(fontsize=9)


def _draw_curve(done: Completed, axes: Any) -> None:
    for fit, colour in _coloured(done):
        steps = fit.curve["steps"]
        axes.plot(steps, fit.curve["train"], "--", color=colour, linewidth=1, alpha=0.8)
        axes.plot(steps, fit.curve["heldout"], "-", color=colour, linewidth=1.6, label=f"depth {fit.depth}")
        at = int(np.searchsorted(steps, fit.step))
        axes.plot(fit.step, fit.curve["heldout"][at], "o", color=colour, markersize=6)
    rival = done.best_baseline
    axes.axhline(
        done.parts.heldout.rmse(done.baselines[rival].matrix),
        color="black",
        linestyle=":",
        linewidth=1.2,
        label=rival.replace("_", "-"),
    )
    axes.set_yscale("log")
    axes.set_xlabel("step")
    axes.set_title("RMSE: held-out (solid), train (dashed), stop (dot)")
    axes.grid(alpha=0.25, which="both")
    axes.legend(fontsize=9)


def _coloured(done: Completed) -> list[tuple[Fit, str]]:
    return [(fit, _DEPTH_COLOURS[k % len(_DEPTH_COLOURS)]) for k, fit in enumerate(done.fits)]
