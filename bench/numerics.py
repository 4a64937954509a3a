"""Table numerics: how the error of a product and of all its gradients grows with depth and size, beside eager torch.

The error of one result is the norm of its difference to the exact one over the exact one's norm, the root mean square
over the seeds; that of the gradients is over all of them together. Exact: the same operands, of each dtype, in float64
(those of float64 in extended precision). Eager is torch.matmul or torch.mul, factor by factor, or torch.einsum for
CP, and
torch's autograd.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

import irkernels as irk
from bench.report import Target, geometric_mean, text_table
from bench.session import Session

DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
HALF = (torch.bfloat16, torch.float16)
SEEDS = 5
MOST_MEAN, MOST_WORST, MOST_HALF = 1.05, 2.0, 1.0  # ours over eager: of all rows, of one row, of all rows of half types


@dataclass(frozen=True)
class Case:
    """A product of one family: `eager` is how torch users write it."""

    name: str
    equation: str
    shapes: tuple[tuple[int, ...], ...]
    eager: Callable[[Sequence[Tensor]], Tensor]

    def operands(self, seed: int, dtype: torch.dtype) -> list[Tensor]:
        """Normal entries, scaled so that the product of any depth has entries of size one."""
        generator = torch.Generator().manual_seed(seed)
        drawn = [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in self.shapes]
        return [(each / math.sqrt(each.shape[-1]) if each.dim() > 1 else each).to(dtype) for each in drawn]


def _matmuls(operands: Sequence[Tensor]) -> Tensor:
    return functools.reduce(torch.matmul, operands)


def _products(operands: Sequence[Tensor]) -> Tensor:
    return functools.reduce(torch.mul, operands)


def chain(depth: int, size: int) -> Case:
    letters = [chr(ord("a") + i) if i < 26 else chr(0x4E00 + i) for i in range(depth + 1)]
    equation = ",".join(map("".join, itertools.pairwise(letters))) + f"->{letters[0]}{letters[-1]}"
    return Case(f"chain, depth {depth}, {size} x {size}", equation, ((size, size),) * depth, _matmuls)


def hadamard(depth: int, size: int) -> Case:
    return Case(f"Hadamard, depth {depth}, {size}", ",".join("i" * depth) + "->i", ((size,),) * depth, _products)


def cp(size: int, rank: int) -> Case:
    equation = "ar,br,cr->abc"

    def einsum(operands: Sequence[Tensor]) -> Tensor:
        return torch.einsum(equation, *operands)

    return Case(f"CP, {size} x {size} x {size}, rank {rank}", equation, ((size, rank),) * 3, einsum)


CASES = (
    *(chain(depth, 32) for depth in (2, 3, 4, 8, 16, 32, 48)),
    *(chain(3, size) for size in (4, 16, 64, 128, 256)),
    *(hadamard(depth, 1000) for depth in (2, 4, 8, 16)),
    *(cp(20, rank) for rank in (4, 32, 256)),
)
FEWER = (
    *(chain(depth, 32) for depth in (2, 8, 32)),
    *(chain(3, size) for size in (16, 128)),
    *(hadamard(depth, 1000) for depth in (4, 16)),
    cp(20, 32),
)


@dataclass(frozen=True)
class Errors:
    """Of value and gradients, ours and eager torch's."""

    value: tuple[float, float]
    gradients: tuple[float, float]

    @property
    def ratios(self) -> list[float]:
        """Ours over torch's, where torch makes an error at all."""
        return [ours / eager for ours, eager in (self.value, self.gradients) if eager > 0]


def errors(case: Case, dtype: torch.dtype, seeds: int = SEEDS) -> Errors:
    """Ours and eager torch's of one case, the root mean square over the seeds."""
    products = (functools.partial(irk.einsum, case.equation), lambda *given: case.eager(given))
    squares = np.zeros((2, 2))
    for seed in range(seeds):
        operands = case.operands(seed, dtype)
        generator = torch.Generator().manual_seed(1000 + seed)
        cotangent = torch.randn(case.eager(operands).shape, generator=generator, dtype=torch.float64).to(dtype)
        exact = _exact(case, operands, cotangent)
        for column, product in enumerate(products):
            found = _value_and_gradients(product, operands, cotangent)
            squares[0, column] += _relative_error(found[:1], exact[:1]) ** 2
            squares[1, column] += _relative_error(found[1:], exact[1:]) ** 2
    (value, own_value), (gradients, own_gradients) = np.sqrt(squares / seeds).tolist()
    return Errors((value, own_value), (gradients, own_gradients))


def _value_and_gradients(
    product: Callable[..., Tensor], operands: Sequence[Tensor], cotangent: Tensor
) -> list[Tensor]:
    leaves = [operand.detach().requires_grad_() for operand in operands]
    value = product(*leaves)
    return [value.detach(), *torch.autograd.grad(value, leaves, cotangent)]


def _exact(case: Case, operands: Sequence[Tensor], cotangent: Tensor) -> list[np.ndarray]:
    """Value and gradients in a wider type: each gradient is the product with the cotangent in the factor's place."""
    if operands[0].dtype != torch.float64:
        wide = [operand.double() for operand in operands]
        found = _value_and_gradients(lambda *given: case.eager(given), wide, cotangent.double())
        return [each.numpy() for each in found]
    terms, _, output = case.equation.partition("->")
    names = terms.split(",")
    *given, slope = (each.numpy().astype(np.longdouble) for each in (*operands, cotangent))
    found = [_product([*names, output], given)]
    for place, name in enumerate(names):
        others = [*names[:place], *names[place + 1 :], output]
        found.append(_product([*others, name], [*given[:place], *given[place + 1 :], slope]))
    return found


def _product(names: list[str], operands: list[np.ndarray]) -> np.ndarray:
    """numpy.einsum, with letters as it takes them (numbers)."""
    numbers = {letter: i for i, letter in enumerate(dict.fromkeys("".join(names)))}
    pairs = [part for name, operand in zip(names, operands) for part in (operand, [numbers[letter] for letter in name])]
    return np.einsum(*pairs, [numbers[letter] for letter in names[-1]], optimize="greedy")


def _relative_error(found: Sequence[Tensor], exact: Sequence[np.ndarray]) -> float:
    """The norm of all differences over the norm of all that is exact."""
    wrong = sum(float(np.square(each.detach().double().numpy() - right).sum()) for each, right in zip(found, exact))
    return math.sqrt(wrong / sum(float(np.square(right).sum()) for right in exact))


def numerics(session: Session) -> None:
    """Prints the table and, with --results, keeps it as numerics.md beside the targets."""
    cases = session.chosen(list(FEWER if session.quick else CASES))
    found = {(case.name, dtype): errors(case, dtype) for case in cases for dtype in DTYPES}
    page = "\n\n".join(_table(cases, found, what) for what in ("value", "gradients"))
    print("\n" + page)
    for dtype in DTYPES:
        ratios = [(ratio, case.name) for case in cases for ratio in found[case.name, dtype].ratios]
        if not ratios:
            continue
        mean, name = geometric_mean([ratio for ratio, _ in ratios]), str(dtype).removeprefix("torch.")
        bound = MOST_HALF if dtype in HALF else MOST_MEAN
        session.targets.append(Target(f"numerics, {name}: our error over torch's, geometric mean", mean, bound, False))
        worst, where = max(ratios)
        session.targets.append(Target(f"numerics, {name}: the same, worst row", worst, MOST_WORST, False, where))
    if session.results:
        session.results.mkdir(parents=True, exist_ok=True)
        (session.results / "numerics.md").write_text(_HEAD + page + "\n", encoding="utf-8")


_HEAD = """# Errors against depth and size

Relative error (norm of the difference over the norm) of ours and of eager torch, root mean square over five seeds, of
the same operands against float64 (float64: against extended precision). `python -m bench numerics --results
bench/results`
makes this page.

"""


def _table(cases: Sequence[Case], found: dict[tuple[str, torch.dtype], Errors], what: str) -> str:
    names = [str(dtype).removeprefix("torch.") for dtype in DTYPES]
    rows = []
    for case in cases:
        pairs = [getattr(found[case.name, dtype], what) for dtype in DTYPES]
        rows.append([case.name, *(f"{each:.1e}" for pair in pairs for each in pair)])
    return text_table([what, *(f"{name} {who}" for name in names for who in ("ours", "torch"))], rows)
