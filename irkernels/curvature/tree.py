"""A product as pairwise products: the planner's contraction tree, each of its nodes an equation of two tensors.

Tensors are numbered: the operands first, then the nodes, children before parents, the root last.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from irkernels import _launch
from irkernels.grammar import explicit, without_path

_DOTS = "..."


@dataclass(frozen=True)
class Node:
    """`equation` of the tensors `sides`: two, or one where the whole product has one operand."""

    equation: str
    sides: tuple[int, ...]


def pairwise(equation: str, operands: tuple[Tensor, ...], nnz: int = -1) -> tuple[Node, ...]:
    """The nodes in the order in which they are made; nnz: so many listed entries are wanted of the root.

    None where such entries come from gathered rows.
    """
    shapes = tuple((tuple(operand.shape), operand.stride()) for operand in operands)
    return _nodes(equation, shapes, operands[0].dtype, nnz)


@lru_cache(maxsize=256)
def _nodes(
    equation: str, shapes: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...], dtype: torch.dtype, nnz: int
) -> tuple[Node, ...]:
    left, _, output = explicit(without_path(equation)).partition("->")
    terms = left.split(",")
    if len(terms) == 1:
        return (Node(f"{left}->{output}", (0,)),)
    like = [torch.empty_strided(*view, dtype=dtype, device="meta") for view in shapes]
    places: list[int] = []  # of the planner's nodes among our tensors
    remaining = Counter(letter for term in (*terms, output) for letter in _letters(term))
    nodes: list[Node] = []
    for operand, first, second in _launch.tree(equation, like, nnz):
        if second < 0:  # an operand, or a tensor whose letters are summed or reordered: its parent does that
            places.append(operand if operand >= 0 else places[first])
            continue
        sides = (places[first], places[second])
        remaining.subtract(letter for side in sides for letter in _letters(terms[side]))
        made = dict.fromkeys(letter for side in sides for letter in _letters(terms[side]) if remaining[letter] > 0)
        term = output if len(nodes) == len(shapes) - 2 else "".join(sorted(made, key=lambda letter: letter != _DOTS))
        remaining.update(_letters(term))
        nodes.append(Node(f"{terms[sides[0]]},{terms[sides[1]]}->{term}", sides))
        places.append(len(terms))
        terms.append(term)
    return tuple(nodes)


def _letters(term: str) -> tuple[str, ...]:
    """The distinct letters of a term, `...` as one of them."""
    before, dots, after = term.partition(_DOTS)
    return tuple(dict.fromkeys((*before, *((_DOTS,) if dots else ()), *after)))
