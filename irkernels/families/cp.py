"""Canonical polyadic product (CP), W[i_1, .., i_N] = sum_r F_1[i_1, r] ... F_N[i_N, r], and deep CP."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import Any, Unpack

import torch
from torch import Tensor

from irkernels._arguments import integer, real
from irkernels.families.arguments import chained_by, extents, pair, tensors
from irkernels.families.drawing import Drawing
from irkernels.families.family import Family, balanced_gaussian, gaussian
from irkernels.families.structure import Structure

_INITIALISERS = {"gaussian": gaussian, "balanced": balanced_gaussian}


class CP(Family):
    """W = the sum of `rank` components, each the outer product of columns r of F_1 .. F_N; F_n is [shape[n], rank].

    depth: a chain of that many operands in place of each factor.  chains="column": one for each column,
    F_n[:, r] = A_r^{n,1} ... A_r^{n,depth-1} w_r^n, operands [rank, d, d] .. and [d, rank]; chains="factor": one matrix
    chain F_n = A_1 ... A_depth.  hidden: their inner size (default d, for a factor min(d, rank)).
    init: "gaussian", or "balanced": every component's vectors (and matrices) of one norm.  Further keyword arguments:
    families/drawing.py.

    Sources: Razin, Maman, Cohen, Implicit Regularization in Tensor Factorization (2021); Hariz, Kadri, Ayache, Moakher,
    Artieres, Implicit Regularization with Polynomial Growth in Deep Tensor Factorization (2022).
    Raises ValueError and TypeError naming the argument.
    """

    def __init__(
        self,
        shape: Sequence[int],
        rank: int,
        depth: int = 1,
        *,
        chains: str = "column",
        hidden: int | None = None,
        init: str = "gaussian",
        **drawing: Unpack[Drawing],
    ) -> None:
        structure = Structure()
        modes = [structure.mode(extent) for extent in extents("shape", shape)]
        r = structure.letter(integer("rank", rank, 1))
        options = chained_by(depth, chains, hidden)
        for mode in modes:
            structure.chain(mode, r, **options)
        super().__init__(structure, init, _INITIALISERS, drawing)

    def component_norms(self) -> Tensor:
        """sigma_r = prod_n ||F_n[:, r]||, the norm of each component: [rank], or [trials, rank]."""
        return _product_of_column_norms(self.parts())

    def vector_norms(self) -> Tensor:
        """rho_r = prod_n ||w_r^n||, of the last operand of each chain alone (sigma_r at depth 1): shaped likewise."""
        return _product_of_column_norms([self.factors[positions[-1]] for positions, _ in self.structure.parts])

    def to_tensorly(self) -> tuple[Tensor, list[Tensor]]:
        """(weights, factors) as TensorLy's CP tensors: copies, weights one.  Raises ValueError with trials."""
        factors = self._copies()
        return torch.ones_like(factors[0][0]), factors

    @classmethod
    def from_tensorly(cls, cp_tensor: Any) -> CP:
        """The product of TensorLy's (weights, factors), torch tensors; weights (or None) go into the first factor."""
        weights, factors = pair("cp_tensor", cp_tensor)
        first, *others = factors = tensors("factors", factors, 2)
        shape, rank = [len(factor) for factor in factors], first.shape[1]
        for position, factor in enumerate(others, 1):
            if factor.shape[1] != rank:
                raise ValueError(
                    f"factors[{position}] has {factor.shape[1]} columns, factors[0] has {rank} (must be equal)"
                )
        if weights is not None:
            if real("weights", weights).shape != (rank,) or weights.device != first.device:
                raise ValueError(
                    f"weights must be [{rank}] on {first.device}, got {list(weights.shape)} on {weights.device}"
                )
            factors = [first * weights.to(first.dtype), *others]
        return cls(shape, rank, seed=0, dtype=first.dtype, device=first.device)._filled(factors)


def _product_of_column_norms(factors: list[Tensor]) -> Tensor:
    norms: Tensor = reduce(torch.mul, [torch.linalg.vector_norm(factor, dim=-2) for factor in factors])
    return norms
