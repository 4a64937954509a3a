"""Tensor train W[i_1, .., i_N] = G_1[i_1, :] G_2[:, i_2, :] ... G_N[:, i_N], its ring, and deep trains."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Unpack

import torch
from torch import Tensor

from irkernels._arguments import flag
from irkernels.families.arguments import chained_by, each_or_all, extents, one_of, tensors
from irkernels.families.drawing import Drawing
from irkernels.families.family import Family, balanced_gaussian, gaussian
from irkernels.families.structure import Structure

_INITIALISERS = {"gaussian": gaussian, "balanced": balanced_gaussian}


class TensorTrain(Family):
    """Cores G_1 [n_1, r_1], G_k [r_{k-1}, n_k, r_k], G_N [r_{N-1}, n_N].

    ranks: r_1 .. r_{N-1}, or one for all.  ring: all cores are [r_{k-1}, n_k, r_k] with r_0 = r_N, W is a trace, and
    ranks are r_1 .. r_N.  depth: a matrix chain of that many operands in place of an unfolding of each core.
    unfolding="left": of [r_{k-1} n_k, r_k], so that every bond is a deep matrix factorization (a train's last core has
    no bond on its right and stays one operand); "mode": of [n_k, r_{k-1} r_k].  hidden: their inner size (default the
    smaller side).
    init: "gaussian" or "balanced".  Further keyword arguments: families/drawing.py.

    Source: Milanesi, Kadri, Ayache, Artieres, Implicit Regularization in Deep Tensor Factorization (2021).
    Raises ValueError and TypeError naming the argument.
    """

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
        one_of("unfolding", unfolding, ("left", "mode"))
        structure = Structure()
        modes = [structure.mode(extent) for extent in extents("shape", shape)]
        ring = flag("ring", ring)
        bonds = [structure.letter(rank) for rank in each_or_all("ranks", ranks, len(modes) - (not ring))]
        lefts, rights = ([bonds[-1], *bonds[:-1]], bonds) if ring else (["", *bonds], [*bonds, ""])
        options = chained_by(depth, "factor", hidden)
        for left, mode, right in zip(lefts, modes, rights):
            rows, cols = (left + mode, right) if unfolding == "left" else (mode, left + right)
            if cols:
                structure.chain(rows, cols, **options, letters=left + mode + right)
            else:
                structure.factor(left + mode + right)
        super().__init__(structure, init, _INITIALISERS, drawing)
        self.ring = ring

    def component_norms(self) -> list[Tensor]:
        """For each bond of a train the singular values of W unfolded there, largest first: [.., r_k] or fewer.

        From the cores, W never formed.  Raises ValueError for a ring, whose bonds do not cut W in two.
        """
        if self.ring:
            raise ValueError("component_norms: one bond of a ring does not cut W in two")
        cores = self.parts()
        cores[0] = cores[0].unsqueeze(0 if self.trials is None else 1)
        cores[-1] = cores[-1].unsqueeze(-1)
        heads = _triangles(cores)
        tails = _triangles([core.transpose(-3, -1) for core in reversed(cores)])
        return [torch.linalg.svdvals(head @ tail.mT) for head, tail in zip(heads, reversed(tails))]

    def to_tensorly(self) -> list[Tensor]:
        """The cores as TensorLy's TT (a ring: TR) tensors, of three axes: copies.  Raises ValueError with trials."""
        cores = self._copies()
        if not self.ring:
            cores[0] = cores[0].unsqueeze(0)
            cores[-1] = cores[-1].unsqueeze(-1)
        return cores

    @classmethod
    def from_tensorly(cls, cores: Any, ring: bool = False) -> TensorTrain:
        """The train (or ring) of TensorLy's cores [r_{k-1}, n_k, r_k], tensors of torch."""
        cores, ring = tensors("cores", cores, 3), flag("ring", ring)
        shape, ranks = [core.shape[1] for core in cores], [core.shape[2] for core in cores]
        first = cores[0]
        if not ring:
            cores[0] = cores[0].squeeze(0)
            cores[-1] = cores[-1].squeeze(-1)
            ranks = ranks[:-1]
        return cls(shape, ranks, ring=ring, seed=0, dtype=first.dtype, device=first.device)._filled(cores)


def _triangles(cores: list[Tensor]) -> list[Tensor]:
    """R_k of the QR decomposition of G_1 .. G_k unfolded to [n_1 .. n_k, r_k], for all but the last core."""
    found: list[Tensor] = []
    for core in cores[:-1]:
        if found:
            core = torch.einsum("...qr,...rns->...qns", found[-1], core)
        found.append(torch.linalg.qr(core.flatten(-3, -2)).R)
    return found
