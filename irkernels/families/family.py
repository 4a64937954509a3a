"""What the families of tensor products share: a structure, its initialiser, and parts multiplied out."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Self

import torch
from torch import Generator, Tensor

from irkernels import functional
from irkernels.families.arguments import one_of
from irkernels.families.balance import balanced, unbalancedness
from irkernels.families.drawing import Drawing, Size, initial_factors
from irkernels.families.structure import Structure
from irkernels.nn.product import Product

Initialiser = Callable[[Structure, Size, "Generator | None"], list[Tensor]]


class Family(Product):
    """The product of a structure's operands, drawn by one of its initialisers."""

    def __init__(
        self, structure: Structure, init: str, initialisers: Mapping[str, Initialiser], drawing: Drawing
    ) -> None:
        factors = drawn(structure, init, initialisers, drawing)
        super().__init__(structure.equation, *factors, trials=drawing.get("trials"))
        self.structure = structure

    def parts(self) -> list[Tensor]:
        """Each factor of the shallow product, a chain multiplied out: [*extents], or [trials, *extents]."""
        dots = "" if self.trials is None else "..."
        found = []
        for positions, letters in self.structure.parts:
            operands = [self.factors[position] for position in positions]
            terms = ",".join(dots + self.structure.terms[position] for position in positions)
            found.append(
                operands[0] if len(operands) == 1 else functional.einsum(f"{terms}->{dots}{letters}", *operands)
            )
        return found

    def unbalancedness(self) -> Tensor:
        """The largest of the differences that gradient flow conserves (families/balance.py): a scalar, or [trials]."""
        return unbalancedness(self.structure, list(self.factors))

    def _copies(self) -> list[Tensor]:
        """The parts as plain tensors for another package, which knows no trials."""
        if self.trials is not None:
            raise ValueError(f"one tensor at a time: this {type(self).__name__} has {self.trials} trials")
        return [part.detach().clone() for part in self.parts()]

    def _filled(self, values: list[Tensor]) -> Self:
        """This product with given factors."""
        with torch.no_grad():
            for factor, value in zip(self.factors, values, strict=True):
                factor.copy_(value)
        return self


def drawn(structure: Structure, init: str, initialisers: Mapping[str, Initialiser], drawing: Drawing) -> list[Tensor]:
    """Initial factors for the structure.  Raises ValueError and TypeError naming the argument."""
    initialise = initialisers[one_of("init", init, initialisers)]
    return initial_factors(lambda size, generator: initialise(structure, size, generator), **drawing)


def gaussian(structure: Structure, size: Size, generator: Generator | None) -> list[Tensor]:
    """Independent normal entries: of std init_std about init_mean, or such that those of the product have std alpha."""
    # an entry of the product sums that many uncorrelated terms, each a product of one entry of every operand
    count = len(structure.terms)
    std = size.gain(count) * math.exp(-structure.log_summands / (2 * count)) if size.std is None else size.std
    return [
        torch.randn(shape, dtype=torch.float64, generator=generator) * std + size.mean for shape in structure.shapes
    ]


def balanced_gaussian(structure: Structure, size: Size, generator: Generator | None) -> list[Tensor]:
    """Balanced factors (families/balance.py) of the product that Gaussian factors have."""
    return balanced(structure, gaussian(structure, size, generator), generator)
