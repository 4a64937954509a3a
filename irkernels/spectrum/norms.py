"""Schatten (quasi-)norms; the nuclear norm twice differentiable, repeated singular values included."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from irkernels.spectrum.decomposition import reciprocal, thin_svd
from irkernels.spectrum.matrices import as_matrices
from irkernels.spectrum.values import singular_values


def schatten(W: Tensor, p: float) -> Tensor:
    """(sum s^p)^{1/p} over the singular values of W [..., rows, cols]: shape [...]; a quasi-norm for p < 1.

    p = 1 is the nuclear, 2 the Frobenius, math.inf the spectral norm; 2/N is the one that a balanced depth-N chain's
    sum of squared Frobenius norms equals to the power 2/N (Arora, Cohen, Hu, Luo 2019).  A value of exactly zero has
    slope zero.  Raises ValueError for p <= 0, TypeError for what is no number, and what singular_values raises.
    """
    if isinstance(p, (bool, Tensor)) or not isinstance(p, (int, float)):
        raise TypeError(f"schatten: p must be a number, got {p!r}")
    if not p > 0:
        raise ValueError(f"schatten: p must be above 0, got {p}")
    if p == 1:
        return nuclear_norm(W)
    values = singular_values(W)
    largest = values.detach().amax(-1, keepdim=True) if values.shape[-1] else values.sum(-1, keepdim=True)
    if math.isinf(p):
        return values.amax(-1) if values.shape[-1] else values.sum(-1)
    scale = torch.where(largest == 0, torch.ones_like(largest), largest)  # so that powers stay in range
    shares = values / scale
    zero = shares == 0
    powers = torch.where(zero, torch.zeros_like(shares), torch.where(zero, torch.ones_like(shares), shares).pow(p))
    total = powers.sum(-1)
    empty = total == 0
    root = torch.where(empty, torch.ones_like(total), total).pow(1 / p)
    return torch.where(empty, torch.zeros_like(total), root) * scale[..., 0]


def nuclear_norm(W: Tensor) -> Tensor:
    """sum s of W [..., rows, cols]: shape [...].

    Its gradient is U V^T over the nonzero singular values, from the decomposition that gave the value.  Twice
    differentiable where W has full rank, values repeated or not; the second derivative takes zero values as fixed.
    Raises what singular_values raises.
    """
    W = as_matrices("nuclear_norm", W)
    norm: Tensor = _NuclearNorm.apply(W, *thin_svd(W))  # type: ignore[no-untyped-call]
    return norm


class _NuclearNorm(Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(W: Tensor, U: Tensor, s: Tensor, V: Tensor) -> Tensor:
        return s.sum(-1)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, cotangent: Tensor) -> tuple[Tensor | None, ...]:
        slope = _Polar.apply(*ctx.saved_tensors)  # type: ignore[no-untyped-call]
        return cotangent[..., None, None] * slope, None, None, None


class _Polar(Function):
    """The orthogonal factor U V^T of the polar decomposition."""

    generate_vmap_rule = True

    @staticmethod
    def forward(W: Tensor, U: Tensor, s: Tensor, V: Tensor) -> Tensor:
        return polar(U, s, V)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs[1:])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, Z: Tensor) -> tuple[Tensor | None, ...]:
        U, s, V = ctx.saved_tensors
        inner = U.mT @ Z @ V
        turned = (inner - inner.mT) * reciprocal(s[..., None] + s[..., None, :])
        inverse = reciprocal(s)
        outside = inverse[..., None] * (U.mT @ Z - inner @ V.mT)
        return U @ (turned @ V.mT + outside) + ((Z @ V - U @ inner) * inverse[..., None, :]) @ V.mT, None, None, None


def polar(U: Tensor, s: Tensor, V: Tensor) -> Tensor:
    """U V^T over the nonzero singular values; NaN where they are NaN."""
    return (U * torch.where(s > 0, 1.0, s)[..., None, :]) @ V.mT
