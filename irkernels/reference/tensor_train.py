"""W[i_1, .., i_N] = G_1[:, i_1, :] G_2[:, i_2, :] ... G_N[:, i_N, :], a matrix chain chosen by the indices."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import torch
from torch import Tensor


def tensor_train(cores: Sequence[Tensor], ring: bool = False) -> Tensor:
    """Core by core.  cores: G_k [r_{k-1}, n_k, r_k]; a train's first is [n_1, r_1] and its last [r_{N-1}, n_N].

    ring: all have three axes, r_0 = r_N, and an entry is the trace of its matrices' product.
    """
    W = reduce(lambda left, core: torch.tensordot(left, core, dims=1), cores)
    return W.diagonal(dim1=0, dim2=-1).sum(-1) if ring else W
