"""Path norms: the powered chain (Neyshabur, Tomioka, Srebro 2015; Neyshabur et al. 2017, papers 1 and 18).

phi_p(F)^p = 1^T |F_1|^p |F_2|^p .. |F_N|^p 1        the sum over all paths of the product of |weight|^p
kappa_e    = ( sum over paths through e of prod of the other |weight|^p )^{2/p} = (left_e right_e)^{2/p}
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from irkernels import functional
from irkernels.measures.factors import checked_chain


def path_norm(factors: Sequence[Tensor], p: float = 2) -> Tensor:
    """phi_p: [...] for factors [..., d_j, d_{j+1}] in matmul order, any p > 0.

    Unchanged when a hidden unit's incoming weights are scaled by c and its outgoing ones by 1/c.  Differentiable where
    |w|^p and the root are.  Raises TypeError and ValueError for factors that are no chain, ValueError for p.
    """
    factors = checked_chain("path_norm", factors)
    powers = _powers(factors, p)
    ones = powers[0].new_ones(powers[0].shape[-2]), powers[0].new_ones(powers[-1].shape[-1])
    return functional.multi_dot([ones[0], *powers, ones[1]]) ** (1 / p)


def path_scales(factors: Sequence[Tensor], p: float = 2) -> tuple[Tensor, ...]:
    """kappa of every weight, one tensor of each factor's shape; for p = 2 it is d(phi_2^2) / d(w^2).

    Path-SGD divides each weight's gradient by it.  Raises what path_norm raises.
    """
    factors = checked_chain("path_scales", factors)
    powers = _powers(factors, p)
    left, right = powers[0].new_ones(powers[0].shape[-2]), powers[0].new_ones(powers[-1].shape[-1])
    lefts, rights = [left], [right]
    for power in powers[:-1]:
        lefts.append(functional.einsum("...i,...ij->...j", lefts[-1], power))
    for power in reversed(powers[1:]):
        rights.append(functional.einsum("...ij,...j->...i", power, rights[-1]))
    return tuple(
        ((a[..., :, None] * b[..., None, :]) ** (2 / p)).expand_as(factor)
        for a, b, factor in zip(lefts, reversed(rights), factors)
    )


def _powers(factors: tuple[Tensor, ...], p: float) -> list[Tensor]:
    if not (math.isfinite(p) and p > 0):
        raise ValueError(f"p must be positive and finite, got {p}")
    return [factor.square() if p == 2 else torch.abs(factor) ** p for factor in factors]
