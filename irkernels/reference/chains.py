"""The chains that stand for a factor of a deep product (Hariz et al. 2022; Milanesi et al. 2021)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def column_chains(operands: Sequence[Tensor]) -> Tensor:
    """F [d, R] with columns F[:, r] = A_r^1 ... A_r^k w_r.  operands: A^1 .. A^k, each [R, m, n], and w [h, R]."""
    *matrices, w = operands
    columns = []
    for r in range(w.shape[1]):
        v = w[:, r]
        for A in reversed(matrices):
            v = A[r] @ v
        columns.append(v)
    return torch.stack(columns, dim=1)


def unfolded_chain(operands: Sequence[Tensor]) -> Tensor:
    """A_1 A_2 ... A_K, A_1 [*rows, h], further ones [h, h'], A_K [h, *cols]: [*rows, *cols]."""
    product = operands[0]
    for A in operands[1:]:
        product = torch.tensordot(product, A, dims=1)
    return product
