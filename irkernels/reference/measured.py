"""Measurements of W in plain torch: what Sensing, RankOneSensing and Regression predict, from the product itself."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from irkernels.reference.einsum import einsum


def sensing(W: Tensor, operators: Tensor) -> Tensor:
    """<operator_m, W>: [..., m] for W [..., *shape], operators [m, *shape]."""
    axes = operators.dim() - 1
    return W.flatten(W.dim() - axes) @ operators.flatten(1).t() if axes else W[..., None] * operators


def rank_one_sensing(W: Tensor, vectors: Sequence[Tensor]) -> Tensor:
    """W contracted with vector m of each axis: [..., m] for W [..., d_1, ..., d_N], vectors N times [m, d_n]."""
    prediction = einsum("...i,mi->...m", W, vectors[-1])
    for each in reversed(vectors[:-1]):
        prediction = einsum("...im,mi->...m", prediction, each)
    return prediction


def regression(W: Tensor, X: Tensor, trials: bool = False) -> Tensor:
    """X W^T: [n, *out] for W [*out, *in], X [n, *in], and [trials, n, *out] for W [trials, *out, *in].

    torch.nn.functional.linear for a matrix and no trials.
    """
    inputs = X.dim() - 1
    flat = W.flatten(W.dim() - inputs) if inputs else W[..., None]
    return (flat @ X.reshape(len(X), -1).t()).movedim(-1, int(trials))
