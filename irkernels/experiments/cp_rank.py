"""The CP rank of a tensor up to a tolerance, by alternating least squares."""

from __future__ import annotations

import torch
from torch import Tensor

from irkernels import functional

_SWEEPS, _STARTS = 200, 3


def cp_rank(W: Tensor, tolerance: float, most: int) -> int:
    """The least rank whose best approximation found has a mean squared error below the tolerance; most + 1 if none has.

    As Razin, Cohen 2020 measure it.  Alternating least squares from three random starts: an upper bound.
    """
    W = W.double()
    for rank in range(1, most + 1):
        if any(_least_squares(W, rank, start) < tolerance for start in range(_STARTS)):
            return rank
    return most + 1


def _least_squares(W: Tensor, rank: int, start: int) -> float:
    """The mean squared error after the sweeps."""
    generator = torch.Generator().manual_seed(start)
    factors = [torch.randn(size, rank, generator=generator, dtype=W.dtype) for size in W.shape]
    modes = "".join(chr(ord("a") + n) for n in range(W.dim()))
    terms = [f"{mode}z" for mode in modes]
    for _ in range(_SWEEPS):
        for n, mode in enumerate(modes):
            others = factors[:n] + factors[n + 1 :]
            gram = torch.stack([factor.T @ factor for factor in others]).prod(0)
            product = functional.einsum(",".join([modes, *terms[:n], *terms[n + 1 :]]) + f"->{mode}z", W, *others)
            factors[n] = torch.linalg.lstsq(gram, product.T, driver="gelsd").solution.T
    return float((functional.einsum(",".join(terms) + f"->{modes}", *factors) - W).square().mean())
