"""Arithmetic of an end-to-end product, counted along its cheapest pairwise order."""

from __future__ import annotations

import math

import opt_einsum


def pairwise_steps(equation: str, extents: dict[str, int]) -> list[tuple[tuple[int, ...], str]]:
    """The cheapest pairwise order: for each step the operands' positions and its own small equation."""
    terms = equation.split("->")[0].split(",")
    shapes = [tuple(extents[letter] for letter in term) for term in terms]
    # "dp" is optimal among orders without outer products; the full search takes too long beyond eight operands.
    search = "optimal" if len(terms) <= 8 else "dp"
    _, info = opt_einsum.contract_path(equation, *shapes, shapes=True, optimize=search)
    return [(tuple(step[0]), step[2]) for step in info.contraction_list]


def multiply_adds(equation: str, extents: dict[str, int]) -> int:
    """Multiply-adds of the value: for each pairwise step the product of the extents of all its letters."""
    total = 0
    for _, step in pairwise_steps(equation, extents):
        total += math.prod(extents[letter] for letter in set(step) - set(",->"))
    return total
