"""Derivatives of any order of the balanced velocity, through A = (W W^T)^{1/N} and the equation A^N = W W^T.

No eigenvector is ever differentiated: A's derivative solves a linear equation whose operator is known in W's singular
basis, and that solution's derivative solves the same equation again.  W [..., rows, cols] has full rank rows <= cols.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from irkernels.dynamics.divided import complete_symmetric
from irkernels.spectrum.decomposition import reciprocal


def velocity(W: Tensor, G: Tensor, U: Tensor, s: Tensor, depth: int) -> Tensor:
    """- A^{N-1} G - sum_{j=0}^{N-2} A^j (G W^T) A^{-1-j} W, which is the balanced velocity, as B^q = W^T A^{q-N} W."""
    A = _Root.apply(W, U, s, depth)  # type: ignore[no-untyped-call]
    inverse = torch.linalg.inv_ex(A).inverse
    term = G @ W.mT @ inverse
    total, left = torch.zeros_like(term), G
    for _ in range(depth - 1):
        total = total + term
        term, left = A @ term @ inverse, A @ left
    return -left - total @ W


def variable(tensor: Tensor) -> Tensor:
    """The tensor to differentiate in, still part of the graph that it came from."""
    return tensor.view_as(tensor) if tensor.requires_grad else tensor.detach().requires_grad_()


class _Root(Function):
    """A = (W W^T)^{1/N} = U diag(s^{2/N}) U^T."""

    generate_vmap_rule = True

    @staticmethod
    def forward(W: Tensor, U: Tensor, s: Tensor, depth: int) -> Tensor:
        return (U * s.pow(2 / depth)[..., None, :]) @ U.mT

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        W, U, s, ctx.depth = inputs
        ctx.save_for_backward(W, output, U, s)

    @staticmethod
    def backward(ctx: Any, A_bar: Tensor) -> tuple[Tensor | None, ...]:
        W, A, U, s = ctx.saved_tensors
        solved = _Solution.apply(A, A_bar, U, s, ctx.depth)  # type: ignore[no-untyped-call]
        return (solved + solved.mT) @ W, None, None, None


class _Solution(Function):
    """X of sum_{j=0}^{N-1} A^j X A^{N-1-j} = E, the derivative of the root along E: self-adjoint in E."""

    generate_vmap_rule = True

    @staticmethod
    def forward(A: Tensor, E: Tensor, U: Tensor, s: Tensor, depth: int) -> Tensor:
        x = s.pow(2 / depth)
        return U @ (reciprocal(complete_symmetric(x, x, depth - 1)) * (U.mT @ E @ U)) @ U.mT

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        A, _, U, s, ctx.depth = inputs
        ctx.save_for_backward(A, output, U, s)

    @staticmethod
    def backward(ctx: Any, X_bar: Tensor) -> tuple[Tensor | None, ...]:
        A, X, U, s = ctx.saved_tensors
        E_bar = _Solution.apply(A, X_bar, U, s, ctx.depth)  # type: ignore[no-untyped-call]
        with torch.enable_grad():
            moving = variable(A)
            powers = _sum_of_powers(moving, X, ctx.depth)
            (in_A,) = torch.autograd.grad(powers, moving, E_bar, create_graph=True, materialize_grads=True)
        return -in_A, E_bar, None, None, None


def _sum_of_powers(A: Tensor, X: Tensor, depth: int) -> Tensor:
    """sum_{j=0}^{N-1} A^j X A^{N-1-j}."""
    total, right = X, X
    for _ in range(depth - 1):
        right = right @ A
        total = A @ total + right
    return total
