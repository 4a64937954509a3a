"""The papers' initial factors of a matrix chain W = F_0 F_1 ... F_{N-1}, for one trial, in float64 on the CPU.

Scale alpha belongs to the product: each factor gets alpha^{1/N} (Arora et al. 2019; Razin, Cohen 2020).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import torch
from torch import Generator, Tensor

from irkernels.families.drawing import Size


def gaussian(sizes: list[int], size: Size, generator: Generator | None) -> list[Tensor]:
    """Independent normal entries of std alpha^{1/N}/sqrt(n), n the factor's columns; W's have std alpha/sqrt(cols)."""
    depth = len(sizes) - 1
    return [
        _normal(rows, cols, generator) * (size.gain(depth) / math.sqrt(cols) if size.std is None else size.std)
        for rows, cols in itertools.pairwise(sizes)
    ]


def orthogonal(sizes: list[int], size: Size, generator: Generator | None) -> list[Tensor]:
    """alpha^{1/N} Q_j, Q_j uniform among matrices with orthonormal columns (rows where there are fewer rows)."""
    depth = len(sizes) - 1
    factors = []
    for rows, cols in itertools.pairwise(sizes):
        frame = haar_frame(max(rows, cols), min(rows, cols), generator)
        # entries of a frame have mean square 1 / max(rows, cols)
        gain = size.gain(depth) if size.std is None else size.std * math.sqrt(max(rows, cols))
        factors.append(gain * (frame if rows >= cols else frame.T))
    return factors


def identity(sizes: list[int], size: Size, generator: Generator | None) -> list[Tensor]:
    """alpha^{1/N} I, the leading part of the identity where a factor is not square; draws nothing."""
    depth = len(sizes) - 1
    return [size.gain(depth) * torch.eye(rows, cols, dtype=torch.float64) for rows, cols in itertools.pairwise(sizes)]


def balanced(sizes: list[int], size: Size, generator: Generator | None) -> list[Tensor]:
    """Factors with F_j^T F_j = F_{j+1} F_{j+1}^T whose product is distributed as the Gaussian factors' product.

    W = U S V^T is drawn as that product; F_0 = U S^{1/N} Q_1^T, F_j = Q_j S^{1/N} Q_{j+1}^T,
    F_{N-1} = Q_{N-1} S^{1/N} V^T with uniform orthonormal hidden frames Q_j.  In the papers' order
    W_{j+1}^T W_{j+1} = W_j W_j^T.
    """
    depth = len(sizes) - 1
    W = gaussian(sizes, size, generator)
    product = W[0] if depth == 1 else torch.linalg.multi_dot(W)
    if depth == 1:
        return [product]
    U, s, Vh = torch.linalg.svd(product, full_matrices=False)
    rank = min(sizes)  # the product has no more; what is left of s beyond it is rounding
    root = s[:rank] ** (1 / depth)
    frames = [U[:, :rank], *(haar_frame(hidden, rank, generator) for hidden in sizes[1:-1]), Vh[:rank].T]
    return [(left * root) @ right.T for left, right in itertools.pairwise(frames)]


Initialiser = Callable[[list[int], Size, "Generator | None"], list[Tensor]]

INITIALISERS: dict[str, Initialiser] = {
    "gaussian": gaussian,
    "orthogonal": orthogonal,
    "identity": identity,
    "balanced": balanced,
}


def _normal(rows: int, cols: int, generator: Generator | None) -> Tensor:
    return torch.randn(rows, cols, dtype=torch.float64, generator=generator)


def haar_frame(rows: int, cols: int, generator: Generator | None) -> Tensor:
    """rows x cols with orthonormal columns, rows >= cols, uniform (Haar)."""
    Q, R = torch.linalg.qr(_normal(rows, cols, generator))
    # LAPACK fixes R's signs by its own rule; without this the distribution is not uniform
    frame: Tensor = Q * torch.where(R.diagonal() < 0, -1.0, 1.0).to(Q.dtype)
    return frame
