"""Component norms of a product that sums over one letter: how much each of its terms weighs."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from irkernels.nn.product import Product


def component_norms(model: Product) -> Tensor:
    """[R] or [trials, R]: for each index of the contracted letter, the product of the norms of the slices there.

    `ar,rb->ab`: norm of column r times norm of row r.  `ir,jr,kr->ijk` (CP): the norm of each rank-one term.
    """
    letter = shared_letter(model.equation)
    terms = model.equation.split("->")[0].split(",")
    factors = iter(model.factors)
    norms = []
    for position, term in enumerate(terms):
        constant = position in model.constants
        operand = model.constants[position] if constant else next(factors)
        if letter not in term:
            continue
        lead = 0 if constant or model.trials is None else 1
        others = [lead + axis for axis, each in enumerate(term) if each != letter]
        norms.append(torch.linalg.vector_norm(operand.detach(), dim=others) if others else operand.detach().abs())
    product = norms[0]
    for norm in norms[1:]:
        product = product * norm
    return product


def groups_of_norms(model: Product) -> dict[str, Any]:
    """Metric -> mode (or modes of a node) where the model's own norms come by mode or node; empty otherwise."""
    own = getattr(model, "component_norms", None)
    norms = None if own is None else own()
    if not isinstance(norms, (list, dict)):
        return {}
    groups = norms if isinstance(norms, dict) else range(len(norms))
    return {f"component_norms[{str(group).strip('(),')}]": group for group in groups}


def shared_letter(equation: str) -> str:
    """The one contracted letter. Raises ValueError where there is none or more than one, or twice in an operand."""
    terms, output = equation.split("->")
    contracted = {letter for letter in terms if letter != ","} - set(output)
    if len(contracted) != 1 or any(term.count(letter) > 1 for letter in contracted for term in terms.split(",")):
        raise ValueError(
            f"record: component_norms is of a product with one contracted letter, but {equation} has {len(contracted)};"
            " record {name: f}"
        )
    return contracted.pop()
