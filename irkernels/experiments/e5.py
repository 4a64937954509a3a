"""E5: the deeper a Tucker factorization, the sharper its multilinear rank.

Hariz, Kadri, Ayache, Moakher, Artieres, *Implicit Regularization in Deep Tucker Factorization: Low-Rankness via
Structured Sparsity* (AISTATS 2024): a 25 x 25 x 25 tensor of multilinear rank (5, 5, 5), 30 % of its entries held out,
a core of 25 x 25 x 25, each column of a factor a chain of its own, depth K = 1, 2, 3; a core of std s0 K ln(K + 1),
columns and their matrices of the norm of their core slice.

The published code trains by Adam in batches of 128, which breaks the law that slice and column norms move together;
here it is GroupRMSprop on all entries, under which the law holds. No numbers are shipped with the code, and its
generator does not run as published: the truth here is a Gaussian tensor cut to rank (5, 5, 5), entries of root mean
square 1.

Not reproduced but for the law: depths 2 and 3 stay on the first plateaus of the loss, so that depth 1 is ahead at the
end. On a plateau what is learned already swings, and GroupRMSprop's step is that of gradient descent at the edge of
stability, 2 / h, whatever lr is. A new component needs a new direction in two modes at once: by an estimate, a slice of
a share e of the largest grows there by some e^(2K-1) of itself a step. A slice that is not needed does not shrink, so
that five of 25 above 1 % need e < 0.01 at the start: 10^6 steps and more at depth 2, 10^10 at depth 3. From s0 = 5e-4
slices begin at 1.6 % (depth 2) and 3.6 % (depth 3) of the largest at the end, above the share that counts. Measured at
depth 2, s0 = 2e-4, lr 1e-3: the plateau at a loss of 0.84 is reached after 7,000 steps, and the second slice of the
first mode goes from 2.94 % to 3.02 % of the largest between 8,000 and 10,000. Of a 10 x 10 x 10 tensor of rank
(3, 3, 3) depth 1 finds the truth within 20,000 steps at 1e-3, all ten slices of a mode within a factor of two; depth 2
has a loss of 0.649 from step 16,000 to 40,000 at 3e-4, all slices but one of a mode below 1 % of the largest.

The law, that square norms of slices and columns keep their differences, is broken in proportion to lr, most at the
start, where norms are least: at 1e-3 by 3.4e-3, 5.6e-3 and 6.7e-3 of the largest square at depths 1, 2 and 3, at 1e-4
by 1.03e-3, 3.3e-4 and 2.2e-4. The rate here is 8e-5. After 10,000 steps at 1e-3 depths 2 and 3 have a held-out error
1.09 times that of depth 1; quick scale goes 40 % as far, where depth 2 may still be ahead.

With Adam (`--optimizer adam`) depth 1 from s0 = 1e-4 finds the truth within 1,000 steps at a rate of 2e-3, depths 2 and
3 do not leave the start in 5,000, their gradients being far below Adam's eps (of the small tensor not in 40,000 at
5e-4); the paper's runs have 2.1 million.

Copy this file to begin a study of your own: a problem, a model, a fit, criteria, a picture.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from irkernels.experiments.criteria import Criterion, judged, worst
from irkernels.experiments.grid import Swept, listed, trials_of
from irkernels.experiments.outcome import Outcome, Run
from irkernels.experiments.session import Session
from irkernels.families.streams import trial_generators
from irkernels.nn import Tucker
from irkernels.observed import Observed
from irkernels.optim import GroupRMSprop

TITLE = "the deeper a Tucker factorization, the sharper its multilinear rank"
PAPER = "Hariz, Kadri, Ayache, Moakher, Artieres 2022 and 2024"
PARAMETERS = {
    "optimizer": "rmsprop", "depth": (1, 2, 3), "s0": (5e-4,), "lr": (8e-5,), "trials": 2,
    "seed": 123, "steps": 600_000, "dtype": "float32",
}  # fmt: skip
QUICK = {"trials": 1, "steps": 50_000}
SIZE, RANK, HELD_OUT = 25, 5, 0.3
EPS = 1e-15  # gradients at the start are far smaller than elsewhere: products of seven or ten small factors
SHARE = 0.01  # of the largest core slice, above which a slice counts
TIMED = 20  # eager steps


def problem(trials: int, seed: int) -> tuple[Tensor, Tensor]:
    """Truths [trials, 25, 25, 25] of multilinear rank (5, 5, 5), float64, and which entries are held out, bool."""
    truths = []
    for generator in trial_generators(trials, None, seed):
        tensor = torch.randn((SIZE,) * 3, generator=generator, dtype=torch.float64)
        for mode in range(3):
            unfolded = tensor.movedim(mode, 0).flatten(1)
            leading = torch.linalg.svd(unfolded, full_matrices=False).U[:, :RANK]
            cut = leading @ (leading.T @ unfolded)
            tensor = cut.reshape(SIZE, SIZE, SIZE).movedim(0, mode)
        truths.append(tensor / tensor.square().mean().sqrt())
    picked = torch.randperm(SIZE**3, generator=torch.Generator().manual_seed(seed))[: int(HELD_OUT * SIZE**3)]
    held_out = torch.zeros(SIZE**3, dtype=torch.bool)
    held_out[picked] = True
    return torch.stack(truths), held_out.reshape((SIZE,) * 3)


def run(
    session: Session, optimizer: str, depth: Swept, s0: Swept, lr: Swept, trials: int, seed: int, steps: int,
    dtype: torch.dtype,
) -> Outcome:  # fmt: skip
    """All sizes and repeats of a depth at once; repeat t has truth t."""
    truths, held_out = problem(trials, seed)
    settings, runs = trials_of(trials, s0=s0, lr=lr), {}
    truth = truths[settings.column("trial").long()]
    seen, unseen = (~held_out).nonzero(), held_out.nonzero()
    train, test = (
        Observed(at, truth[(..., *at.T)].to(dtype), held_out.shape).to(session.device) for at in (seen, unseen)
    )
    for layers in listed(depth):
        model = Tucker(
            (SIZE,) * 3, SIZE, layers, init="slice_norms", trials=len(settings), seed=seed, dtype=dtype,
            device=session.device,
            init_std=settings.column("s0") * layers * math.log(layers + 1),
        )  # fmt: skip
        begin = [differences.clone() for differences in slice_differences(model)]
        runs[layers] = session.fit(
            f"depth {layers}",
            model,
            train,
            torch.optim.Adam if optimizer == "adam" else functools.partial(GroupRMSprop, eps=EPS, trials=len(settings)),
            settings,
            TIMED,
            lr=settings.column("lr"),
            steps=steps,
            truth=test,
            record=[
                "loss",
                "error",
                "component_norms",
                {"law broken by": lambda model, begin=begin: broken_by(model, begin)},
            ],
            record_every=max(1, steps // 150),
        )
    return Outcome(runs, criteria(runs), notes=_notes(runs))


def slice_differences(model: Tucker) -> list[Tensor]:
    """For each operand of a chain: square norms of its columns' parts less those of the core's slices, [trials, 25]."""
    slices, found = model.component_norms(), []
    for (positions, _), norms in zip(model.structure.parts[1:], slices, strict=True):
        for position in positions:
            term, factor = model.structure.terms[position], model.factors[position].detach()
            column = term.index(next(letter for letter in term if letter in model.structure.terms[0])) + 1
            own = factor.square().movedim(column, 1).flatten(2).sum(2)
            found.append(own - norms.detach().square())
    return found


def broken_by(model: Tucker, begin: list[Tensor]) -> Tensor:
    """How far the conserved differences have moved, over the largest square norm of a slice: [trials]."""
    largest = torch.stack([norms.detach().square().amax(1) for norms in model.component_norms()]).amax(0)
    moved = [(now - then).abs().amax(1) for now, then in zip(slice_differences(model), begin, strict=True)]
    return torch.stack(moved).amax(0) / largest


def slices_of(run: Run, record: int = -1) -> Tensor:
    """The norms of core slices, over the largest of their mode, largest first: [modes, trials, 25]."""
    norms = torch.stack([run.metrics[f"component_norms[{mode}]"][record] for mode in range(3)])
    return (norms / norms.amax(-1, keepdim=True)).sort(-1, descending=True).values


def _notes(runs: Mapping[int, Run]) -> list[str]:
    lines = []
    for depth, run in runs.items():
        counts = (slices_of(run) > SHARE).sum(-1).tolist()
        each = "; ".join(", ".join(map(str, trial)) for trial in zip(*counts, strict=True))
        lines.append(f"depth {depth}: core slices above {SHARE:.0%} of the largest, by mode: {each}")
    return lines


def criteria(runs: Mapping[int, Run]) -> list[Criterion]:
    """Depth lowers the held-out error and leaves five slices in each mode; norms of slice and column move together."""
    found: list[Criterion | None] = []
    for depth in sorted(set(runs) & {2, 3}):
        counts = (slices_of(runs[depth]) > SHARE).sum(-1).flatten()
        if 1 in runs:
            ratio = runs[depth].final("error") / runs[1].final("error")
            found.append(worst(f"depth {depth}: held-out error over that of depth 1", ratio, high=1.0, paper="< 1"))
        found.append(
            worst(f"depth {depth}: core slices above 1 % of the largest", counts, RANK - 0.5, RANK + 0.5, paper="5")
        )
    for depth, run in runs.items():
        broken = run.metrics["law broken by"].amax(0)
        found.append(worst(f"depth {depth}: change of conserved differences, relative", broken, high=1e-3, paper="0"))
    return judged(*found)


def draw(outcome: Outcome, path: Path) -> None:
    """Errors of the first trial and its core slices of the first mode against iterations, a column for each depth."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(1 + 3.8 * len(outcome.runs), 6), layout="constrained")
    grid = figure.subplots(2, len(outcome.runs), sharex=True, sharey="row", squeeze=False)
    for (depth, run), errors, slices in zip(outcome.runs.items(), grid[0], grid[1], strict=True):
        errors.semilogy(run.steps, run.metrics["error"][:, 0], color="#1b6ca8", linewidth=1.3, label="held out")
        errors.semilogy(
            run.steps, run.metrics["loss"][:, 0], color="0.55", linestyle="--", linewidth=1, label="observed"
        )
        errors.set_title(f"depth {depth}")
        norms = run.metrics["component_norms[0]"][:, 0]
        order = norms[-1].argsort(descending=True)
        slices.semilogy(run.steps, norms[:, order[RANK:]], color="0.75", linewidth=0.8)
        slices.semilogy(run.steps, norms[:, order[:RANK]], linewidth=1.5)
        slices.set_xlabel("iterations")
    grid[0, 0].set_ylabel("mean squared error")
    grid[1, 0].set_ylabel("norm of a core slice, first mode")
    grid[0, 0].legend(fontsize=9)
    figure.suptitle(
        f"25 x 25 x 25 tensor of multilinear rank (5, 5, 5), {HELD_OUT:.0%} held out, deep Tucker, GroupRMSprop,"
        f" {RANK} largest coloured"
    )
    figure.savefig(path, dpi=110)
