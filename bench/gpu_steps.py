"""Table B on a GPU: eager torch's step in two formulations, and ours in each tier."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from bench import inputs
from bench.gpu_rows import Steps
from bench.timing import quartiles, seconds_per_call

_DTYPE = "float32"
_SECONDS = 0.05  # of a native run, so that its start counts little
_RUNS = 5


def matmul(factors: Sequence[Tensor]) -> Tensor:
    return functools.reduce(torch.matmul, factors)


def factors_of(row: Steps) -> list[Tensor]:
    found = inputs.completing(row.completion, _DTYPE, 1, row.trials).factors
    return [torch.from_numpy(factor).cuda() for factor in found]


def losses_of(row: Steps) -> dict[str, Callable[[list[Tensor]], Tensor]]:
    """The product indexed at the observed entries, or masked where nothing is observed; the sum over trials."""
    completion = row.completion
    problem, n = inputs.completing(completion, _DTYPE, 1, row.trials), completion.n
    flat = torch.from_numpy(problem.at[:, 0] * n + problem.at[:, 1]).cuda()
    values = torch.from_numpy(problem.values).cuda()
    zeros = values.new_zeros(n * n)
    mask, target = zeros.index_fill(0, flat, 1.0).view(n, n), zeros.index_put((flat,), values).view(n, n)

    def gather(factors: list[Tensor]) -> Tensor:
        return (matmul(factors).flatten(-2)[..., flat] - values).square().sum() / completion.observed

    def dense(factors: list[Tensor]) -> Tensor:
        return ((matmul(factors) - target) * mask).square().sum() / completion.observed

    return {"gather": gather, "dense": dense}


def eager_steps(row: Steps) -> dict[str, Callable[[], object]]:
    def step(loss: Callable, factors: list[Tensor]) -> None:
        gradients = torch.autograd.grad(loss(factors), factors)
        with torch.no_grad():
            torch._foreach_add_(factors, gradients, alpha=-inputs.LEARNING_RATE)

    return {
        name: functools.partial(step, loss, [factor.requires_grad_() for factor in factors_of(row)])
        for name, loss in losses_of(row).items()
    }


def own_steps(row: Steps, tier: str | None) -> tuple[tuple[float, float, float], str]:
    """Quartiles of seconds for a step of one trial in a run of many, and who took the steps."""
    import irkernels as irk

    n = row.completion.n
    problem = inputs.completing(row.completion, _DTYPE, 1, row.trials)
    model = irk.nn.MatrixChain(n, n, row.completion.depth, trials=row.trials, init="gaussian", init_scale=1.0, seed=0)
    model = model.float().cuda()
    with torch.no_grad():
        for parameter, factor in zip(model.parameters(), problem.factors):
            parameter.copy_(torch.from_numpy(factor))
    data = irk.Observed(torch.from_numpy(problem.at), torch.from_numpy(problem.values), (n, n))
    data = data.to(model.factors[0].device)
    optimizer = torch.optim.SGD(model.parameters(), lr=inputs.LEARNING_RATE)
    said = ""

    def run(steps: int) -> None:
        nonlocal said
        said = irk.fit(model, data, optimizer, steps=steps, progress=False, tier=tier).tier
        torch.cuda.synchronize()

    run(1)
    steps = 2
    while (seconds := seconds_per_call(functools.partial(run, steps), 1)) < _SECONDS and steps < 1_000_000:
        steps *= 4
    runs = _RUNS if seconds < 20 * _SECONDS else 1
    samples = [seconds_per_call(functools.partial(run, steps), 1) / steps / (row.trials or 1) for _ in range(runs)]
    return quartiles(samples), f"{said}; {steps} steps"
