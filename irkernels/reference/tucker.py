"""W = C x_1 F_1 x_2 F_2 ... x_N F_N, the Tucker product."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def tucker(core: Tensor, factors: Sequence[Tensor]) -> Tensor:
    """Mode by mode.  core: [r_1, .., r_N], factors: F_n [d_n, r_n]."""
    W = core
    for mode, F in enumerate(factors):
        W = mode_product(W, F, mode)
    return W


def mode_product(tensor: Tensor, matrix: Tensor, mode: int) -> Tensor:
    """tensor x_mode matrix: each fibre v along the mode becomes matrix v."""
    product: Tensor = torch.tensordot(matrix, tensor, dims=([1], [mode])).movedim(0, mode)
    return product
