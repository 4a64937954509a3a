"""The low-rank completion problem of Arora et al. 2019 (`gen_gt.py`, `gen_obs.py` of their code).

Their script draws distinct positions; their figures seem to be of independent draws. Depth 1 cannot move what it has
not seen, and its test error is given as 0.8195: of 2,000 independent draws (1 - 1/10,000)^2,000 = 0.8187 of the entries
are not seen, of distinct ones 0.8.
"""

from __future__ import annotations

import torch
from torch import Tensor

from irkernels.families.streams import seeded_generators
from irkernels.observed import Observed

SIZE, RANK, OBSERVED = 100, 5, 2000


def completion(
    trials: int | None, seed: int = 0, dtype: torch.dtype = torch.float64, repeats: Tensor | None = None,
    positions: str = "distinct",
) -> tuple[Tensor, Observed]:  # fmt: skip
    """Ground truths [trials, 100, 100] of rank 5 with entries of root mean square 1, seen at 2,000 positions.

    The positions are shared; trial t has a ground truth of its own, whatever `trials` is.  Without trials: one,
    [100, 100], that of trial 0.  repeats: int64 [T], which of the truths each trial of a fit has.  positions:
    "distinct", or "independent", each drawn from all 10,000, so that 1,813 or so are seen.  Raises ValueError.
    """
    if positions not in ("distinct", "independent"):
        raise ValueError(f"--positions: expected distinct or independent, got {positions!r}")
    generator = torch.Generator().manual_seed(seed)
    if positions == "independent":
        picked = torch.randint(SIZE * SIZE, (OBSERVED,), generator=generator)
    else:
        picked = torch.randperm(SIZE * SIZE, generator=generator)[:OBSERVED]
    each = [_ground_truth(generator) for generator in seeded_generators(trials, seed)]
    truth = each[0] if trials is None else torch.stack(each)
    if repeats is not None:
        truth = truth[repeats]
    at = torch.stack([picked // SIZE, picked % SIZE], dim=1)
    values = truth[..., at[:, 0], at[:, 1]]
    return truth.to(dtype), Observed(at, values.to(dtype), (SIZE, SIZE))


def _ground_truth(generator: torch.Generator) -> Tensor:
    left, right = torch.randn(2, SIZE, RANK, generator=generator, dtype=torch.float64)
    product = left @ right.T
    truth: Tensor = product * (SIZE / torch.linalg.matrix_norm(product))
    return truth
