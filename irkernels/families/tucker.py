"""Tucker product W = C x_1 F_1 x_2 F_2 ... x_N F_N, and deep Tucker."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Unpack

from torch import Generator, Tensor

from irkernels._arguments import real
from irkernels.families.arguments import chained_by, each_or_all, extents, pair, tensors
from irkernels.families.drawing import Drawing, Size
from irkernels.families.family import Family, balanced_gaussian, gaussian
from irkernels.families.structure import Structure


class Tucker(Family):
    """W[i, j, ..] = sum_{p, q, ..} C[p, q, ..] F_1[i, p] F_2[j, q] ..; core C [*ranks], then F_n [shape[n], ranks[n]].

    ranks: one for each mode, or one for all.  depth: a chain of that many operands in place of each factor matrix (the
    core stays one tensor).  chains="column": one for each column, F_n[:, j] = P_{j,1} ... P_{j,depth-1} c_j, operands
    [rank, d, d] .. and [d, rank]; chains="factor": one matrix chain F_n = A_1 ... A_depth.  hidden: their inner size
    (default d, for a factor min(d, rank)).
    init: "gaussian"; "slice_norms": each column and each of its matrices rescaled to the norm of its slice of a
    Gaussian core; or "balanced".  Further keyword arguments: families/drawing.py.

    Sources: Milanesi, Kadri, Ayache, Artieres, Implicit Regularization in Deep Tensor Factorization (2021); Hariz,
    Kadri, Ayache, Moakher, Artieres, Implicit Regularization in Deep Tucker Factorization: Low-Rankness via Structured
    Sparsity (2024), whose depth K is this one.
    Raises ValueError and TypeError naming the argument.
    """

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
        options = chained_by(depth, chains, hidden)
        for mode, rank in zip(modes, core):
            structure.chain(mode, rank, **options)
        super().__init__(structure, init, _INITIALISERS, drawing)

    def component_norms(self) -> list[Tensor]:
        """For each mode the norms of the core's slices, the field's count of the multilinear rank: [.., ranks[n]]."""
        core, order = self.factors[0], len(self.shape)
        return [_slice_norms(core, order, axis) for axis in range(order)]

    def to_tensorly(self) -> tuple[Tensor, list[Tensor]]:
        """(core, factors) as TensorLy's Tucker tensors: copies.  Raises ValueError with trials."""
        core, *factors = self._copies()
        return core, factors

    @classmethod
    def from_tensorly(cls, tucker_tensor: Any) -> Tucker:
        """The product of TensorLy's (core, factors), tensors of torch."""
        core, factors = pair("tucker_tensor", tucker_tensor)
        factors = tensors("factors", factors, 2)
        if real("core", core).dim() != len(factors) or any(f.shape[1] != n for f, n in zip(factors, core.shape)):
            raise ValueError(
                f"core of shape {list(core.shape)} does not meet factors of {[f.shape[1] for f in factors]} columns"
            )
        shape = [len(factor) for factor in factors]
        return cls(shape, tuple(core.shape), seed=0, dtype=core.dtype, device=core.device)._filled([core, *factors])


def _slice_norms(tensor: Tensor, order: int, axis: int) -> Tensor:
    """[.., extent]: the norm of each slice along one of the last `order` axes."""
    others = [each - order for each in range(order) if each != axis]
    return tensor.square().sum(others).sqrt() if others else tensor.abs()


def _with_slice_norms(structure: Structure, size: Size, generator: Generator | None) -> list[Tensor]:
    """Gaussian; then each column and each matrix of its chain has the norm of the core's slice that it belongs to."""
    factors = gaussian(structure, size, generator)
    (_, core), *parts = structure.parts
    for axis, (rank, (positions, _)) in enumerate(zip(core, parts)):
        wanted = _slice_norms(factors[0], len(core), axis)
        for position in positions:
            term = structure.terms[position]
            if rank not in term:
                raise ValueError(
                    'init "slice_norms" is of columns, which a chain of a whole factor has not; give chains="column"'
                )
            along = [-1 if letter == rank else 1 for letter in term]
            own = _slice_norms(factors[position], len(term), term.index(rank))
            factors[position] = factors[position] * (wanted / own).reshape(along)
    return factors


_INITIALISERS = {"gaussian": gaussian, "slice_norms": _with_slice_norms, "balanced": balanced_gaussian}
