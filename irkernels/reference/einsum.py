"""W = P(factors), the end-to-end product: torch.einsum itself, after checks, in letters that it has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from irkernels.grammar import read_call, symbol
from irkernels.reference.equation import ELLIPSIS, Term, read_equation
from irkernels.reference.paths import Path, read_path

_LETTERS_OF_TORCH = 52


def einsum(equation: str, *operands: Tensor, path: Any = None) -> Tensor:
    """The product that the equation names; torch.einsum's semantics and result, for any letters and any number of them.

    operands: tensors of one dtype (float16, bfloat16, float32, float64) and device; all call forms of grammar.py.
    path: the order in which operands meet, in any spelling of reference/paths.py.  Differentiable to any order.
    Raises TypeError and ValueError naming the operand or letter (reference/equation.py) or the step of the path.
    """
    equation, operands = read_call(equation, operands)
    read = read_equation(equation, operands)
    return contract(read.terms, read.output, operands, None if path is None else read_path(path, equation, operands))


def contract(terms: Sequence[Term], output: Term, operands: Sequence[Tensor], path: Path | None = None) -> Tensor:
    """The product along a path; without one at once, or from left to right where torch lacks letters.

    What meets at once may have 52 letters, as torch.einsum's do.
    """
    n = len(operands)
    if path is None:
        many = len({letter for term in terms for letter in term} - {ELLIPSIS}) > _LETTERS_OF_TORCH
        path = ((0, 1), *[(n - 1 - i, 0) for i in range(1, n - 1)]) if many and n > 1 else (tuple(range(n)),)
    tensors = list(zip(terms, operands))
    for step in path:
        group = [tensors[position] for position in step]
        tensors = [tensor for position, tensor in enumerate(tensors) if position not in step]
        needed = {letter for term, _ in tensors for letter in term} | set(output)
        kept = (
            tuple(dict.fromkeys(letter for term, _ in group for letter in term if letter in needed))
            if tensors
            else output
        )
        tensors.append((kept, _meet([term for term, _ in group], kept, [operand for _, operand in group])))
    return tensors[0][1]


def _meet(terms: Sequence[Term], output: Term, operands: Sequence[Tensor]) -> Tensor:
    """One torch.einsum, in letters of its own."""
    letters = dict.fromkeys(letter for term in terms for letter in term)
    own = {letter: symbol(i) for i, letter in enumerate(letters)} | {ELLIPSIS: ELLIPSIS}
    spelled = ["".join(own[letter] for letter in term) for term in (*terms, output)]
    return torch.einsum(f"{','.join(spelled[:-1])}->{spelled[-1]}", *operands)
