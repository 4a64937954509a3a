"""Canonical polyadic (CP) product W = sum_r F_1[:, r] x ... x F_N[:, r]."""

from __future__ import annotations

from collections.abc import Sequence

from irkernels.families.arguments import chained_by, extents
from irkernels.families.drawing import Drawing
from irkernels.families.family import Family, gaussian
from irkernels.families.structure import Structure
from irkernels._arguments import integer

from typing import Unpack

_INITIALISERS = {"gaussian": gaussian}


class CP(Family):
    """W = sum over r of the outer product of columns r of F_1 .. F_N, F_n [shape[n], rank]."""

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
        for mode in modes:
            structure.chain(mode, r, **chained_by(depth, chains, hidden))
        super().__init__(structure, init, _INITIALISERS, drawing)
