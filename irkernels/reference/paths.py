"""Contraction paths in all their spellings, as steps of positions.

A step's tensors leave the list and what they make is appended: [(0, 2), (0, 1)] of A, B, C is B (A C). The spellings
are opt_einsum's (steps, names of strategies, optimizers, PathInfo), numpy.einsum_path's, and cotengra's trees.
"""

from __future__ import annotations

import importlib
import operator
from typing import Any

from torch import Tensor

from irkernels.grammar import symbol
from irkernels.reference.equation import ELLIPSIS, read_equation
from irkernels.remembered import remembered

Path = tuple[tuple[int, ...], ...]


def read_path(path: Any, equation: str, operands: tuple[Tensor, ...]) -> Path:
    """The steps of a path for these operands; they leave exactly one tensor.

    path: steps; a strategy of opt_einsum by name; a callable path(inputs, output, sizes, memory_limit); what has
    get_path(), search(inputs, output, sizes) or .path; a pair (steps, PathInfo).
    Raises TypeError (none of these), ValueError (unknown strategy; a position out of range or repeated; tensors left),
    ImportError (a strategy by name without opt_einsum), and what read_equation raises where a path is searched.
    """
    n = len(operands)
    if isinstance(path, str):
        strategy = _strategy(path)
        found = _search(strategy, *_problem(equation, operands)) if n > 2 else (tuple(range(n)),)
    elif hasattr(path, "get_path"):
        found = path.get_path()
    elif hasattr(path, "search"):  # cotengra's optimizers, which want their letters in an order
        inputs, output, sizes = _problem(equation, operands)
        found = path.search([tuple(sorted(term)) for term in inputs], tuple(sorted(output)), dict(sizes)).get_path()
    elif callable(path):
        inputs, output, sizes = _problem(equation, operands)
        found = path(list(inputs), output, dict(sizes), None) if n > 2 else (tuple(range(n)),)
    elif hasattr(path, "path"):
        found = path.path
    elif isinstance(path, tuple) and len(path) == 2 and hasattr(path[1], "path"):
        found = path[0]
    else:
        found = path
    return _checked(found, n)


def _strategy(name: str) -> Any:
    try:
        paths = importlib.import_module("opt_einsum.paths")
    except ImportError:
        raise ImportError(
            f"path={name!r} names a strategy of opt_einsum, which is not installed: `pip install opt_einsum`, or give"
            " the path as steps such as [(0, 1), (0, 1)]"
        ) from None
    try:
        return paths.get_path_fn(name)
    except KeyError as error:
        raise ValueError(f"path={name!r} is no strategy of opt_einsum: {error.args[0]}") from None


@remembered
def _search(
    strategy: Any, inputs: tuple[frozenset[str], ...], output: frozenset[str], sizes: tuple[tuple[str, int], ...]
) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(step) for step in strategy(list(inputs), output, dict(sizes), None))


def _problem(
    equation: str, operands: tuple[Tensor, ...]
) -> tuple[tuple[frozenset[str], ...], frozenset[str], tuple[tuple[str, int], ...]]:
    """Letters of the inputs and of the output, and the letters' extents; a letter for each axis of `...`."""
    read = read_equation(equation, operands)
    free = (
        letter for letter in map(symbol, range(len(read.extents) + len(read.broadcast))) if letter not in read.extents
    )
    dots = [next(free) for _ in read.broadcast]

    def letters(term: tuple[str, ...], spread: int) -> frozenset[str]:
        return frozenset(term) - {ELLIPSIS} | (
            frozenset(dots[len(dots) - spread :]) if ELLIPSIS in term else frozenset()
        )

    inputs = tuple(
        letters(term, operand.dim() - len(term) + (ELLIPSIS in term)) for term, operand in zip(read.terms, operands)
    )
    sizes = (*read.extents.items(), *zip(dots, read.broadcast))
    return inputs, letters(read.output, len(dots)), sizes


def _checked(given: Any, n: int) -> Path:
    path, left = [], n
    for number, step in enumerate(_steps(given)):
        for position in step:
            if not 0 <= position < left:
                raise ValueError(
                    f"path: step {number} {step} names position {position}, but"
                    f" {left} {'tensor is' if left == 1 else 'tensors are'} left there (positions are 0 to {left - 1})"
                )
            if step.count(position) > 1:
                raise ValueError(f"path: step {number} {step} names position {position} twice (each may meet once)")
        if not step:
            raise ValueError(f"path: step {number} is empty (a step names at least one position)")
        path.append(step)
        left -= len(step) - 1
    if left != 1:
        raise ValueError(f"path: {left} of {n} tensors are left after its last step (a path must leave one)")
    return tuple(path) or ((0,),)


def _steps(given: Any) -> list[tuple[int, ...]]:
    try:
        steps = [step for step in given if step != "einsum_path"]  # numpy.einsum_path's first element
        return [tuple(operator.index(position) for position in step) for step in steps]
    except TypeError:
        got = given if isinstance(given, (list, tuple)) else type(given).__name__
        raise TypeError(
            "path must be steps of positions such as [(0, 1), (0, 1)], the name of a strategy of opt_einsum, an"
            f" optimizer or a contraction tree, got {got!r}"
        ) from None
