"""Thin singular value decompositions whose gradients stay finite."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from irkernels.spectrum.matrices import as_matrices, finite_part, known_where


def svd(W: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """U [..., rows, k], s [..., k], V [..., cols, k] with W = U diag(s) V^T, k = min(rows, cols), values largest first.

    Differentiable to any order.  Vectors of values that agree to rounding, and of zero ones, are taken not to rotate
    into each other: exact for what does not depend on their choice within such a group (a projector on all of it),
    where torch.linalg.svd has NaN.  A W that is not finite has values NaN.  float16 and bfloat16 are decomposed in
    float32.  Raises TypeError and ValueError as singular_values does.
    """
    parts: tuple[Tensor, Tensor, Tensor] = _SVD.apply(as_matrices("svd", W))  # type: ignore[no-untyped-call]
    return parts


def thin_svd(W: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The same without a graph, of matrices already checked."""
    W, finite = finite_part(W.detach())
    U, s, Vh = torch.linalg.svd(W, full_matrices=False)
    return U, known_where(finite, s), Vh.mT


def reciprocal(values: Tensor, least: Tensor | float = 0.0) -> Tensor:
    """1 / value, and 0 for one of absolute value at most `least`."""
    zero = values.abs() <= least
    return torch.where(zero, 0.0, 1 / torch.where(zero, 1.0, values))


class _SVD(Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(W: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return thin_svd(W)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.save_for_backward(*output)

    @staticmethod
    def backward(ctx: Any, U_bar: Tensor, s_bar: Tensor, V_bar: Tensor) -> Tensor:
        U, s, V = ctx.saved_tensors
        rounding = torch.finfo(s.dtype).eps * max(U.shape[-2], V.shape[-2])
        least = rounding * s[..., :1].detach()
        rows, cols = s[..., None], s[..., None, :]
        F = reciprocal(cols - rows, least[..., None]) * reciprocal(cols + rows, least[..., None])
        turn_U, turn_V = U.mT @ U_bar, V.mT @ V_bar
        inner = F * (turn_U - turn_U.mT) * cols + rows * (F * (turn_V - turn_V.mT)) + torch.diag_embed(s_bar)
        inverse = reciprocal(s, least)[..., None, :]
        outside_U = (U_bar - U @ turn_U) * inverse
        outside_V = (V_bar - V @ turn_V) * inverse
        slope: Tensor = (U @ inner + outside_U) @ V.mT + U @ outside_V.mT
        return slope
