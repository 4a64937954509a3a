"""The CP rank that alternating least squares finds, through TensorLy."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from irkernels._arguments import integer, number, real, with_numbers


def cp_rank(
    T: Tensor, most: int, *, tolerance: float = 1e-6, sweeps: int = 1000, restarts: int = 3, seed: int = 0
) -> int:
    """The smallest R <= most at which alternating least squares fits T with a mean squared error below `tolerance`.

    An upper bound of the CP rank at that error (Razin, Cohen 2020, who take 1e-6): for every R the best of `restarts`
    runs of tensorly.decomposition.parafac, the first from singular vectors, the others from random factors.
    T: a tensor of order 2 or more, without trials.  Needs TensorLy (pip install "irkernels[dynamics]").
    Raises ImportError without TensorLy, TypeError (no real floating-point tensor), ValueError (order, a rank above
    `most`: the smallest error is named).
    """
    if not with_numbers("cp_rank: T", real("cp_rank: T", T)).isfinite().all():
        raise ValueError("cp_rank: T must be finite")
    tolerance, seed = number("tolerance", tolerance), integer("seed", seed, 0)
    if T.dim() < 2:
        raise ValueError(f"cp_rank: T must have two axes or more, got {list(T.shape)}")
    most, sweeps, restarts = integer("most", most, 1), integer("sweeps", sweeps, 1), integer("restarts", restarts, 1)
    dense = T.detach().to("cpu", torch.float64).numpy()
    if (dense**2).mean() < tolerance:
        return 0
    errors = []
    for rank in range(1, most + 1):
        errors.append(min(_error(dense, rank, sweeps, seed + start, start > 0) for start in range(restarts)))
        if errors[-1] < tolerance:
            return rank
    raise ValueError(
        f"cp_rank: no rank up to most = {most} reaches a mean squared error below {tolerance}; best: {min(errors):.3g}"
    )


def _error(dense: Any, rank: int, sweeps: int, seed: int, random: bool) -> float:
    """The mean squared error of one run."""
    try:
        import tensorly
        from tensorly.decomposition import parafac
    except ImportError as error:
        raise ImportError('cp_rank needs TensorLy: pip install "irkernels[dynamics]"') from error
    with tensorly.backend_context("numpy", local_threadsafe=True):
        start = "random" if random or rank > min(dense.shape) else "svd"
        found = parafac(dense, rank, n_iter_max=sweeps, init=start, tol=1e-12, random_state=seed)
        return float(((tensorly.cp_to_tensor(found) - dense) ** 2).mean())
