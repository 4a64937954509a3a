"""R(W) = ||W||_* / ||W||_F, a penalty that scales do not change (Zhao 2022): value, slope and pull-backs, one SVD each.

dR/dW = U V^T / ||W||_F - ||W||_* W / ||W||_F^3
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from irkernels._arguments import integer, number, real
from irkernels.functional import chain_equation, gradients, multi_dot
from irkernels.spectrum.decomposition import thin_svd
from irkernels.spectrum.matrices import as_matrices
from irkernels.spectrum.norms import nuclear_norm, polar


def nuclear_to_frobenius(W: Tensor) -> Tensor:
    """||W||_* / ||W||_F of W [..., rows, cols]: shape [...], between 1 and sqrt(rank); 0 for W = 0.

    Twice differentiable where W has full rank, repeated singular values included.  Of W = irk.multi_dot(factors),
    added to a loss of the same W, it costs one decomposition: its slope joins the loss's cotangent before the
    chain's one backward sweep.  Raises what singular_values raises.
    """
    W = as_matrices("nuclear_to_frobenius", W)
    W = W / _size(W, (-2, -1))  # squares stay in range; what R has no part in, its derivatives have none in either
    return nuclear_norm(W) / _nonzero(torch.linalg.matrix_norm(W))


def nuclear_to_frobenius_slope(W: Tensor) -> tuple[Tensor, Tensor]:
    """(R [...], dR/dW [..., rows, cols]) from one decomposition, without a graph; zero values have slope 0."""
    W = as_matrices("nuclear_to_frobenius_slope", W).detach()
    size = _size(W, (-2, -1))
    W = W / size
    U, s, V = thin_svd(W)
    nuclear, frobenius = s.sum(-1), _nonzero(torch.linalg.vector_norm(s, dim=-1))
    share = nuclear / frobenius
    slope = (polar(U, s, V) - share[..., None, None] * W / frobenius[..., None, None]) / frobenius[..., None, None]
    return share, slope / size


def nuclear_to_frobenius_velocity(values: Tensor, depth: int) -> Tensor:
    """ds/dt [..., k] that gradient flow on R alone gives the spectrum s [..., k] of a balanced depth-N chain.

    -N s_r^{2-2/N} (1/||W||_F - ||W||_* s_r / ||W||_F^3): values above ||W||_F^2 / ||W||_* grow, those below shrink.
    """
    depth = integer("depth", depth, 1)
    size = _size(values, (-1,))
    shares = values / size
    frobenius = _nonzero(torch.linalg.vector_norm(shares, dim=-1, keepdim=True))
    slope = (1 - shares.sum(-1, keepdim=True) / frobenius * (shares / frobenius)) / frobenius / size
    return -depth * values.pow(2 - 2 / depth) * slope


def penalised_gradients(
    factors: Sequence[Tensor], weight: float | Tensor, gradient: Tensor | None = None
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """(R(W) [...], the gradients of L(W) + weight R(W) in every factor), W = factors[0] @ factors[1] @ ...

    One decomposition and one backward sweep: the cotangent G + weight dR/dW is pulled back once.
    factors: [..., n_k, n_{k+1}]; weight: a number, or [...] one a trial; gradient: G = dL/dW of W's shape (None: 0).
    Without a graph.  Raises what multi_dot and gradients raise.
    """
    if isinstance(factors, Tensor) or not isinstance(factors, Sequence) or not factors:
        raise TypeError("penalised_gradients: factors must be a sequence of one matrix at least")
    factors = tuple(
        as_matrices("penalised_gradients", f, f"factor {i}").detach().to(f.dtype) for i, f in enumerate(factors)
    )
    W = multi_dot(factors) if len(factors) != 1 else factors[0]
    value, slope = nuclear_to_frobenius_slope(W)
    if not isinstance(weight, Tensor):
        weight = torch.tensor(number("weight", weight))
    elif weight.dim() and weight.shape != value.shape:
        raise ValueError(f"weight must be one number, or {list(value.shape)}, got {list(weight.shape)}")
    weight = real("weight", weight).to(slope)
    cotangent = (weight[..., None, None] * slope).to(W.dtype)
    if gradient is not None:
        as_matrices("penalised_gradients", gradient, "gradient")
        if gradient.shape != W.shape or gradient.dtype != W.dtype or gradient.device != W.device:
            raise ValueError(
                f"gradient is {list(gradient.shape)}, {gradient.dtype} on {gradient.device}; W is {list(W.shape)},"
                f" {W.dtype} on {W.device} (they must be alike)"
            )
        cotangent = cotangent + gradient
    equation = chain_equation(len(factors), row=False, column=False)
    return value, gradients(equation, *factors, cotangent=cotangent)


def _size(tensor: Tensor, axes: tuple[int, ...]) -> Tensor:
    """The power of two at the largest number along the axes, kept; 1 where there is none, or it is not finite."""
    if 0 in tensor.shape:
        return tensor.new_ones(())
    largest = tensor.detach().abs().amax(axes, keepdim=True)
    usual = largest.isfinite() & (largest > 0)
    limit = 1 - math.frexp(torch.finfo(largest.dtype).tiny)[1]  # beyond it the power or its reciprocal is no number
    exponent = torch.frexp(torch.where(usual, largest, torch.ones_like(largest))).exponent.clamp(-limit, limit)
    return torch.ldexp(torch.ones_like(largest), exponent)


def _nonzero(norm: Tensor) -> Tensor:
    return torch.where(norm == 0, torch.ones_like(norm), norm)
