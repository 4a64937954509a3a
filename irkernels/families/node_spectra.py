"""Hierarchical singular values: those of W unfolded at each node of its tree, from transfer tensors alone."""

from __future__ import annotations

import torch
from torch import Tensor

from irkernels.families.mode_tree import Node


def node_singular_values(root: Node, parts: dict[Node, Tensor]) -> dict[tuple[int, ...], Tensor]:
    """Every node but the root -> the singular values of W unfolded to [its modes, all others], largest first.

    parts: leaves [.., n, k], inner nodes [.., *children's k, k], root [.., *children's k].  At a node t W unfolds to
    U_t C_t^T, frames of its subtree and of all else; with U_t = Q R and C_t = P S these are those of R S^T.
    """
    lead = parts[root].dim() - len(root.children)
    below: dict[Node, Tensor] = {}
    for node in root.below():
        if node is not root:
            below[node] = _triangle(_with_children(parts[node], lead, node, below), lead)
    beside: dict[Node, Tensor] = {}
    for node in reversed(list(root.below())):
        tensor = parts[node] if node is root else _multiply(parts[node], -1, beside[node])
        for at, child in enumerate(node.children):
            others = {other: below[other] for other in node.children if other is not child}
            beside[child] = _triangle(_with_children(tensor, lead, node, others).movedim(lead + at, -1), lead)
    return {node.modes: torch.linalg.svdvals(below[node] @ beside[node].mT) for node in below}


def _with_children(tensor: Tensor, lead: int, node: Node, triangles: dict[Node, Tensor]) -> Tensor:
    """The node's tensor with the triangles of (some of) its children multiplied in."""
    for at, child in enumerate(node.children):
        if child in triangles:
            tensor = _multiply(tensor, lead + at, triangles[child])
    return tensor


def _multiply(tensor: Tensor, axis: int, matrix: Tensor) -> Tensor:
    """[.., k, ..] x [.., q, k] -> [.., q, ..] along one axis."""
    moved = tensor.movedim(axis, -1)
    spread = matrix.reshape(*matrix.shape[:-2], *[1] * (moved.dim() - matrix.dim()), *matrix.shape[-2:])
    return (moved @ spread.mT if moved.dim() > 1 else spread @ moved).movedim(-1, axis)


def _triangle(tensor: Tensor, lead: int) -> Tensor:
    """R of the tensor unfolded to [all axes but its last, the last]."""
    R: Tensor = torch.linalg.qr(tensor.reshape(*tensor.shape[:lead], -1, tensor.shape[-1])).R
    return R
