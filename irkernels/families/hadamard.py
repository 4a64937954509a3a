"""Hadamard chain, the diagonal linear network beta = w_1 * ... * w_L: weight-shared w^L and signed u^L - v^L too."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import Unpack

import torch
from torch import Generator, Tensor

from irkernels._arguments import flag, integer
from irkernels.families.drawing import Drawing, Size
from irkernels.families.family import balanced_gaussian, drawn, gaussian
from irkernels.families.structure import Structure
from irkernels.nn.product import Product


class HadamardChain(Product):
    """beta_i = prod_l w_{l,i}: [size], from `depth` factors [size].

    shared: one factor w stands in all positions, beta = w^depth.  signed: beta = prod_l u_l - prod_l v_l, factors
    [2, size] with rows u_l and v_l; with shared u^depth - v^depth.
    init: "gaussian"; "constant", every entry alpha^{1/depth}; "balanced", entries equal in size along the depth.
    Further keyword arguments: families/drawing.py.

    Sources: Vardi, On the Implicit Bias in Deep-Learning Algorithms (2023); Matveev, Fojtik, Chou, Kutyniok, Maly,
    Conflicting Biases at the Edge of Stability (2026).
    Raises ValueError and TypeError naming the argument.
    """

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
        structure = Structure()
        mode = structure.mode(integer("size", size, 1))
        sign = structure.letter(2) if flag("signed", signed) else ""
        for _ in range(integer("depth", depth, 1)):
            structure.factor(sign + mode)
        factors: Sequence[Tensor] = drawn(structure, init, _INITIALISERS, drawing)
        if flag("shared", shared):
            factors = [torch.nn.Parameter(factors[0])] * depth
        constants = {}
        if signed:
            constants[structure.constant(sign)] = factors[0].new_tensor([1.0, -1.0])
        super().__init__(structure.equation, *factors, constants=constants, trials=drawing.get("trials"))

    def component_norms(self) -> Tensor:
        """prod_l |w_{l,i}|, for one chain |beta_i|: [.., size]; signed, of both chains: [.., 2, size]."""
        norms: Tensor = reduce(torch.mul, [factor.abs() for factor in self.factors])
        return norms


def _constant(structure: Structure, size: Size, generator: Generator | None) -> list[Tensor]:
    """alpha^{1/L} everywhere; draws nothing."""
    gain = size.gain(len(structure.terms))
    return [torch.full(shape, gain, dtype=torch.float64) for shape in structure.shapes]


_INITIALISERS = {"gaussian": gaussian, "constant": _constant, "balanced": balanced_gaussian}
