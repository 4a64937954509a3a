"""The velocity of W alone where its factors are balanced: the end-to-end gradient, preconditioned by W.

    dW/dt = - sum_{j=1}^N (W W^T)^{(j-1)/N} G (W^T W)^{(N-j)/N}  =  - U ( C o (U^T G V) ) V^T
    C_ab  = (s_a^2 - s_b^2) / (s_a^{2/N} - s_b^{2/N}),  C_aa = N s_a^{2-2/N},  of full U and V

With x = s^{2/N}, C_ab = h_{N-1}(x_a, x_b) (divided.py).  Written for cols >= rows with thin V: a column outside W's row
space has x_b = 0, hence C_ab = x_a^{N-1}.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from irkernels._arguments import integer, number
from irkernels.dynamics import roots
from irkernels.dynamics.divided import complete_symmetric, rising_degrees
from irkernels.dynamics.pairs import matrix_and_gradient
from irkernels.spectrum.decomposition import reciprocal, thin_svd


def balanced_velocity(W: Tensor, gradient: Tensor, depth: int, *, tolerance: float | None = None) -> Tensor:
    """dW/dt [..., rows, cols] of a balanced chain of `depth` factors, from W and G = dL/dW of one shape.

    Arora, Cohen, Hu, Luo (2019), Theorem 1 in the form of its singular basis.  depth 1 is -G.  Zero singular values are
    kept: a direction outside both of W's spaces does not move for depth >= 2.  float16 and bfloat16 are computed in
    float32, which is then the result's dtype; a W that is not finite has velocity NaN, other trials theirs.

    tolerance: singular values up to this share of the largest count as zero; default max(rows, cols) times the dtype's
    epsilon, as torch.linalg.matrix_rank has it: what rounding makes of a zero, eps, would move W by eps^{2/N}.

    Gradients in W and G are finite everywhere, repeated singular values included; in G exact everywhere, in W where W
    has full rank (elsewhere the map has a kink, depth 2, or none: zero values count as fixed).  Second and higher
    derivatives exist at full rank; they are taken through roots.py.
    Raises TypeError (kind, dtype, a depth that is no integer) and ValueError (axes, shapes, depth below 1, tolerance).
    """
    W, gradient = matrix_and_gradient("balanced_velocity", W, gradient)
    depth = integer("depth", depth, 1)
    share = max(W.shape[-2:]) * torch.finfo(W.dtype).eps if tolerance is None else number("tolerance", tolerance, 0)
    if W.shape[-2] > W.shape[-1]:
        return _velocity(W.mT, gradient.mT, depth, share).mT
    return _velocity(W, gradient, depth, share)


def _velocity(W: Tensor, G: Tensor, depth: int, tolerance: float) -> Tensor:
    U, s, V = thin_svd(W)
    s = torch.where(s <= tolerance * s[..., :1], 0.0, s)
    velocity: Tensor = _Velocity.apply(W, G, U, s, V, depth)  # type: ignore[no-untyped-call]
    return velocity


class _Velocity(Function):
    """Linear in G and self-adjoint."""

    generate_vmap_rule = True

    @staticmethod
    def forward(W: Tensor, G: Tensor, U: Tensor, s: Tensor, V: Tensor, depth: int) -> Tensor:
        return -precondition(G, U, s, V, depth)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.depth = inputs[-1]
        ctx.save_for_backward(*inputs[:-1])

    @staticmethod
    def backward(ctx: Any, Z: Tensor) -> tuple[Tensor | None, ...]:
        W, G, U, s, V = ctx.saved_tensors
        in_W = in_G = None
        if ctx.needs_input_grad[0]:
            in_W = _SlopeInW.apply(W, G, Z, U, s, V, ctx.depth)  # type: ignore[no-untyped-call]
        if ctx.needs_input_grad[1]:
            in_G = _Velocity.apply(W, Z, U, s, V, ctx.depth)  # type: ignore[no-untyped-call]
        return in_W, in_G, None, None, None, None


class _SlopeInW(Function):
    """The gradient of <Z, velocity> in W."""

    generate_vmap_rule = True

    @staticmethod
    def forward(W: Tensor, G: Tensor, Z: Tensor, U: Tensor, s: Tensor, V: Tensor, depth: int) -> Tensor:
        return -slope_of_preconditioned(G, Z, U, s, V, depth)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.depth = inputs[-1]
        ctx.save_for_backward(*inputs[:-1])

    @staticmethod
    def backward(ctx: Any, Y: Tensor) -> tuple[Tensor | None, ...]:
        W, G, Z, U, s, _ = ctx.saved_tensors
        with torch.enable_grad():
            inputs = [roots.variable(tensor) for tensor in (W, G, Z)]
            velocity = roots.velocity(inputs[0], inputs[1], U, s, ctx.depth)
            (slope,) = torch.autograd.grad(velocity, inputs[0], inputs[2], create_graph=True)
        keep = torch.is_grad_enabled()
        found = torch.autograd.grad(slope, inputs, Y, create_graph=keep, materialize_grads=True)
        return *found, None, None, None, None


def precondition(G: Tensor, U: Tensor, s: Tensor, V: Tensor, depth: int) -> Tensor:
    """U (C o (U^T G V)) V^T of G [..., rows, cols], rows <= cols; without a graph."""
    x = s.pow(2 / depth)
    turned = U.mT @ G
    inside = complete_symmetric(x, x, depth - 2) * x[..., None, :]  # C less its value for columns outside V
    return U @ ((inside * (turned @ V)) @ V.mT + x.pow(depth - 1)[..., None] * turned)


def slope_of_preconditioned(G: Tensor, Z: Tensor, U: Tensor, s: Tensor, V: Tensor, depth: int) -> Tensor:
    """The gradient of <Z, U (C o (U^T G V)) V^T> in W; without a graph.

    With A = (W W^T)^{1/N}, B = (W^T W)^{1/N} this is sum_j <Z, A^j G B^{N-1-j}>.  In the singular basis d(x^j) is a
    divided difference, so that its slopes M in A and B are sums of h_{N-2}(x_a, x_b, x_c) over one index; and
    A^N = W W^T gives dA_ab = (s_a dW_ba + s_b dW_ab) / C_ab, which is 0 / 0 for two zero values: taken as 0.
    """
    if depth == 1:
        return torch.zeros_like(G)
    x = s.pow(2 / depth)
    *lower, C = rising_degrees(x, x, depth - 1)
    TG, TZ = U.mT @ G, U.mT @ Z
    G_in, Z_in = TG @ V, TZ @ V
    square = U.shape[-2] == V.shape[-2]
    if not square:  # parts of columns outside V
        G_out, Z_out = TG - G_in @ V.mT, TZ - Z_in @ V.mT
    in_A, in_B = torch.zeros_like(G_in), torch.zeros_like(G_in)
    power = torch.ones_like(x)
    for r, weights in enumerate(reversed(lower)):  # h_{N-2}(a, b, c) = sum_r h_{N-2-r}(a, b) c^r
        pairs = (Z_in * power[..., None, :]) @ G_in.mT
        in_A = in_A + weights * (pairs if square or r else pairs + Z_out @ G_out.mT)
        in_B = in_B + weights * (G_in.mT @ (Z_in * power[..., None]))
        power = power * x
    inverse, by_s = reciprocal(C), s[..., None]
    inner = (inverse * (in_A + in_A.mT)) * by_s.mT + by_s * (inverse * (in_B + in_B.mT))
    if square:
        return U @ inner @ V.mT
    outside = (lower[-1] * G_in).mT @ Z_out + (lower[-1] * Z_in).mT @ G_out
    return U @ (inner @ V.mT + (s * reciprocal(x.pow(depth - 1)))[..., None] * outside)
