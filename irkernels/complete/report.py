"""What a completion says of itself: a table to read, an object for programs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from irkernels.complete.fitting import Fit
from irkernels.complete.models import MODELS
from irkernels.complete.run import Completed


def table(done: Completed) -> str:
    """Errors of every method, one line each, in the data's units."""
    array, parts, shape = done.array, done.parts, done.unfolding.shape
    total = shape[0] * shape[1]
    lines = [
        f"{array.source}: {_cross(array.shape)}, "
        f"{array.known:,} of {total:,} entries known ({array.known / total:.1%})",
        f"matrix {_cross(shape)}"
        + (f" (axes {done.unfolding})" if len(array.shape) > 2 else "")
        + f"; {len(parts.train):,} entries to train, {len(parts.validation):,} to validate, "
        f"{len(parts.heldout):,} held out",
        "",
        f"{'RMSE':42}{'train':>12}{'validation':>12}{'held-out':>12}",
    ]
    for name, baseline in done.baselines.items():
        lines.append(_line(f"{name.replace('_', '-')}{_chosen(baseline.chosen)}", done, baseline.matrix))
    for fit in done.fits:
        mark = "  <- chosen by validation" if fit is done.best else ""
        lines.append(
            _line(f"{done.model}, depth {fit.depth} (step {fit.step}, init {fit.init_scale:g})", done,
                  fit.matrix) + mark
        )
    ours = parts.heldout.rmse(done.best.matrix)
    rival = done.best_baseline
    theirs = parts.heldout.rmse(done.baselines[rival].matrix)
    verdict = "below" if ours < theirs else "not below"
    margin = f": {ours / theirs - 1:+.1%}" if theirs else ""
    lines += [
        "",
        f"held-out RMSE {ours:.5g}, {verdict} the best baseline's "
        f"({rival.replace('_', '-')}, {theirs:.5g}){margin}",
    ]
    return "\n".join(lines)


def summary(done: Completed, output: str, picture: str, seconds: float) -> dict[str, Any]:
    """The object that `irkernels complete --json` prints. Every number is plain, errors are in the data's units."""
    best, parts = done.best, done.parts
    return {
        "rmse_train": parts.train.rmse(best.matrix),
        "rmse_heldout": parts.heldout.rmse(best.matrix),
        "baselines": {
            name: {**_errors(done, baseline.matrix), **{key: float(value) for key, value in baseline.chosen.items()}}
            for name, baseline in done.baselines.items()
        },
        "model": {
            "name": done.model,
            "family": MODELS[done.model].family.__name__,
            **_described(best),
            "shape": list(done.fitted),
            "rank": done.ranks,
            "rows": done.unfolding.shape[0],
            "columns": done.unfolding.shape[1],
            "unfold": str(done.unfolding),
            "depths": [
                {**_described(fit), **_errors(done, fit.matrix), "seconds": round(fit.seconds, 3)} for fit in done.fits
            ],
        },
        "output": output,
        "picture": picture,
        "seconds": round(seconds, 3),
    }


def _described(fit: Fit) -> dict[str, float]:
    return {"depth": fit.depth, "init_scale": fit.init_scale, "step": fit.step, "steps": fit.steps}


def _errors(done: Completed, matrix: np.ndarray) -> dict[str, float]:
    parts = done.parts
    return {
        "rmse_train": parts.train.rmse(matrix),
        "rmse_validation": parts.validation.rmse(matrix),
        "rmse_heldout": parts.heldout.rmse(matrix),
    }


def _line(name: str, done: Completed, matrix: np.ndarray) -> str:
    return f"{name:42}" + "".join(f"{error:12.5g}" for error in _errors(done, matrix).values())


def _chosen(values: Mapping[str, float]) -> str:
    return f" ({', '.join(f'{name} {value:.3g}' for name, value in values.items())})" if values else ""


def _cross(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
