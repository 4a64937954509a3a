"""Tucker product W = C x_1 F_1 ... x_N F_N."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Unpack

from irkernels.families.arguments import chained_by, each_or_all, extents
from irkernels.families.drawing import Drawing
from irkernels.families.family import Family, gaussian
from irkernels.families.structure import Structure

_INITIALISERS = {"gaussian": gaussian}


class Tucker(Family):
    """W = sum over p, q, .. of C[p, q, ..] F_1[:, p] x F_2[:, q] x ..., core C [*ranks], F_n [shape[n], ranks[n]]."""

    def __init__(
        self,
        shape: Sequence[int],
        ranks: int | Sequence[int],
        depth: int = 1,
        *,
        chains: str = "column",
        hidden: int | None = None,
        init: str = "gaussian",
        **drawing: Unpack[Drawing],
    ) -> None:
        structure = Structure()
        modes = [structure.mode(extent) for extent in extents("shape", shape)]
        core = [structure.letter(rank) for rank in each_or_all("ranks", ranks, len(modes))]
        structure.factor("".join(core))
        for mode, rank in zip(modes, core):
            structure.chain(mode, rank, **chained_by(depth, chains, hidden))
        super().__init__(structure, init, _INITIALISERS, drawing)
