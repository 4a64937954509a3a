"""Accuracy by one rule (values and all gradients, float32 and float64, against sums in extended precision):

    bound    each element: |found - exact| <= gamma * the product of absolute values, with u half the dtype's eps and
             gamma = 2 (sum of the contracted extents + number of factors) u
    mean     the geometric mean over all results of our largest error over torch.einsum's is at most 1.05
    worst    no result of a product has more than twice torch's largest error (root mean square over the draws: torch
             may be exact by luck in one), but for one rounding: of the result, or of the terms where these cancel

on normal, graded and cancelling factors. Half types give the float32 plan's results rounded once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

import irkernels as irk
from irkernels.testing import PRODUCTS, Product

MEAN, WORST = 1.05, 2.0
SEEDS = 7
KINDS = ("normal", "graded", "cancelling")
EXTENDED = np.finfo(np.longdouble).eps < 1e-18
# sums longer than the registry's: blocks of 128 and what is left of one, every way that two tensors can meet
LONG = (
    Product("long_dot", "i,i->", ((1500,), (1500,))),
    Product("long_rows", "ij,j->i", ((9, 1111), (1111,))),
    Product("long_columns", "ij,i->j", ((1111, 9), (1111,))),
    Product("long_chain", "ij,jk,kl->il", ((5, 300), (300, 257), (257, 4))),
    Product("long_gram", "ik,jk->ij", ((17, 700), (19, 700))),
    Product("long_trials", "bij,bjk->bik", ((3, 6, 513), (3, 513, 5))),
    Product("long_two_letters", "ijk,kjl->il", ((4, 30, 40), (40, 30, 5))),
    Product("long_cp", "ar,br,cr->abc", ((6, 400), (5, 400), (7, 400))),
)


@dataclass(frozen=True)
class Sum:
    """An equation whose terms repeat no letter, and the factors that it is made of."""

    inputs: tuple[str, ...]
    output: str

    def of(self, factors: list[NDArray]) -> NDArray:
        return np.einsum(",".join(self.inputs) + "->" + self.output, *factors, optimize="greedy")

    def gradient(self, position: int, factors: list[NDArray], cotangent: NDArray) -> NDArray:
        """What multiplies one factor: the sum with the cotangent in its place; letters of its own meet ones."""
        others = [p for p in range(len(factors)) if p != position]
        terms = (self.output, *(self.inputs[p] for p in others))
        given = [cotangent, *(factors[p] for p in others)]
        for axis, letter in enumerate(self.inputs[position]):
            if letter not in "".join(terms):
                terms, given = (*terms, letter), [*given, np.ones(factors[position].shape[axis], cotangent.dtype)]
        return Sum(terms, self.inputs[position]).of(given)

    def results(self, factors: list[NDArray], cotangent: NDArray) -> list[NDArray]:
        return [self.of(factors), *(self.gradient(p, factors, cotangent) for p in range(len(factors)))]


def explicit(product: Product) -> Sum | None:
    """The product as a Sum, a `...` as letters; None where a term repeats a letter, an axis broadcasts or is empty."""
    inputs, arrow, output = product.equation.replace(" ", "").partition("->")
    terms, extents = inputs.split(","), {}
    if not arrow or not all(map(math.prod, product.shapes)):
        return None
    if output.count("...") != max(term.count("...") for term in terms):
        return None
    for place, (term, shape) in enumerate(zip(terms, product.shapes)):
        dots = "XYZ"[: len(shape) - len(term.replace("...", ""))]
        terms[place] = term.replace("...", dots)
        output = output.replace("...", dots)
        if len(set(terms[place])) != len(shape):
            return None
        if any(extents.setdefault(letter, extent) != extent for letter, extent in zip(terms[place], shape)):
            return None
    return Sum(tuple(terms), output)


SUMS = [(product, found) for product in (*PRODUCTS, *LONG) if (found := explicit(product))]


def graded(drawn: NDArray, decades: float, draw: np.random.Generator) -> NDArray:
    """Elements of sizes spread over 10^-decades to 10^decades."""
    return drawn * 10.0 ** draw.uniform(-decades, decades, drawn.shape)


def cancelling(drawn: list[NDArray], of: Sum, draw: np.random.Generator) -> list[NDArray]:
    """Along each summed letter half the terms repeat the others, in one factor negated: 10^-6 of them is left.

    Which terms are a pair is drawn, so that no order of summation meets them by its shape.
    """
    negated: dict[str, NDArray] = {}
    for place, term in enumerate(of.inputs):
        for axis, letter in enumerate(term):
            half = drawn[place].shape[axis] // 2
            if letter in of.output or not half:
                continue
            first = letter not in negated
            order = negated.setdefault(letter, draw.permutation(drawn[place].shape[axis]))
            sign = -1 - 1e-6 if first else 1.0
            moved = np.moveaxis(drawn[place], axis, 0)
            moved[order[half : 2 * half]] = sign * moved[order[:half]]
    return drawn


def draws(product: Product, of: Sum, dtype: torch.dtype) -> Iterator[tuple[str, list[Tensor], Tensor]]:
    """(kind, factors, cotangent) of every kind and seed."""
    decades = 20 / (1 if dtype == torch.float64 else len(of.inputs) + 1)  # float32 ends at 10^38
    for seed in range(SEEDS):
        for kind in KINDS:
            drawn = [each.contiguous().numpy() for each in product.operands(seed)]
            draw = np.random.default_rng(seed)
            cotangent = draw.standard_normal(of.of(drawn).shape)
            if kind == "graded":
                *drawn, cotangent = (graded(each, decades, draw) for each in (*drawn, cotangent))
            elif kind == "cancelling":
                drawn = cancelling(drawn, of, draw)
            yield kind, [torch.tensor(each, dtype=dtype) for each in drawn], torch.tensor(cotangent, dtype=dtype)


def computed(einsum: Callable, equation: str, factors: list[Tensor], cotangent: Tensor) -> list[Tensor]:
    """The value, then the gradient of each factor."""
    leaves = [factor.clone().requires_grad_() for factor in factors]
    value = einsum(equation, *leaves)
    return [value.detach(), *torch.autograd.grad(value, leaves, cotangent)]


def gamma(of: Sum, factors: list[Tensor], which: int) -> float:
    """The elementwise bound's factor, for the value (0) or the gradient of factor `which` - 1."""
    extents = {letter: n for term, factor in zip(of.inputs, factors) for letter, n in zip(term, factor.shape)}
    kept = of.output if which == 0 else of.inputs[which - 1]
    summed = sum(extent for letter, extent in extents.items() if letter not in kept)
    return (summed + len(factors)) * torch.finfo(factors[0].dtype).eps


def root_mean_square(values: list[float]) -> float:
    return math.sqrt(math.fsum(value**2 for value in values) / len(values))


@pytest.mark.skipif(not EXTENDED, reason="this machine has no floating point beyond float64 to compare with")
@pytest.mark.parametrize("dtype", (torch.float32, torch.float64), ids=str)
def test_errors_beside_torch_and_the_bound(dtype: torch.dtype, threads: Callable[[int], None]) -> None:
    threads(1)  # faster at these sizes, and own kernels' bits do not depend on it
    rounding, logs = torch.finfo(dtype).eps / 2, []
    for product, of in SUMS:
        found: dict[str, list[tuple[float, float, float]]] = {}  # ours, torch's, the allowance
        for kind, factors, cotangent in draws(product, of, dtype):
            *wide, upstream = (each.numpy().astype(np.longdouble) for each in (*factors, cotangent))
            exact, scales = of.results(wide, upstream), of.results([*map(np.abs, wide)], np.abs(upstream))
            ours = computed(irk.einsum, product.equation, factors, cotangent)
            theirs = computed(torch.einsum, product.equation, factors, cotangent)
            for which, (own, peer, truth, scale) in enumerate(zip(ours, theirs, exact, scales, strict=True)):
                error, unit = np.abs(own.numpy() - truth), rounding * scale.max()
                what = f"{kind} {product}, " + ("value" if which == 0 else f"gradient of factor {which - 1}")
                assert (error <= gamma(of, factors, which) * scale).all(), f"{what}: beyond the bound"
                largest = float(error.max() / unit), float(np.abs(peer.numpy() - truth).max() / unit)
                tie = 1.0 if kind == "cancelling" else float(np.abs(truth).max() / scale.max())
                found.setdefault(what, []).append((*largest, tie))
                logs.append(math.log((largest[0] + 1 / 8) / (largest[1] + 1 / 8)))  # both may be exact
        for what, errors in found.items():
            own, peer, ties = map(list, zip(*errors))
            own, peer = root_mean_square(own), root_mean_square(peer)
            assert own <= WORST * peer + max(ties), f"{what}: error of {own:.3f} roundings, torch {peer:.3f}"
    assert len(logs) >= 1000
    mean = math.exp(math.fsum(logs) / len(logs))
    assert mean <= MEAN, f"geometric mean of error ratios {mean:.3f} over {len(logs)} results"


def neighbours(found: Tensor, wanted: Tensor) -> Tensor:
    """How many representable numbers lie from one to the other, element by element."""

    def ordered(x: Tensor) -> Tensor:
        bits = x.view(torch.int16).to(torch.int32)
        return torch.where(bits < 0, -(bits & 0x7FFF), bits)

    return (ordered(found) - ordered(wanted)).abs()


@pytest.mark.parametrize("dtype", (torch.bfloat16, torch.float16), ids=str)
def test_half_types_are_the_float32_plan_rounded_once(dtype: torch.dtype) -> None:
    results = 0
    for product in (*PRODUCTS, *LONG):
        if dtype not in product.dtypes:
            continue
        for seed in range(3):
            factors = product.operands(seed, dtype)
            cotangent = torch.randn_like(torch.einsum(product.equation, *factors))
            found = computed(irk.einsum, product.equation, factors, cotangent)
            single = computed(irk.einsum, product.equation, [each.float() for each in factors], cotangent.float())
            for half, full in zip(found, single, strict=True):
                assert half.dtype == dtype and bool((neighbours(half, full.to(dtype)) <= 1).all()), str(product)
                results += 1
    assert results >= 500
