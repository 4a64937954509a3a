"""Hierarchical products over a tree of modes, nested tuples such as ((0, 1), (2, 3)) (Razin, Maman, Cohen 2022)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor


def hierarchical(tree: Any, operands: Sequence[Tensor], transfer: str = "diagonal") -> Tensor:
    """The root's tensor, its axes in the order of the modes.  operands: children before their parent.

    A node t stands for tensors T_t[r] over the modes below it.  "diagonal": T_t[r] is the outer product over its
    children s of sum_q M_s[q, r] T_s[q], where T[q] of a leaf is the unit vector q; W = sum_q w[q] T_root[q].
    "full": T_t[r] = sum over the children's q of B_t[q_1, q_2, .., r] times the outer product of T_s[q_s], a leaf's
    matrix in place of B; the root's B has no r.
    """
    multiply = _diagonal if transfer == "diagonal" else _full
    modes, W = multiply(tree, iter(operands))
    return W.permute([modes.index(mode) for mode in range(len(modes))])


def _diagonal(tree: Any, operands: Iterator[Tensor]) -> tuple[list[int], Tensor]:
    """The modes in the tree's order, and sum_q M[q, r] T[q] as [*modes, r]."""
    if isinstance(tree, int):
        return [tree], next(operands)
    modes, T = _diagonal(tree[0], operands)
    for child in tree[1:]:
        below, other = _diagonal(child, operands)
        T = torch.stack([_outer(T[..., r], other[..., r]) for r in range(T.shape[-1])], dim=-1)
        modes = modes + below
    return modes, T @ next(operands)


def _full(tree: Any, operands: Iterator[Tensor]) -> tuple[list[int], Tensor]:
    if isinstance(tree, int):
        return [tree], next(operands)
    children = [_full(child, operands) for child in tree]
    T = next(operands)
    for _, below in children:  # B's first index each time; the modes below it go to the end
        T = torch.tensordot(T, below, dims=([0], [-1]))
    kept = T.dim() - sum(len(modes) for modes, _ in children)  # 1 for the node's own r, 0 at the root
    return [mode for modes, _ in children for mode in modes], T.movedim(0, -1) if kept else T


def _outer(left: Tensor, right: Tensor) -> Tensor:
    product: Tensor = torch.tensordot(left, right, dims=0)
    return product
