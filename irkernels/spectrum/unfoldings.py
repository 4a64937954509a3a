"""Spectra of a tensor unfolded to matrices: mode by mode, at a set of modes, at every node of a tree of modes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from irkernels._arguments import integer, strided
from irkernels.spectrum.values import effective_rank_of, singular_values


def matricisation(T: Tensor, modes: int | Sequence[int], order: int | None = None) -> Tensor:
    """T [..., d_1, .., d_N] unfolded to [..., product of d over `modes`, product of the others], each in rising order.

    modes: positions from 0 among the last `order` axes (default: all of T's, no trials).
    Raises TypeError (no tensor, no integer) and ValueError (order, a mode out of range or named twice).
    """
    order = _order(T, order)
    rows = sorted(integer("modes", mode, 0) for mode in ([modes] if not isinstance(modes, Sequence) else modes))
    if len(set(rows)) < len(rows) or any(mode >= order for mode in rows):
        raise ValueError(f"modes must be different and within 0 to {order - 1}, got {rows}")
    lead = T.dim() - order
    cols = [mode for mode in range(order) if mode not in rows]
    shape, sizes = T.shape[:lead], T.shape[lead:]
    moved = T.permute(*range(lead), *(lead + mode for mode in rows), *(lead + mode for mode in cols))
    return moved.reshape(*shape, math.prod(sizes[mode] for mode in rows), math.prod(sizes[mode] for mode in cols))


def matricisation_singular_values(T: Tensor, modes: int | Sequence[int], order: int | None = None) -> Tensor:
    """The singular values [..., k] of matricisation(T, modes, order), largest first."""
    return singular_values(matricisation(T, modes, order))


def matricisation_rank(
    T: Tensor, modes: int | Sequence[int], order: int | None = None, tolerance: float | None = None
) -> Tensor:
    """[...] int64: how many singular values of T unfolded at `modes` exceed tolerance times the largest.

    tolerance: default the rounding of the decomposition, max(rows, cols) times the dtype's epsilon.
    """
    matrix = matricisation(T, modes, order)
    values = singular_values(matrix)
    if tolerance is None:
        tolerance = max(matrix.shape[-2:]) * torch.finfo(values.dtype).eps
    return (values > tolerance * values[..., :1]).sum(-1)


def unfolding_singular_values(T: Tensor, order: int | None = None) -> list[Tensor]:
    """For each mode n the singular values [..., min(d_n, the rest)] of T unfolded to [d_n, all others]."""
    return [matricisation_singular_values(T, mode, order) for mode in range(_order(T, order))]


def multilinear_effective_rank(T: Tensor, order: int | None = None) -> Tensor:
    """[..., N]: the effective rank of each mode's unfolding of T [..., d_1, .., d_N] (Milanesi et al. 2021).

    order: how many of T's last axes are modes; default all.  Differentiable.  Raises what matricisation raises.
    """
    return torch.stack([effective_rank_of(values) for values in unfolding_singular_values(T, order)], dim=-1)


def hierarchical_rank(
    T: Tensor, tree: Any = None, order: int | None = None, tolerance: float | None = None
) -> dict[tuple[int, ...], Tensor]:
    """Every node of a tree of modes but its root -> matricisation_rank of T at the node's modes.

    tree: nested tuples of modes, ((0, 1), (2, 3)); default binary, neighbours paired.  Grasedyck, Hierarchical Singular
    Value Decomposition of Tensors (2010); Razin, Maman, Cohen (2022).  Raises TypeError and ValueError naming the tree.
    """
    from irkernels.families.mode_tree import read_tree  # families train, and training measures spectra

    root = read_tree(tree, _order(T, order))
    return {
        node.modes: matricisation_rank(T, node.modes, order, tolerance) for node in root.below() if node is not root
    }


def _order(T: Any, order: int | None) -> int:
    strided("T", T)
    order = T.dim() if order is None else integer("order", order, 1)
    if not 1 <= order <= T.dim():
        raise ValueError(f"order is {order}, but T has {T.dim()} axes")
    return order
