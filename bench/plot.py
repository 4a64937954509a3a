"""The sweep as a picture: time for one multiply-add against n, ours and torch.matmul, on logarithmic axes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_STYLES = {"irkernels": ("#0b6e4f", "-", 1.6), "matmul": ("#b3541e", "--", 1.0)}


@dataclass(frozen=True)
class Curve:
    """One way of measuring, for every n: nanoseconds for one multiply-add of the value, per peer."""

    mode: str  # "value" or "gradients"
    dtype: str
    trials: int | None
    sizes: list[int]
    nanoseconds: dict[str, list[float]]  # peer -> [sizes]


def plot_sweep(curves: Sequence[Curve], where: str, path: Path) -> None:
    """A panel for each mode and number of trials, float32 and float64 in it.  Raises ImportError without matplotlib."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    kinds = list(dict.fromkeys((curve.dtype, curve.trials) for curve in curves))
    modes = list(dict.fromkeys(curve.mode for curve in curves))
    figure = Figure(figsize=(3.4 * len(kinds), 3.0 * len(modes) + 0.6), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(modes), len(kinds), sharex=True, sharey="row", squeeze=False)
    for curve in curves:
        panel = panels[modes.index(curve.mode)][kinds.index((curve.dtype, curve.trials))]
        for peer, values in curve.nanoseconds.items():
            colour, line, width = _STYLES.get(peer, ("0.5", ":", 1.0))
            label = f"torch.{peer}" if peer == "matmul" else peer
            panel.plot(curve.sizes, values, line, color=colour, linewidth=width, label=label)
        many = "one product" if curve.trials is None else f"{curve.trials} trials"
        what = "value" if curve.mode == "value" else "value and all gradients"
        panel.set_title(f"{what}, {curve.dtype}, {many}", fontsize=9)
        panel.set(xscale="log", yscale="log")
        panel.set_xticks([1, 2, 4, 8, 16, 32, 64, 128], labels=["1", "2", "4", "8", "16", "32", "64", "128"])
        panel.minorticks_off()
        panel.grid(True, which="major", linewidth=0.4, alpha=0.6)
    for panel in panels[-1]:
        panel.set_xlabel("n (three n x n factors)")
    for row in panels:
        row[0].set_ylabel("ns per multiply-add of the value")
    panels[0][0].legend(fontsize=8)
    figure.suptitle(where, fontsize=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=80)
