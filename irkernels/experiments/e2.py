"""E2: a completion whose norms all go to infinity while the loss goes to zero.

Razin, Cohen, *Implicit Regularization in Deep Learning May Not Be Explainable by Norms* (NeurIPS 2020), section 5 and
`dmf_multiple_experiments_runner.py` of their code: a 2 x 2 matrix with w_12 = w_21 = 1 and w_22 = 0 observed, plain
gradient descent on half the sum of squares, depth 2, 3 and 4, until the loss is below 1e-4. Where det W stays at or above
zero, q = sqrt(2 loss) < 1 forces |w_11| >= (1 - q)^2 / q.

Gradient flow keeps the sign of det W where factors are balanced, so the criteria of every step are for the balanced
trials. Gaussian factors are not balanced: the determinant of most draws leaves zero sooner or later, and |w_11| stops
growing there, as it does in some runs of the paper; of them the draw that goes furthest is judged.

Copy this file to begin a study of your own: a problem, a model, a fit, criteria, a picture.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from irkernels.experiments.criteria import Criterion, worst
from irkernels.experiments.eager import fit_beside_eager
from irkernels.experiments.outcome import Outcome, judged
from irkernels.families.chain import chain_equation
from irkernels.families.streams import trial_generators
from irkernels.nn import MatrixChain, Product
from irkernels.observed import Observed
from irkernels.training import Determinant, Entry, Loss, Running, Stop, Trajectory

TRIALS, SEED, STEPS, DTYPE = 4, 0, 5_000_000, "float64"
INITS = ("gaussian", "balanced")
# depth -> (standard deviation of the initial product's entries, learning rate), the larger one first
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


def settings(depth: int, trials: int) -> list[tuple[str, float, float]]:
    """(init, standard deviation of W's entries, learning rate) of each trial."""
    return [(init, std, lr) for init in INITS for std, lr in RATES[depth] for _ in range(trials)]


def initial(depth: int, trials: int, seed: int, dtype: torch.dtype) -> Product:
    """Factors drawn anew until det W >= 0, each trial from a stream of its own."""
    each = settings(depth, trials)
    drawn = [_one(depth, init, std, generator) for (init, std, _), generator in zip(each, trial_generators(len(each), None, seed))]
    factors = [torch.stack(factor).to(dtype) for factor in zip(*drawn, strict=True)]
    return Product(chain_equation(depth), *factors, trials=len(each))


def _one(depth: int, init: str, std: float, generator: torch.Generator) -> list[Tensor]:
    while True:
        # init_scale is sqrt(2) times the standard deviation of W's entries
        model = MatrixChain(2, 2, depth, init=init, init_scale=math.sqrt(2) * std, generator=generator, dtype=torch.float64)
        if torch.linalg.det(model().detach()) >= 0:
            return [factor.detach() for factor in model.factors]


def run(
    trials: int = TRIALS,
    seed: int = SEED,
    steps: int = STEPS,
    dtype: torch.dtype = torch.float64,
    progress: bool | Callable = False,
) -> Outcome:
    """All initialisations and learning rates of a depth at once, `trials` draws of each, and their verdict."""
    observed, fits = problem(dtype), {}
    for depth in RATES:
        fits[depth] = fit_beside_eager(
            initial(depth, trials, seed, dtype),
            observed,
            torch.optim.SGD,
            TIMED,
            lr=torch.tensor([lr for *_, lr in settings(depth, trials)]),
            loss="half_sse",
            steps=steps,
            stop=Stop(loss=LOSS, every=1),
            record=RECORD,
            record_every=max(1, min(1000, steps // 100)),
            progress=progress,
        )
    return judged(fits, criteria)


def _trials(run: Trajectory, depth: int, init: str, std: float | None = None) -> torch.Tensor:
    """Which trials these are: bool [trials]."""
    each = settings(depth, run.trials // (len(INITS) * len(RATES[depth])))
    return torch.tensor([one == init and std in (None, size) for one, size, _ in each])


def criteria(runs: dict[int, Trajectory]) -> list[Criterion]:
    """At depths 3 and 4, at every step: the determinant's sign, the bound, and |w_11| as 1 / q."""
    found = []
    for depth in (3, 4):
        run, smallest = runs[depth], RATES[depth][-1][0]
        last = {name: values[-1] for name, values in run.metrics.items()}
        balanced = {name: values[_trials(run, depth, "balanced")] for name, values in last.items()}
        furthest = last["least |w_11| q"][_trials(run, depth, "gaussian", smallest)].max()
        found += [
            worst(f"depth {depth}: loss at the end", last["loss"], high=LOSS),
            worst(f"depth {depth}, balanced: least det W", balanced["least det"], low=0.0),
            worst(f"depth {depth}, balanced: least |w_11| - (1 - q)^2 / q", balanced["least excess"], low=0.0),
            worst(f"depth {depth}, balanced: least |w_11| q, {_window()}", balanced["least |w_11| q"], 0.9, 1.05),
            worst(f"depth {depth}, balanced: greatest |w_11| q, {_window()}", balanced["greatest |w_11| q"], 0.9, 1.05),
            Criterion(f"depth {depth}, gaussian, std {smallest:g}: |w_11| q of the best draw", float(furthest), 0.9, 1.05),
        ]
    return found


def _window() -> str:
    return f"loss in [{WINDOW[0]:g}, {WINDOW[1]:g}]"


def draw(outcome: Outcome, path: Path) -> None:
    """|w_11| against the loss, a panel for each depth, with the bound that det W >= 0 sets."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 4.2), layout="constrained")
    for axes, (depth, run) in zip(figure.subplots(1, len(outcome.runs), sharey=True), outcome.runs.items(), strict=True):
        each = settings(depth, run.trials // (len(INITS) * len(RATES[depth])))
        seen = set()
        for trial, (init, std, _) in enumerate(each):
            style = {"color": "#1b6ca8" if init == "gaussian" else "#b8336a", "linestyle": "-" if std == RATES[depth][1][0] else "--"}
            label = f"{init}, std {std:g}"
            axes.loglog(run.metrics["loss"][:, trial], run.metrics["w_11"][:, trial].abs(), linewidth=1.1, label=None if label in seen else label, **style)
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
