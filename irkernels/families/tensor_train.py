"""Tensor train W[i_1, .., i_N] = G_1[i_1, :] G_2[:, i_2, :] ... G_N[:, i_N], and its ring."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Unpack

from irkernels.families.arguments import chained_by, each_or_all, extents
from irkernels.families.drawing import Drawing
from irkernels.families.family import Family, gaussian
from irkernels.families.structure import Structure

_INITIALISERS = {"gaussian": gaussian}


class TensorTrain(Family):
    """Cores G_1 [n_1, r_1], G_k [r_{k-1}, n_k, r_k], G_N [r_{N-1}, n_N]; a ring's are all [r_{k-1}, n_k, r_k], r_0 = r_N."""

    def __init__(
        self,
        shape: Sequence[int],
        ranks: int | Sequence[int],
        depth: int = 1,
        *,
        ring: bool = False,
        unfolding: str = "left",
        hidden: int | None = None,
        init: str = "gaussian",
        **drawing: Unpack[Drawing],
    ) -> None:
        structure = Structure()
        modes = [structure.mode(extent) for extent in extents("shape", shape)]
        bonds = [structure.letter(r) for r in each_or_all("ranks", ranks, len(modes) - (not ring))]
        lefts, rights = ([bonds[-1], *bonds[:-1]], bonds) if ring else (["", *bonds], [*bonds, ""])
        options = chained_by(depth, "factor", hidden)
        for left, mode, right in zip(lefts, modes, rights):
            structure.chain(left + mode, right, **options)
        super().__init__(structure, init, _INITIALISERS, drawing)
