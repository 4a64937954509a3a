"""Velocities of end-to-end products under gradient flow, one trial at a time, as the papers write them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import torch
from torch import Tensor


def end_to_end_velocity(factors: Sequence[Tensor], gradient: Tensor) -> Tensor:
    """- sum_j A_j A_j^T G B_j^T B_j, A_j and B_j all that stands left and right of factor j (Arora et al. 2019)."""
    velocity = torch.zeros_like(gradient)
    for j in range(len(factors)):
        A = reduce(torch.matmul, factors[:j], torch.eye(gradient.shape[0], dtype=gradient.dtype))
        B = reduce(torch.matmul, factors[j + 1 :], torch.eye(factors[j].shape[1], dtype=gradient.dtype))
        velocity = velocity - A @ A.T @ gradient @ B.T @ B
    return velocity


def balanced_velocity(W: Tensor, gradient: Tensor, depth: int) -> Tensor:
    """- sum_{j=1}^N (W W^T)^{(j-1)/N} G (W^T W)^{(N-j)/N}, the powers by eigenvectors (Arora et al. 2019)."""
    velocity = torch.zeros_like(gradient)
    for j in range(1, depth + 1):
        left, right = fractional_power(W @ W.T, (j - 1) / depth), fractional_power(W.T @ W, (depth - j) / depth)
        velocity = velocity - left @ gradient @ right
    return velocity


def fractional_power(S: Tensor, exponent: float) -> Tensor:
    """S^exponent of a symmetric S without negative eigenvalues; S^0 = I."""
    values, vectors = torch.linalg.eigh(S)
    values = values.clamp(min=0)
    values = values.where(values > len(S) * torch.finfo(S.dtype).eps * values.max(), 0)  # rounding of zero
    power: Tensor = (vectors * values.pow(exponent)) @ vectors.T
    return power


def singular_value_velocity(W: Tensor, gradient: Tensor, depth: int) -> Tensor:
    """- N (s_r^2)^{1-1/N} <G, u_r v_r^T> (Arora et al. 2019)."""
    U, s, Vh = torch.linalg.svd(W, full_matrices=False)
    rates = []
    for r in range(len(s)):
        component = torch.outer(U[:, r], Vh[r])
        rates.append(-depth * (s[r] ** 2) ** (1 - 1 / depth) * (gradient * component).sum())
    return torch.stack(rates)


def hadamard_velocity(factors: Sequence[Tensor], gradient: Tensor) -> Tensor:
    """- g_i sum_l prod_{m != l} w_{m,i}^2."""
    total = torch.zeros_like(gradient)
    for left_out in range(len(factors)):
        others = torch.ones_like(gradient)
        for position, w in enumerate(factors):
            others = others if position == left_out else others * w**2
        total = total + others
    return -gradient * total
