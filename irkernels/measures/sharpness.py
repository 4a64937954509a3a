"""Expected sharpness: how much a loss rises under random perturbations (Neyshabur et al. 2017, paper 18)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Generator, Tensor

from irkernels._arguments import integer


def expected_sharpness(
    loss: Callable[..., Tensor],
    parameters: Sequence[Tensor],
    std: float,
    samples: int = 100,
    generator: Generator | None = None,
    relative: bool = False,
) -> Tensor:
    """E L(w + nu) - L(w) over nu ~ N(0, std^2), by `samples` draws: of the shape of the loss.

    loss: a function of the parameters, evaluated for all draws by torch.func.vmap (one native call for a product).
    relative: the deviation of each weight is std |w|, as in the paper's experiments.  generator: draws on the CPU in
    float64; by default seed 0.  For small std it is std^2 / 2 times the Hessian's trace.  Raises ValueError for std.
    """
    if not (math.isfinite(std) and std > 0):
        raise ValueError(f"std must be positive and finite, got {std}")
    integer("samples", samples, 1)
    generator = torch.Generator().manual_seed(0) if generator is None else generator
    moved = []
    for parameter in parameters:
        noise = std * torch.randn(samples, *parameter.shape, dtype=torch.float64, generator=generator).to(parameter)
        moved.append(parameter + (noise * parameter.abs() if relative else noise))
    return (torch.func.vmap(loss)(*moved) - loss(*parameters)).mean(0)
