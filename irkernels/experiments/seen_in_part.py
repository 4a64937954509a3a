"""Low-rank tensors to be completed, of given Frobenius norm: Razin, Cohen 2020; Razin, Maman, Cohen 2021, 2022."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from irkernels.families.streams import seeded_generators
from irkernels.nn import Product
from irkernels.observed import Observed

Truth = Callable[[torch.Generator], Product]
"""A model drawn from the generator, whose product, rescaled, is the truth."""


def seen_in_part(
    truth: Truth, norm: float, observed: int, trials: int, seed: int, dtype: torch.dtype
) -> tuple[Tensor, Observed]:
    """Truths [trials, *shape] of this norm, seen at the same `observed` positions, drawn without replacement."""
    each = [truth(generator)().detach().double() for generator in seeded_generators(trials, seed)]
    dense = torch.stack([tensor * (norm / torch.linalg.vector_norm(tensor)) for tensor in each])
    shape = dense.shape[1:]
    picked = torch.randperm(shape.numel(), generator=torch.Generator().manual_seed(seed))[:observed]
    at = torch.stack(torch.unravel_index(picked, shape), dim=1)
    return dense.to(dtype), Observed(at, dense.flatten(1)[:, picked].to(dtype), shape)
