"""E2: a completion whose norms all go to infinity while the loss goes to zero.

Razin, Cohen, *Implicit Regularization in Deep Learning May Not Be Explainable by Norms* (NeurIPS 2020), section 5 and
`dmf_multiple_experiments_runner.py` of their code: a 2 x 2 matrix with w_12 = w_21 = 1 and w_22 = 0 observed, plain
gradient descent on half the sum of squares, depth 2, 3 and 4, until the loss is below 1e-4. Where det W stays at or
above zero, q = sqrt(2 loss) < 1 forces |w_11| >= (1 - q)^2 / q.

Gradient flow keeps the sign of det W where factors are balanced, so the criteria of every step are for the balanced
trials. Gaussian factors are not balanced: the determinant of most draws leaves zero sooner or later, and |w_11| stops
growing there, as it does in some runs of the paper; of them the draw that goes furthest is judged.

Copy this file to begin a study of your own: a problem, a model, a fit, criteria, a picture.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from irkernels.experiments.criteria import Criterion, judged, worst
from irkernels.experiments.grid import Settings, Swept, listed
from irkernels.experiments.outcome import Outcome, Run
from irkernels.experiments.session import Session
from irkernels.families.chain import chain_equation
from irkernels.families.streams import seeded_generators
from irkernels.nn import MatrixChain, Product
from irkernels.observed import Observed
from irkernels.training import Determinant, Entry, Loss, Running, Stop

TITLE = "norms go to infinity"
PAPER = "Razin, Cohen 2020, section 5"
PARAMETERS = {
    "depth": (2, 3, 4), "init": ("gaussian", "balanced"), "init_std": "paper", "lr": "paper",
    "trials": 4, "seed": 0, "steps": 5_000_000, "dtype": "float64",
}  # fmt: skip
QUICK: dict[str, Any] = {}
# depth -> (standard deviation of the initial product's entries, learning rate) as in the paper, the larger one first
RATES = {
    2: ((1e-5, 6e-3), (1e-6, 3e-3)),
    3: ((1e-5, 6e-3), (1e-6, 3e-3)),
    4: ((1e-3, 3e-3), (1e-4, 1.5e-3)),
}
LOSS = 1e-4
WINDOW = (1.3e-4, 1e-2)  # losses at which |w_11| q is judged
TIMED = 2000  # eager steps

_q = (2 * Loss()).sqrt()
_corner = abs(Entry(0, 0))
_inside = (Loss() >= WINDOW[0]) & (Loss() <= WINDOW[1])
RECORD = [
    {
        "loss": Loss(),
        "w_11": Entry(0, 0),
        "least det": Running("min", Determinant()),
        "least excess": Running("min", _corner - (1 - _q) ** 2 / _q, where=_q < 1),
        "least |w_11| q": Running("min", _corner * _q, where=_inside),
        "greatest |w_11| q": Running("max", _corner * _q, where=_inside),
    }
]


def problem(dtype: torch.dtype = torch.float64) -> Observed:
    """w_12 = w_21 = 1, w_22 = 0."""
    return Observed(torch.tensor([[0, 1], [1, 0], [1, 1]]), torch.tensor([1.0, 1.0, 0.0], dtype=dtype), (2, 2))


def settings_of(depth: int, init: Swept, init_std: Swept, lr: Swept, trials: int) -> Settings:
    """Each trial's init, standard deviation of W's entries and learning rate; "paper": the pairs of RATES."""
    pairs = RATES.get(depth, RATES[4])
    stds = [std for std, _ in pairs] if init_std == "paper" else listed(init_std)
    rates = dict(pairs)
    combinations = [
        (kind, std, rate)
        for kind in listed(init)
        for std in stds
        for rate in ([rates.get(std, pairs[0][1])] if lr == "paper" else listed(lr))
    ]
    names = ("init", "init_std", "lr")
    return Settings(
        [{**dict(zip(names, one, strict=True)), "trial": trial} for one in combinations for trial in range(trials)]
    )


def initial(depth: int, settings: Settings, seed: int, dtype: torch.dtype, device: str = "cpu") -> Product:
    """Factors drawn anew until det W >= 0, each trial from a stream of its own."""
    streams = seeded_generators(len(settings), seed)
    drawn = [
        _one(depth, each["init"], each["init_std"], generator)
        for each, generator in zip(settings.each, streams, strict=True)
    ]
    factors = [torch.stack(factor).to(device, dtype) for factor in zip(*drawn, strict=True)]
    return Product(chain_equation(depth), *factors, trials=len(settings))


def _one(depth: int, init: str, std: float, generator: torch.Generator) -> list[Tensor]:
    while True:
        # init_scale is sqrt(2) times the standard deviation of W's entries
        scale = math.sqrt(2) * std
        model = MatrixChain(2, 2, depth, init=init, init_scale=scale, generator=generator, dtype=torch.float64)
        if torch.linalg.det(model().detach()) >= 0:
            return [factor.detach() for factor in model.factors]


def run(
    session: Session, depth: Swept, init: Swept, init_std: Swept, lr: Swept, trials: int, seed: int, steps: int,
    dtype: torch.dtype,
) -> Outcome:  # fmt: skip
    """All initialisations and learning rates of a depth at once, `trials` draws of each, and their verdict."""
    observed, runs = problem(dtype).to(session.device), {}
    for layers in listed(depth):
        settings = settings_of(layers, init, init_std, lr, trials)
        runs[layers] = session.fit(
            f"depth {layers}",
            initial(layers, settings, seed, dtype, session.device),
            observed,
            torch.optim.SGD,
            settings,
            TIMED,
            lr=settings.column("lr"),
            loss="half_sse",
            steps=steps,
            stop=Stop(loss=LOSS, every=1),
            record=RECORD,
            record_every=max(1, min(1000, steps // 100)),
        )
    return Outcome(runs, criteria(runs))


def criteria(runs: Mapping[int, Run]) -> list[Criterion]:
    """At depths 3 and 4, at every step: the determinant's sign, the bound, and |w_11| as 1 / q."""
    found: list[Criterion | None] = []
    for depth in (3, 4):
        if depth not in runs:
            continue
        run, smallest = runs[depth], RATES[depth][-1][0]
        names = ("least det", "least excess", "least |w_11| q", "greatest |w_11| q")
        det, excess, least, greatest = (run.final(name, init="balanced") for name in names)
        drawn = run.final("least |w_11| q", init="gaussian", init_std=smallest)
        found += [
            worst(f"depth {depth}: loss at the end", run.final("loss"), high=LOSS, paper="1e-4"),
            worst(f"depth {depth}, balanced: least det W", det, low=0.0, paper=">= 0"),
            worst(f"depth {depth}, balanced: least |w_11| - (1 - q)^2 / q", excess, low=0.0, paper=">= 0"),
            worst(f"depth {depth}, balanced: least |w_11| q, {_window()}", least, 0.9, 1.05, paper="1.0"),
            worst(f"depth {depth}, balanced: greatest |w_11| q, {_window()}", greatest, 0.9, 1.05, paper="1.0"),
            worst(f"depth {depth}, gaussian, std {smallest:g}: |w_11| q of the best draw",
                  drawn[drawn.argmax(0, True)] if len(drawn) else (), 0.9, 1.05, paper="1.0"),
        ]
    return judged(*found)


def _window() -> str:
    return f"loss in [{WINDOW[0]:g}, {WINDOW[1]:g}]"


def draw(outcome: Outcome, path: Path) -> None:
    """|w_11| against the loss, a panel for each depth, with the bound that det W >= 0 sets."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 4.2), layout="constrained")
    panels = figure.subplots(1, len(outcome.runs), sharey=True, squeeze=False)[0]
    for axes, (depth, run) in zip(panels, outcome.runs.items(), strict=True):
        seen, smallest = set(), min(run.settings.values("init_std"))
        for trial, setting in enumerate(run.settings.each):
            init, std = setting["init"], setting["init_std"]
            color, dash = "#1b6ca8" if init == "gaussian" else "#b8336a", "-" if std == smallest else "--"
            label = f"{init}, std {std:g}"
            loss, corner = run.metrics["loss"][:, trial], run.metrics["w_11"][:, trial].abs()
            shown = None if label in seen else label
            axes.loglog(loss, corner, linewidth=1.1, label=shown, color=color, linestyle=dash)
            seen.add(label)
        loss = torch.logspace(-4, math.log10(0.49), 100)
        q = (2 * loss).sqrt()
        axes.loglog(loss, (1 - q) ** 2 / q, color="0.3", linestyle=":", label="(1 - q)² / q, the bound")
        axes.set_xlim(1.0, 0.8e-4)
        axes.set_ylim(1e-2, 2e2)
        axes.set_title(f"depth {depth}")
        axes.set_xlabel("loss (falling to the right)")
        axes.legend(fontsize=8)
    figure.axes[0].set_ylabel("|w_11|, the unobserved entry")
    figure.suptitle("2 x 2 completion with w_12 = w_21 = 1, w_22 = 0: the loss goes to zero, the norm to infinity")
    figure.savefig(path, dpi=130)
