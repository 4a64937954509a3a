"""Coordinates to look at a product at."""

from __future__ import annotations

import torch
from torch import Tensor

from irkernels.reference.equation import read_equation
from irkernels.testing.product import Product


def sample_coordinates(product: Product, nnz: int, seed: int) -> Tensor:
    """[nnz, output letters] int64, uniform, the last one equal to the first; none where the output is empty."""
    shape = read_equation(product.equation, tuple(torch.empty(shape) for shape in product.shapes)).shape
    nnz = 0 if 0 in shape else nnz
    generator = torch.Generator().manual_seed(seed)
    at = torch.zeros(nnz, len(shape), dtype=torch.int64)
    for column, extent in enumerate(shape):
        at[:, column] = torch.randint(max(extent, 1), (nnz,), generator=generator)
    at[-1:] = at[:1]
    return at
