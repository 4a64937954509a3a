"""Penalties on functions rather than weights: norms and confidence, invariance.

Joo, Chung 2020 (paper 5), Botev et al. 2022 (paper 13).  Plain torch on logits, differentiable, no product.
"""

from __future__ import annotations

from torch import Tensor

from irkernels._arguments import number, real


def function_norm(logits: Tensor, p: float = 2) -> Tensor:
    """The mean over samples of |f(x)|_p^p / classes: a scalar, of logits [n, classes] (paper 5)."""
    _check("function_norm", logits, 2)
    if not number("p", p) > 0:
        raise ValueError(f"p must be positive, got {p}")
    return logits.abs().pow(p).mean()


def confidence_penalty(logits: Tensor) -> Tensor:
    """Minus the mean entropy of the predictive distribution: a scalar in [-log classes, 0] (paper 5)."""
    _check("confidence_penalty", logits, 2)
    log_p = logits.log_softmax(-1)
    return (log_p.exp() * log_p).sum(-1).mean()


def invariance_penalty(logits: Tensor) -> Tensor:
    """Disagreement of the predictions for K augmentations of each input (paper 13): a scalar, 0 where they agree.

    logits: [K, n, classes].  The mean over inputs and pairs i < j of KL(p_i | p_j) + KL(p_j | p_i), which is
    2 / (K - 1) (sum_i <p_i, l_i> - <sum p, sum l> / K) with l = log p.  Raises ValueError for fewer than two.
    """
    _check("invariance_penalty", logits, 3)
    K = len(logits)
    if K < 2:
        raise ValueError(f"invariance_penalty: logits must be of two augmentations at least, got {K}")
    log_p = logits.log_softmax(-1)
    p = log_p.exp()
    own, crossed = (p * log_p).sum((0, -1)), (p.sum(0) * log_p.sum(0)).sum(-1)
    return (2 / (K - 1) * (own - crossed / K)).mean()


def _check(who: str, logits: Tensor, axes: int) -> None:
    real(f"{who}: logits", logits)
    if logits.dim() != axes:
        expected = "[n, classes]" if axes == 2 else "[augmentations, n, classes]"
        raise ValueError(f"{who}: logits must be {expected}, got {list(logits.shape)}")
