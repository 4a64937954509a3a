"""The verbs as functions to differentiate: of all that they are differentiable in, for any product of the registry."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import reduce
from operator import add
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from irkernels.observed import Observed
from irkernels.reference.equation import read_equation
from irkernels.testing.product import Product
from irkernels.testing.sampling import sample_coordinates

Function = Callable[..., Any]  # of (verbs, *tensors)


def normal(*shape: int, seed: int) -> Tensor:
    """Standard normal float64, the same for the same seed."""
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def differentiable_functions(product: Product, losses: tuple[str, ...]) -> Iterator[tuple[str, Function, list[Tensor]]]:
    """(name, function of (verbs, *tensors), tensors) for each verb; `verbs` is irkernels or irkernels.reference.

    Operands are contiguous. Listed are five entries, one of them twice and one of weight 0 (none of an empty output).
    """
    equation = product.equation
    operands = [operand.clone(memory_format=torch.contiguous_format) for operand in product.operands(seed=3)]
    read = read_equation(equation, tuple(operands))
    at = sample_coordinates(product, 5, seed=5)
    yield "einsum", lambda v, *f: v.einsum(equation, *f), operands
    yield "entries", lambda v, *f: v.entries(equation, *f, at=at), operands
    dense = [normal(*read.output_shape, seed=7), *operands]
    yield "gradients", lambda v, g, *f: v.gradients(equation, *f, cotangent=g), dense
    listed = [normal(*read.dense, len(at), seed=8), *operands]
    yield "listed gradients", lambda v, g, *f: v.gradients(equation, *f, cotangent=(at, g)), listed
    if len(at) == 0:
        return
    observed = Observed(at, 2 * normal(len(at), seed=6), read.shape, torch.arange(0.0, len(at)))
    for loss in losses:
        yield loss, lambda v, *f, loss=loss: v.completion_loss(equation, *f, observed=observed, loss=loss), operands


def copies(tensors: list[Tensor], count: int = 3) -> list[Tensor]:
    """Different copies of each tensor, on its first axis."""
    return [torch.stack([tensor * (1 + i / 4) + i / 8 for i in range(count)]) for tensor in tensors]


def energy(function: Callable[..., Any]) -> Callable[..., Tensor]:
    """A number whose derivatives of every order depend on all outputs of the function."""
    return lambda *tensors: reduce(add, (((1 + each) ** 2).sum() for each in tree_leaves(function(*tensors))))


def assert_equal(found: Any, expected: Any, what: object) -> None:
    """Trees of finite tensors of the same shapes and dtypes, equal to 1e-10 of the largest element."""
    found, expected = tree_leaves(found), tree_leaves(expected)
    assert len(found) == len(expected) > 0, f"{len(found)} tensors, expected {len(expected)}, {what}"
    for a, b in zip(found, expected):
        assert a.shape == b.shape and a.dtype == b.dtype, f"{tuple(a.shape)}, expected {tuple(b.shape)}, {what}"
        if b.numel():
            off, most = float((a - b).detach().abs().max()), float(b.detach().abs().max())
            assert off <= 1e-10 * max(1.0, most) < float("inf"), f"off by {off} of {most}, {what}"
