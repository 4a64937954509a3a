"""Hadamard chain, the diagonal linear network beta = w_1 * ... * w_L."""

from __future__ import annotations

from typing import Unpack

import torch

from irkernels._arguments import integer
from irkernels.families.drawing import Drawing, choose, initial_factors
from irkernels.families.family import gaussian
from irkernels.families.structure import Structure
from irkernels.nn.product import Product

_INITIALISERS = {"gaussian": gaussian}


class HadamardChain(Product):
    """beta_i = prod_l w_{l,i}, [size]; signed: the difference of two such chains, factors then [2, size]."""

    def __init__(
        self,
        size: int,
        depth: int,
        *,
        shared: bool = False,
        signed: bool = False,
        init: str = "gaussian",
        **drawing: Unpack[Drawing],
    ) -> None:
        size, depth = integer("size", size, 1), integer("depth", depth, 1)
        structure = Structure()
        mode = structure.mode(size)
        sign = structure.letter(2) if signed else ""
        for _ in range(depth):
            structure.factor(sign + mode)
        initialise = choose("init", init, _INITIALISERS)
        factors = initial_factors(lambda size, generator: initialise(structure, size, generator), **drawing)
        if shared:
            factors = [torch.nn.Parameter(factors[0])] * depth
        equation, constants = structure.equation, {}
        if signed:
            equation = f"{sign},{equation}"
            constants = {0: torch.tensor([1.0, -1.0], dtype=factors[0].dtype, device=factors[0].device)}
        super().__init__(equation, *factors, constants=constants, trials=drawing.get("trials"))
