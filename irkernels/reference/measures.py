"""Measures of complexity in plain torch, written as the papers write them; signatures are irkernels.measures'."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor


def path_norm(factors: Sequence[Tensor], p: float = 2) -> Tensor:
    """The p-norm of the vector of all paths' weight products, each path enumerated (Neyshabur et al. 2017)."""
    sizes = [factor.shape[0] for factor in factors] + [factors[-1].shape[1]]
    total = factors[0].new_zeros(())
    for path in itertools.product(*map(range, sizes)):
        weight = factors[0].new_ones(())
        for factor, row, column in zip(factors, path, path[1:]):
            weight = weight * factor[row, column]
        total = total + weight.abs() ** p
    return total ** (1 / p)


def path_scales(factors: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """kappa for p = 2: d(phi_2^2) / d(w^2), by differentiating in the squares."""
    squares = [factor.detach().square().requires_grad_() for factor in factors]
    with torch.enable_grad():
        value = path_norm([square.sqrt() for square in squares]) ** 2
        return torch.autograd.grad(value, squares)


def relu_network(factors: Sequence[Tensor], X: Tensor, biases: Sequence[Tensor | None] | None = None) -> Tensor:
    """F_1 relu(F_2 .. relu(F_N x + b_N) .. + b_2) + b_1 for each row of X."""
    biases = [None] * len(factors) if biases is None else biases
    for position in reversed(range(len(factors))):
        X = torch.nn.functional.linear(X, factors[position], biases[position])
        X = X.relu() if position else X
    return X


def geometric_complexity(factors: Sequence[Tensor], X: Tensor, biases: Sequence[Tensor | None] | None = None) -> Tensor:
    """mean_x |J(x)|_F^2 by differentiating the network at each sample, so that its gradient is a double backward."""
    total = X.new_zeros(())
    for x in X:
        J = torch.autograd.functional.jacobian(
            lambda x: relu_network(factors, x[None], biases)[0], x, create_graph=True
        )
        total = total + J.square().sum()
    return total / len(X)


def invariance_penalty(logits: Tensor) -> Tensor:
    """The mean over inputs and pairs of augmentations of the symmetrised KL divergence."""
    divergences = []
    for first, second in itertools.combinations(logits.softmax(-1), 2):
        divergences += [(first * (first / second).log()).sum(-1) + (second * (second / first).log()).sum(-1)]
    return torch.stack(divergences).mean()


def silhouette_scores(distances: Tensor, labels: Tensor) -> Tensor:
    """The silhouette score of each sample, by its definition."""
    scores = []
    for i, label in enumerate(labels):
        own = (labels == label) & (torch.arange(len(labels)) != i)
        if not own.any():
            scores.append(distances.new_zeros(()))
            continue
        a = distances[i, own].mean()
        b = torch.stack([distances[i, labels == other].mean() for other in labels.unique() if other != label]).min()
        scores.append((b - a) / torch.maximum(a, b))
    return torch.stack(scores)
