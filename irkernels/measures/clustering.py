"""Intraclass clustering (Carbonnelle, De Vleeschouwer 2021, paper 4): how hidden units tell subclasses of one class.

Plain torch; reductions over samples, no product.
"""

from __future__ import annotations

import torch
from torch import Tensor

from irkernels._arguments import number, on_one_device, real, strided, with_numbers


def selectivity(activations: Tensor, classes: Tensor, subclasses: Tensor, eps: float = 1e-7) -> Tensor:
    """c_1: median over subclasses of the max over neurons of (mu_sub - mu_rest) / (sd_sub + sd_rest + eps): a scalar.

    rest: the other samples of the subclass's class.  activations: [n, neurons] (of all layers, before the
    nonlinearity); a neuron that is negative everywhere counts as 0.  classes, subclasses: integers [n], a subclass
    within one class.  A class of one subclass is left out.  Raises ValueError for shapes and where no class is left.
    """
    activations = _checked(activations, classes, subclasses)
    eps = number("eps", eps, 0.0)
    alive = ~(activations < 0).all(0)
    best = []
    for subclass in subclasses.unique():
        own = subclasses == subclass
        rest = (classes == classes[own][0]) & ~own
        if not rest.any():
            continue
        a, b = activations[own], activations[rest]
        spread = a.std(0, correction=0) + b.std(0, correction=0) + eps
        best.append(((a.mean(0) - b.mean(0)) / spread * alive).max())
    if not best:
        raise ValueError("selectivity: no class has two subclasses")
    return torch.quantile(torch.stack(best), 0.5)


def silhouette(activations: Tensor, classes: Tensor, subclasses: Tensor) -> Tensor:
    """c_2 of one layer: median over subclasses of their samples' mean silhouette score within their class: a scalar.

    With cosine distances, a the mean distance to the rest of the sample's own subclass, b the least mean distance to
    another subclass of the class: (b - a) / max(a, b); 0 for a subclass of one sample.  Arguments and errors as for
    selectivity; the paper takes the maximum over layers for each subclass before the median.
    """
    activations = _checked(activations, classes, subclasses)
    unit = torch.nn.functional.normalize(activations, dim=1)
    scores = []
    for label in classes.unique():
        members = classes == label
        groups = subclasses[members].unique()
        if len(groups) < 2:
            continue
        distances = 1 - unit[members] @ unit[members].T
        own = subclasses[members][:, None] == groups
        sums, counts = distances @ own.to(distances), own.sum(0)
        a = (sums.gather(1, own.int().argmax(1, keepdim=True))[:, 0]) / (counts[own.int().argmax(1)] - 1).clamp(min=1)
        b = (sums / counts).masked_fill(own, torch.inf).amin(1)
        score = (b - a) / torch.maximum(a, b).clamp(min=torch.finfo(a.dtype).tiny)
        score = score.masked_fill(counts[own.int().argmax(1)] == 1, 0)
        scores += [score[own[:, group]].mean() for group in range(len(groups))]
    if not scores:
        raise ValueError("silhouette: no class has two subclasses")
    return torch.quantile(torch.stack(scores), 0.5)


def _checked(activations: Tensor, classes: Tensor, subclasses: Tensor) -> Tensor:
    """The activations, of half type in float32."""
    real("activations", activations)
    for name, labels in (("classes", classes), ("subclasses", subclasses)):
        if strided(name, labels).is_floating_point() or labels.is_complex():
            raise TypeError(f"{name} must be integers, got {labels.dtype}")
        on_one_device(name, with_numbers(name, labels), "activations", activations)
    if activations.dim() != 2 or not classes.shape == subclasses.shape == activations.shape[:1]:
        raise ValueError(
            f"activations must be [n, neurons], classes and subclasses [n], got {list(activations.shape)},"
            f" {list(classes.shape)} and {list(subclasses.shape)}"
        )
    return activations.to(torch.promote_types(activations.dtype, torch.float32))
