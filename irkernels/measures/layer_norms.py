"""Products of layer norms over margins (Neyshabur et al. 2017, papers 1 and 18): capacities of a chain of layers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import reduce

import torch
from torch import Tensor

from irkernels._arguments import flag, number, real, strided, with_numbers
from irkernels.measures.factors import checked_chain
from irkernels.measures.path_norm import path_norm

_KINDS = ("frobenius", "l1_path", "l2_path", "spectral")


def group_norm(factor: Tensor, p: float = 2, q: float = 2) -> Tensor:
    """||F||_{p,q}: the q-norm over rows (units) of their p-norms, [...] of F [..., rows, columns]."""
    real("factor", factor)
    p, q = _order("p", p), _order("q", q)
    norms: Tensor = torch.linalg.vector_norm(torch.linalg.vector_norm(factor, ord=p, dim=-1), ord=q, dim=-1)
    return norms


def schatten_norm(factor: Tensor, p: float = math.inf) -> Tensor:
    """The p-norm of the singular values: spectral (inf), Frobenius (2), trace norm (1); p >= 1."""
    if real("factor", factor).dim() < 2:
        raise ValueError(f"factor must be [..., rows, columns], got {list(factor.shape)}")
    if not with_numbers("factor", factor).isfinite().all():
        raise ValueError("factor has NaN or infinite entries, of which no singular values can be told")
    norms: Tensor = torch.linalg.vector_norm(torch.linalg.svdvals(factor), ord=_order("p", p), dim=-1)
    return norms


def _order(name: str, value: float) -> float:
    """The order of a norm. Raises TypeError and ValueError."""
    if not isinstance(value, (int, float)):
        raise TypeError(f"{name} must be a number, got {type(value).__name__}")
    if not value > 0:
        raise ValueError(f"{name} must be positive, got {value}")
    return float(value)


def norm_product(factors: Sequence[Tensor], p: float = 2, q: float = 2, schatten: bool = False) -> Tensor:
    """The product over layers of ||F_j||_{p,q}, or of their Schatten-p norms: [...].  Raises for what is no chain."""
    factors = checked_chain("norm_product", factors)
    schatten = flag("schatten", schatten)
    norms = [schatten_norm(factor, p) if schatten else group_norm(factor, p, q) for factor in factors]
    return reduce(torch.mul, norms)


def spectral_complexity(factors: Sequence[Tensor], kind: str, margin: float | Tensor = 1.0) -> Tensor:
    """The measures of paper 18, section 2: a product over layers divided by margin^2: [...].

    frobenius  prod_j 4 ||F_j||_F^2               l1_path  (1^T prod_j |2 F_j| 1)^2
    spectral   prod_j h_j ||F_j||_2^2             l2_path  1^T prod_j (4 h_j F_j^2) 1
    with h_j the rows (units) of factor j.  Raises ValueError for an unknown kind and what path_norm raises.
    """
    factors = checked_chain("spectral_complexity", factors)
    if kind not in _KINDS:
        raise ValueError(f"kind must be one of {', '.join(_KINDS)}, got {kind!r}")
    depth, units = len(factors), math.prod(factor.shape[-2] for factor in factors)
    if kind == "frobenius":
        value = 4**depth * norm_product(factors) ** 2
    elif kind == "spectral":
        value = units * norm_product(factors, math.inf, schatten=True) ** 2
    elif kind == "l1_path":
        value = (2**depth * path_norm(factors, 1)) ** 2
    else:
        value = 4**depth * units * path_norm(factors, 2) ** 2
    if not isinstance(margin, Tensor):
        margin = number("margin", margin)
    elif margin.dim() and margin.shape != value.shape:
        raise ValueError(f"margin must be one number, or {list(value.shape)}, got {list(margin.shape)}")
    bound: Tensor = value / margin**2
    return bound


def margin(outputs: Tensor, labels: Tensor, quantile: float = 0.05) -> Tensor:
    """The quantile over samples of f(x)[label] - max of the others (the papers: the 5th percentile).

    outputs: [n, classes].  labels: int64 [n].  Raises ValueError for shapes, fewer than two classes, and the quantile.
    """
    real("margin: outputs", outputs)
    if strided("margin: labels", labels).dtype != torch.int64:
        raise TypeError(f"margin: labels must be int64, got {labels.dtype}")
    if outputs.dim() != 2 or outputs.shape[1] < 2 or labels.shape != outputs.shape[:1]:
        raise ValueError(
            f"margin: outputs must be [n, classes] with two classes at least and labels [n], got"
            f" {list(outputs.shape)} and {list(labels.shape)}"
        )
    if len(with_numbers("margin: labels", labels)) == 0 or not ((labels >= 0) & (labels < outputs.shape[1])).all():
        raise ValueError(f"margin: labels must be in [0, {outputs.shape[1]}), one at least")
    quantile = number("quantile", quantile)
    if not 0 <= quantile <= 1:
        raise ValueError(f"quantile must be between 0 and 1, got {quantile}")
    if labels.device != outputs.device:
        raise ValueError(f"margin: labels are on {labels.device}, outputs on {outputs.device}")
    right = outputs.gather(1, labels[:, None])
    others = outputs.scatter(1, labels[:, None], -math.inf).amax(1)
    margins = right[:, 0] - others
    return torch.quantile(margins if margins.dtype == torch.float64 else margins.float(), quantile).to(outputs.dtype)
