"""E8: a diagonal network at the edge of stability: large steps trade the norm for flatness.

Matveev, Fojtik, Chou, Kutyniok, Maly, *Conflicting Biases at the Edge of Stability* (ICML 2026), of which this is an
instance of our own: f(w) = sum_i w_i^2 x_i with x = (1, 2, 4), one target y = 1, half the squared residual, w = 0.1 at
the start, gradient descent until the loss is below 1e-8, at learning rates eta around eta_c = 2 / S_GF. S_GF is the
largest sharpness (largest eigenvalue of the Hessian) that gradient flow meets; its path is w_i = 0.1 exp(x_i s).

Below eta_c sharpness and norm are nearly those of gradient flow; above, the sharpness ends near 2 / eta and the norm
rises. Above about 1.55 eta_c the end point is chaotic: such rows are drawn, not judged.

Copy this file to begin a study of your own: a problem, a model, a fit, criteria, a picture.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from irkernels.experiments.criteria import Criterion, judged, worst
from irkernels.experiments.grid import Swept, trials_of
from irkernels.experiments.outcome import Outcome, Run
from irkernels.experiments.session import Session
from irkernels.nn import HadamardChain
from irkernels.sensing import Sensing
from irkernels.training import Stop

TITLE = "large learning rates trade the norm for flatness"
PAPER = "Matveev, Fojtik, Chou, Kutyniok, Maly 2026 (our instance)"
PARAMETERS = {
    "ratio": (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.7, 1.8, 1.9, 2.0),
    "trials": 1, "seed": 0, "steps": 20_000, "dtype": "float64",
}  # fmt: skip
QUICK: dict[str, Any] = {}
X, Y, START, LOSS = (1.0, 2.0, 4.0), 1.0, 0.1, 1e-8
REPRODUCIBLE = 1.4  # the largest ratio that is judged
# learning rate / eta_c -> sharpness, squared l2 norm of w, l1 norm of w, computed once in float64
TABLE = {
    0.1: (14.961, 0.2907, 0.8377),
    0.5: (14.867, 0.2943, 0.8508),
    0.9: (14.770, 0.2980, 0.8636),
    1.1: (13.483, 0.3461, 0.9866),
    1.4: (10.423, 0.4601, 1.1313),
}
TIMED = 500  # eager steps


def sharpness(w: Tensor) -> Tensor:
    """The largest eigenvalue of the Hessian of (f(w) - y)^2 / 2 at w [..., 3]; NaN where that is not finite."""
    x = torch.tensor(X, dtype=w.dtype, device=w.device)
    residual = (w.square() * x).sum(-1) - Y
    slope = 2 * w * x
    hessian = slope[..., :, None] * slope[..., None, :] + torch.diag_embed(2 * residual[..., None] * x)
    finite = torch.isfinite(hessian).all(-1).all(-1)  # a diverged trial must not stop the others
    largest = torch.linalg.eigvalsh(torch.where(finite[..., None, None], hessian, 0.0))[..., -1]
    return torch.where(finite, largest, torch.nan)


def flow_sharpness() -> float:
    """The largest sharpness on the path of gradient flow, which ends where f = y."""
    x = torch.tensor(X, dtype=torch.float64)

    def at(s: Tensor) -> Tensor:
        return START * torch.exp(s[..., None] * x)

    low, high = torch.tensor(0.0, dtype=torch.float64), torch.tensor(2.0, dtype=torch.float64)
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if (at(middle).square() * x).sum() < Y else (low, middle)
    return float(sharpness(at(low * torch.linspace(0, 1, 1001, dtype=torch.float64))).max())


def run(session: Session, ratio: Swept, trials: int, seed: int, steps: int, dtype: torch.dtype) -> Outcome:
    """All learning rates at once; nothing is random, so trials and seed change nothing."""
    settings, critical = trials_of(trials, ratio=ratio), 2 / flow_sharpness()
    model = HadamardChain(
        len(X), 2, shared=True, init="constant", init_scale=START**2, trials=len(settings), dtype=dtype,
        device=session.device
    )
    x = torch.tensor([X], dtype=dtype, device=session.device)
    found = session.fit(
        "all rates",
        model,
        Sensing(x, torch.full((1,), Y, dtype=dtype, device=session.device)),
        torch.optim.SGD,
        settings,
        TIMED,
        lr=settings.column("ratio") * critical,
        loss="half_sse",
        steps=steps,
        stop=Stop(loss=LOSS, every=1),
        record=["loss", {"sharpness": _sharpness, "square norm": _square_norm, "l1 norm": _l1_norm}],
        record_every=steps,  # at the start and the end
    )
    goal = {"sharpness of gradient flow": 2 / critical, "critical rate": critical}
    note = f"gradient flow: sharpness {2 / critical:.6g}, critical learning rate {critical:.7g}"
    return Outcome({"all rates": found}, criteria({"all rates": found}), goal, [note])


def _sharpness(model: HadamardChain) -> Tensor:
    return sharpness(model.factors[0].detach())


def _square_norm(model: HadamardChain) -> Tensor:
    w: Tensor = model.factors[0].detach()
    return w.square().sum(-1)


def _l1_norm(model: HadamardChain) -> Tensor:
    w: Tensor = model.factors[0].detach()
    return w.abs().sum(-1)


def criteria(runs: Mapping[str, Run]) -> list[Criterion]:
    """The table, sharpness below and above the critical rate, and a norm that rises with the rate."""
    (run,) = runs.values()
    rate, flow = run.settings.column("ratio"), flow_sharpness()
    last = [run.final(name) for name in ("sharpness", "square norm", "l1 norm")]
    apart = [
        abs(values[n] / wanted - 1)
        for n, ratio in enumerate(rate.tolist()) if ratio in TABLE
        for values, wanted in zip(last, TABLE[ratio], strict=True)
    ]  # fmt: skip
    below, above = rate <= 0.9, (rate >= 1.1) & (rate <= REPRODUCIBLE)
    listed = torch.tensor(sorted({ratio for ratio in rate.tolist() if ratio <= REPRODUCIBLE}), dtype=torch.float64)
    norms = torch.stack([last[1][rate == ratio].mean() for ratio in listed]) if len(listed) else torch.empty(0)
    return judged(
        worst("loss at the end, rates up to 1.4 eta_c", run.final("loss")[rate <= REPRODUCIBLE], high=LOSS,
              paper="1e-8"),
        worst("sharpness and norms against the table, relative", apart, high=1e-3),
        worst("sharpness / that of gradient flow, rates up to 0.9 eta_c", last[0][below] / flow, 0.98, 1.02, paper="1"),
        worst("sharpness x eta / 2, rates 1.1 to 1.4 eta_c", (last[0] * rate / flow)[above], 0.95, 1.0 + 1e-9,
              paper="1"),
        worst("rise of the squared norm from rate to rate", norms.diff(), low=0.0, paper="> 0"),
    )


def draw(outcome: Outcome, path: Path) -> None:
    """Sharpness at the end with 2 / eta, and the norms, against the learning rate."""
    from matplotlib.figure import Figure

    (run,) = outcome.runs.values()
    rate, flow = run.settings.column("ratio"), outcome.goal["sharpness of gradient flow"]
    ended = run.final("loss") < LOSS
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    end = run.final("sharpness")[ended]
    left.plot(rate[ended], end, "o", color="#1b6ca8", markersize=5, label="gradient descent, at the end")
    dense = torch.linspace(0.6, 2.0, 100)
    left.plot(dense, flow / dense, color="0.3", linestyle="--", linewidth=1, label="2 / learning rate")
    left.axhline(flow, color="#b8336a", linestyle=":", linewidth=1.2, label="gradient flow")
    left.set_ylim(0, 1.45 * flow)
    left.set_ylabel("sharpness, largest eigenvalue of the Hessian")
    norms = (("square norm", "squared l2 norm of w", "#1b6ca8"), ("l1 norm", "l1 norm of w", "#2a9d5c"))
    for name, label, color in norms:
        right.plot(rate[ended], run.final(name)[ended], "o-", color=color, markersize=4, linewidth=1, label=label)
    right.set_ylabel("norm at the end")
    right.set_ylim(bottom=0)
    for axes in (left, right):
        axes.axvline(1.0, color="0.8", linewidth=1, zorder=0)
        axes.axvspan(1.55, 2.05, color="0.93", zorder=0, label="chaotic end points")
        axes.set_xlim(0, 2.05)
        axes.set_xlabel("learning rate / critical rate")
        axes.legend(fontsize=9)
    figure.suptitle("f(w) = w_1² + 2 w_2² + 4 w_3² fitted to 1 from w = 0.1, gradient descent")
    figure.savefig(path, dpi=120)
