"""Spectra and what is made of them, one matrix at a time, as they are defined."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor


def singular_values(W: Tensor) -> Tensor:
    """Square roots of the eigenvalues of the smaller Gram matrix, largest first."""
    gram = W @ W.T if W.shape[0] <= W.shape[1] else W.T @ W
    values: Tensor = torch.linalg.eigvalsh(gram).clamp(min=0).sqrt().flip(0)
    return values


def effective_rank(W: Tensor) -> Tensor:
    """exp(-sum p log p), p = s / sum(s) (Arora et al. 2019)."""
    s = singular_values(W)
    p = s / s.sum()
    return torch.exp(-sum(each * each.log() for each in p if each > 0))


def stable_rank(W: Tensor) -> Tensor:
    """||W||_F^2 / ||W||_2^2."""
    return W.square().sum() / singular_values(W)[0] ** 2


def schatten(W: Tensor, p: float) -> Tensor:
    """(sum s^p)^{1/p}."""
    s = singular_values(W)
    return s[0] if math.isinf(p) else (s**p).sum() ** (1 / p)


def nuclear_to_frobenius(W: Tensor) -> Tensor:
    """||W||_* / ||W||_F (Zhao 2022)."""
    return singular_values(W).sum() / W.square().sum().sqrt()


def nuclear_to_frobenius_slope(W: Tensor) -> Tensor:
    """U V^T / ||W||_F - ||W||_* W / ||W||_F^3, for W of full rank (Zhao 2022)."""
    U, s, Vh = torch.linalg.svd(W, full_matrices=False)
    frobenius = W.square().sum().sqrt()
    slope: Tensor = U @ Vh / frobenius - s.sum() * W / frobenius**3
    return slope


def matricisation(T: Tensor, modes: Sequence[int]) -> Tensor:
    """Entry by entry: T[i_1, .., i_N] stands in the row of the indices at `modes`, in the column of the others."""
    others = [mode for mode in range(T.dim()) if mode not in modes]
    rows, cols = (torch.Size([T.shape[mode] for mode in some]) for some in (modes, others))
    matrix = T.new_zeros(rows.numel(), cols.numel())
    for index in torch.cartesian_prod(*(torch.arange(extent) for extent in T.shape)).reshape(-1, T.dim()).tolist():
        row = _position([index[mode] for mode in modes], rows)
        matrix[row, _position([index[mode] for mode in others], cols)] = T[tuple(index)]
    return matrix


def multilinear_effective_rank(T: Tensor) -> Tensor:
    """The effective rank of each mode's unfolding (Milanesi et al. 2021)."""
    return torch.stack([effective_rank(matricisation(T, [mode])) for mode in range(T.dim())])


def _position(index: list[int], shape: torch.Size) -> int:
    position = 0
    for each, extent in zip(index, shape):
        position = position * extent + each
    return position
