"""Fresh random inputs, as NumPy arrays, the same for every peer given the same seed."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.workloads import Completion, Product, TensorCompletion

LEARNING_RATE = 0.01  # stable on every row: no peer's run may leave the finite numbers


@functools.lru_cache(maxsize=1)  # the peers of a process share a round's inputs: nobody writes to them
def operands(row: Product, dtype: str, seed: int) -> tuple[list[NDArray], NDArray]:
    """Operands and a cotangent of the product's shape, all standard normal."""
    draw = np.random.default_rng(seed)
    arrays = [np.asarray(draw.standard_normal(shape, dtype=dtype)) for shape in [*row.shapes, row.output_shape]]
    return arrays[:-1], arrays[-1]


@dataclass(frozen=True)
class Completing:
    """A completion problem: entries of a random product of rank at most 5, and initial factors near it in scale."""

    at: NDArray  # [nnz, order] int64, distinct
    values: NDArray  # [nnz]
    factors: list[NDArray]  # of a chain [n, n], or [trials, n, n]


def completing(row: Completion, dtype: str, seed: int, trials: int | None = None) -> Completing:
    draw = np.random.default_rng(seed)
    flat = draw.choice(row.n * row.n, size=row.observed, replace=False)
    rank = min(5, row.n)
    left, right = draw.standard_normal((row.n, rank)), draw.standard_normal((rank, row.n))
    truth = left @ right / rank**0.5
    shape = (row.n, row.n) if trials is None else (trials, row.n, row.n)
    factors = [(draw.standard_normal(shape) / row.n**0.5).astype(dtype) for _ in range(row.depth)]
    at = np.stack([flat // row.n, flat % row.n], axis=1)
    return Completing(at, truth.reshape(-1)[flat].astype(dtype), factors)


def completing_tensor(row: TensorCompletion, dtype: str, seed: int) -> Completing:
    """Entries of a tensor of rank 3, at [nnz, order], and factors whose product has entries of variance 1."""
    draw = np.random.default_rng(seed)
    shape = row.product.output_shape
    if not row.formed:
        return _completing_high_order(row, dtype, draw)
    at = np.stack(np.unravel_index(draw.choice(math.prod(shape), size=row.observed, replace=False), shape), axis=1)
    truth = [draw.standard_normal((extent, 3)) for extent in shape]
    values = np.prod([factor[at[:, mode]] for mode, factor in enumerate(truth)], axis=0).sum(1)
    scale = _summands(row) ** (-0.5 / len(row.product.shapes))
    factors = [(draw.standard_normal(operand) * scale).astype(dtype) for operand in row.product.shapes]
    return Completing(at, (values / values.std()).astype(dtype), factors)


def _completing_high_order(row: TensorCompletion, dtype: str, draw: np.random.Generator) -> Completing:
    """Products of so many normal numbers would vanish: factors of random sign, alike in size; entries of variance 1."""
    shape = row.product.output_shape
    at = draw.integers(0, shape, (row.observed, len(shape)))
    scale = _summands(row) ** (-0.5 / len(shape))
    factors = [scale * np.exp(0.01 * draw.standard_normal(f)) * draw.choice([-1.0, 1.0], f) for f in row.product.shapes]
    return Completing(at, draw.standard_normal(row.observed).astype(dtype), [f.astype(dtype) for f in factors])


def _summands(row: TensorCompletion) -> int:
    """Products that an entry is the sum of."""
    output = row.product.equation.split("->")[1]
    return math.prod(extent for letter, extent in row.product.extents if letter not in output)
