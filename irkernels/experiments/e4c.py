"""E4c: natural images are near a CP tensor of rank 1, randomised ones are not.

Razin, Maman, Cohen, *Implicit Regularization in Tensor Factorization* (ICML 2021), section on natural data: binarised
images, a mode of size 2 for each pixel (order 784), an entry for each image, 2 for one digit and 0 for the others; a CP
factorization by Adam in batches of 5,000 from factors of mean 1. Beside the original: labels shuffled, and images of
random pixels. Errors are over the square of the two values' distance, 4, so that the labels' variance is 0.09.

`--data FOLDER` names your own copy of MNIST or Fashion-MNIST, its four files as they are distributed. Quick scale
stands in scikit-learn's 1,797 digits of 8 x 8 pixels, a tensor of order 64, and is no MNIST.

Copy this file to begin a study of your own: a problem, a model, a fit, criteria, a picture.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from irkernels.experiments.criteria import Criterion, judged, worst
from irkernels.experiments.digits import images
from irkernels.experiments.grid import Swept, listed, trials_of
from irkernels.experiments.outcome import Outcome, Run
from irkernels.experiments.session import Session
from irkernels.nn import CP
from irkernels.observed import Observed

TITLE = "natural images are near rank 1, randomised ones are not"
PAPER = "Razin, Maman, Cohen 2021, natural data"
PARAMETERS = {
    "rank": (1, 5, 15), "variant": ("original", "random labels", "random images"), "lr": (5e-4,), "data": "MNIST",
    "label": 6,
    "batch": 5000, "trials": 1, "seed": 0, "steps": 120_000, "dtype": "float32",
}  # fmt: skip
QUICK = {"rank": (1,), "data": "digits", "steps": 6000}
HIGH = 2.0  # the value at images of the digit; 0 elsewhere
TIMED = 5  # eager steps


def problem(data: str, variant: str, label: int, seed: int, part: str) -> tuple[Tensor, Tensor]:
    """Coordinates [images, pixels] and values [images], float64, of a variant's part."""
    pixels, labels = images(data, part)
    values = HIGH * (labels == label).double()
    generator = torch.Generator().manual_seed(seed)
    if variant == "random labels":
        values = values[torch.randperm(len(values), generator=generator)]
    elif variant == "random images":
        pixels = torch.randint(2, pixels.shape, generator=generator)
    elif variant != "original":
        raise ValueError(f"--variant: expected original, random labels or random images, got {variant!r}")
    return pixels, values


def run(
    session: Session, rank: Swept, variant: Swept, lr: Swept, data: str, label: int, batch: int, trials: int,
    seed: int, steps: int, dtype: torch.dtype,
) -> Outcome:  # fmt: skip
    """A fit for each rank and variant; rates and repeats, from other factors, are its trials."""
    settings, runs = trials_of(trials, lr=lr), {}
    for components in listed(rank):
        for kind in listed(variant):
            at, values = problem(data, kind, label, seed, "train")
            shape = (2,) * at.shape[1]
            unseen, wanted = problem(data, kind, label, seed, "test")
            elsewhere, wanted = unseen.to(session.device), wanted.to(session.device, dtype)
            runs[components, kind] = session.fit(
                f"{kind}, rank {components}",
                CP(
                    shape, components, trials=len(settings), init_mean=1.0, init_std=1e-3, seed=seed, dtype=dtype,
                    device=session.device,
                ),
                Observed(at, values.to(dtype), shape).to(session.device),
                torch.optim.Adam,
                settings,
                TIMED,
                eager=gathered,
                lr=settings.column("lr"),
                # all at once need no drawing, and no sorting, at each step
                batch_size=batch if batch < len(at) else None,
                steps=steps,
                record=["loss", {"test error": functools.partial(test_error, at=elsewhere, values=wanted)}],
                record_every=max(1, steps // 30),
            )  # fmt: skip
    return Outcome(runs, criteria(runs), notes=_notes(runs))


def gathered(factors: list[Tensor], at: Tensor) -> Tensor:
    """Predictions [trials, nnz] in eager PyTorch: rows of each factor, multiplied one after another."""
    rows = (factor[:, column] for factor, column in zip(factors, at.T, strict=True))
    return functools.reduce(operator.mul, rows).sum(-1)


def test_error(model: CP, at: Tensor, values: Tensor) -> Tensor:
    """[trials]: the mean squared error on other images, each clipped at the values' distance squared, as in the paper.
    """
    with torch.no_grad():
        return (model.entries(at) - values).square().clamp(max=HIGH**2).mean(-1)


def _notes(runs: Mapping[tuple[int, str], Run]) -> list[str]:
    return [
        f"rank {rank}, {kind}: mean squared error {run.final('loss').mean() / HIGH**2:.4f},"
        f" on other images {run.final('test error').mean() / HIGH**2:.4f}"
        for (rank, kind), run in runs.items()
    ]


def criteria(runs: Mapping[tuple[int, str], Run]) -> list[Criterion]:
    """At rank 1 the original data are met at least twice as well as randomised ones."""
    if (1, "original") not in runs:
        return []
    original = runs[1, "original"].final("loss")
    return judged(
        *(
            worst(
                f"rank 1: error of the original over that of {kind}", original / runs[1, kind].final("loss"),
                high=0.5, paper="0.26",
            )
            for kind in ("random labels", "random images")
            if (1, kind) in runs
        )
    )


def draw(outcome: Outcome, path: Path) -> None:
    """Errors on the images trained on and on others, against the rank."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    for axes, metric, title in zip(panels, ("loss", "test error"), ("images trained on", "other images"), strict=True):
        kinds = dict.fromkeys(kind for _, kind in outcome.runs)
        for kind, color in zip(kinds, ("#1b6ca8", "#b8336a", "#c77f1a"), strict=False):
            ranks = [rank for rank, each in outcome.runs if each == kind]
            ends = [outcome.runs[rank, kind].final(metric).mean() / HIGH**2 for rank in ranks]
            axes.plot(ranks, ends, "o-", color=color, label=kind)
        axes.axhline(0.09, color="0.5", linestyle=":", linewidth=1, label="variance of labels")
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("rank")
        axes.set_xticks(sorted({rank for rank, _ in outcome.runs}))
        axes.margins(x=0.2)
    panels[0].set_ylim(bottom=0)  # once both have their points: they share the axis
    panels[0].set_ylabel("mean squared error / 4")
    panels[0].legend(fontsize=9)
    order = next(iter(outcome.runs.values())).model.shape
    figure.suptitle(
        f"One digit against the others, binarised images as entries of a tensor of order {len(order)}, CP, Adam"
    )
    figure.savefig(path, dpi=110)
