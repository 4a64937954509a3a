"""What training adds to a loss: penalties recovered from gradients (paper 7), norms along gradient flow (paper 17)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from irkernels._arguments import integer, number, real, with_numbers

_BISECTIONS = 200  # halve the bracket of a ridge in log scale down to rounding


def recover_penalties(
    loss: Callable[..., Tensor], penalties: Sequence[Callable[..., Tensor]], parameters: Sequence[Tensor]
) -> tuple[Tensor, Tensor]:
    """Gradient matching (Rudoler et al. 2026): lambda = argmin |dL + sum_k lambda_k dR_k|^2, and the residual's share.

    loss and penalties: scalar functions of the parameters, differentiated where these stand (a trained model's).
    Returns lambda [K] and |dL + sum lambda dR| / |dL| (0: the point is stationary for the penalised loss; NaN where dL
    vanishes).  Raises ValueError without penalties.
    """
    if not penalties:
        raise ValueError("recover_penalties: penalties is empty; at least one function of the parameters is needed")
    leaves = [parameter.detach().requires_grad_() for parameter in parameters]
    gradient, *columns = (_flat_gradient(function, leaves) for function in (loss, *penalties))
    matrix = torch.stack(columns, dim=1)
    found = torch.linalg.lstsq(matrix, -gradient[:, None], driver="gelsd" if matrix.device.type == "cpu" else None)
    residual = gradient + matrix @ found.solution[:, 0]
    return found.solution[:, 0], torch.linalg.vector_norm(residual) / torch.linalg.vector_norm(gradient)


def early_stopping_penalty(X: Tensor, lr: float, steps: int) -> Tensor:
    """The matrix Lambda_t whose ridge solution is gradient descent's step t from 0 on |X w - y|^2 / (2n): [p, p].

    Lambda_t = V diag( s / ((1 - lr s)^{-t} - 1) ) V^T,  X^T X / n = V diag(s) V^T (Rudoler et al. 2026); for s = 0 the
    limit 1 / (lr t).  w_t minimises the loss + w^T Lambda_t w / 2.  Raises ValueError unless 0 < lr < 1 / max s
    and X is finite, TypeError for what is no real matrix or number.
    """
    integer("steps", steps, 1)
    if with_numbers("X", real("early_stopping_penalty: X", X)).dim() < 2 or X.numel() == 0 or not X.isfinite().all():
        raise ValueError(f"X must be finite [..., n, p], neither of them 0; got {list(X.shape)}")
    number("lr", lr)
    values, vectors = torch.linalg.eigh(X.mT @ X / X.shape[-2])
    values = values.clamp(min=0)
    if not (lr > 0 and lr * float(values[..., -1].max()) < 1):
        raise ValueError(f"lr must be positive and below 1 / the largest eigenvalue of X^T X / n, got {lr}")
    grown = torch.expm1(-steps * torch.log1p(-lr * values))
    zero = grown == 0
    weights = torch.where(zero, 1 / (lr * steps), values / torch.where(zero, torch.ones_like(grown), grown))
    penalty: Tensor = (vectors * weights[..., None, :]) @ vectors.mT
    return penalty


def gradient_flow_norm_ratio(X: Tensor, y: Tensor, times: Tensor) -> Tensor:
    """|w(t)| over the least norm of any w of the same risk: [len(times)], at least 1 (Schoelpple et al. 2026).

    Gradient flow from 0 on |X w - y|^2 / (2n): w(t) = V diag( (1 - e^{-s t}) / sqrt(s n) ) U^T y.  The least norm at
    a given risk is a ridge solution's, found by bisection.  X: [n, p], y: [n], times: positive.
    Raises TypeError (kind, dtype) and ValueError (shapes, X not finite).
    """
    for name, given, axes in (("X", X, "n p"), ("y", y, "n"), ("times", times, "k")):
        if real(f"gradient_flow_norm_ratio: {name}", given).dim() != len(axes.split()):
            raise ValueError(f"{name} must be [{', '.join(axes.split())}], got {list(given.shape)}")
        if given.dtype != X.dtype or given.device != X.device:
            raise TypeError(f"{name} is {given.dtype} on {given.device}, X {X.dtype} on {X.device} (must be equal)")
    if len(y) != len(with_numbers("X", X)) or X.numel() == 0 or not X.isfinite().all():
        raise ValueError(f"X must be finite [n, p] with n of y, neither of them 0; got {list(X.shape)} and {len(y)}")
    n = X.shape[0]
    U, sigma, _ = torch.linalg.svd(X, full_matrices=False)
    kept = sigma > torch.finfo(X.dtype).eps * max(X.shape) * sigma[0]
    sigma, coefficients = sigma[kept], (U.mT @ y)[kept]
    s = sigma**2 / n
    decay = torch.exp(-times[:, None] * s)  # of each residual coefficient
    norm = torch.linalg.vector_norm(-torch.expm1(-times[:, None] * s) * coefficients / sigma, dim=1)
    risk = (decay * coefficients).square().sum(1)
    low, high = torch.full_like(times, -200.0), torch.full_like(times, 200.0)  # of log ridge: risk rises with it
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        left = torch.sigmoid(middle[:, None] - s.log())  # ridge / (ridge + s)
        above = (left * coefficients).square().sum(1) > risk
        low, high = torch.where(above, low, middle), torch.where(above, middle, high)
    share = torch.sigmoid(s.log() - ((low + high) / 2)[:, None])
    ratio: Tensor = norm / torch.linalg.vector_norm(share * coefficients / sigma, dim=1)
    return ratio


def _flat_gradient(function: Callable[..., Tensor], leaves: Sequence[Tensor]) -> Tensor:
    with torch.enable_grad():
        found = torch.autograd.grad(function(*leaves), leaves, allow_unused=True, materialize_grads=True)
    return torch.cat([each.flatten() for each in found])
