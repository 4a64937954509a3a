"""Hierarchical Tucker product over a tree of modes: local components, or full transfer tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Unpack

import torch
from torch import Tensor

from irkernels.families.arguments import chained_by, extents, one_of
from irkernels.families.drawing import Drawing
from irkernels.families.family import Family, balanced_gaussian, gaussian
from irkernels.families.mode_tree import Node, ranks_of, read_tree
from irkernels.families.node_spectra import node_singular_values
from irkernels.families.structure import Structure

_INITIALISERS = {"gaussian": gaussian, "balanced": balanced_gaussian}


class HierarchicalTucker(Family):
    """A tensor built up a tree of its modes; operands stand children before parent, in the tree's order.

    tree: nested tuples of modes, ((0, 1), (2, 3)), nodes of any number of children; default binary, neighbours paired.
    transfer="diagonal": an inner node t has rank(t) local components; a leaf below t has a matrix [shape[n], rank(t)],
    an inner node s below t one [rank(s), rank(t)]; t multiplies its children's vectors elementwise, h_t = prod_s M_s^T
    h_s, and the root ends with a weight vector [rank(root)].  transfer="full": every node t but the root has a rank;
    leaves have [shape[n], rank(n)], inner nodes [*ranks of its children, rank(t)], the root [*ranks of its children].
    ranks: one number; one a level, leaves first (inner levels alone for "diagonal", all but the root's for "full"; the
    level of a node is its height); or a mapping from a node's modes, (0, 1) or 0, to its rank.
    depth: a matrix chain of that many operands in place of each matrix (of a transfer tensor unfolded to [children,
    node]); the root's operand stays one.  hidden: their inner size (default the smaller side).
    init: "gaussian" or "balanced".  Further keyword arguments: families/drawing.py.

    Sources: Razin, Maman, Cohen, Implicit Regularization in Hierarchical Tensor Factorization and Deep Convolutional
    Neural Networks (2022); Grasedyck, Hierarchical Singular Value Decomposition of Tensors (2010).
    Raises ValueError and TypeError naming the argument.
    """

    def __init__(
        self,
        shape: Sequence[int],
        ranks: int | Sequence[int] | Mapping[Any, int],
        tree: Any = None,
        depth: int = 1,
        *,
        transfer: str = "diagonal",
        hidden: int | None = None,
        init: str = "gaussian",
        **drawing: Unpack[Drawing],
    ) -> None:
        build = _TRANSFERS[one_of("transfer", transfer, _TRANSFERS)]
        structure = Structure()
        modes = [structure.mode(extent) for extent in extents("shape", shape)]
        root = read_tree(tree, len(modes))
        build(structure, modes, root, ranks, chained_by(depth, "factor", hidden))
        super().__init__(structure, init, _INITIALISERS, drawing)
        self.root, self.transfer = root, transfer

    def component_norms(self) -> dict[tuple[int, ...], Tensor]:
        """For each node, named by its modes, [.., rank] or fewer.

        diagonal: the norms of an inner node's local components, prod ||column r of each child's matrix|| times ||row r
        of its own||.  full: the singular values of W unfolded to [the node's modes, the others], W never formed.
        """
        parts = dict(zip(self.root.below(), self.parts(), strict=True))
        return _local_component_norms(parts) if self.transfer == "diagonal" else node_singular_values(self.root, parts)


def _diagonal(structure: Structure, modes: list[str], root: Node, ranks: Any, options: dict[str, Any]) -> None:
    inner = [node for node in root.below() if node.children]
    of_node = ranks_of(inner, ranks)
    index = {node: structure.letter(of_node[node]) for node in inner}
    parent = {child: node for node in inner for child in node.children}
    for node in root.below():
        own = index[node] if node.children else modes[node.modes[0]]
        if node is root:
            structure.factor(own)
        else:
            structure.chain(own, index[parent[node]], **options)


def _full(structure: Structure, modes: list[str], root: Node, ranks: Any, options: dict[str, Any]) -> None:
    nodes = [node for node in root.below() if node is not root]
    of_node = ranks_of(nodes, ranks)
    index = {node: structure.letter(of_node[node]) for node in nodes}
    for node in root.below():
        below = "".join(index[child] for child in node.children) if node.children else modes[node.modes[0]]
        if node is root:
            structure.factor(below)
        else:
            structure.chain(below, index[node], **options)


_TRANSFERS = {"diagonal": _diagonal, "full": _full}


def _local_component_norms(parts: dict[Node, Tensor]) -> dict[tuple[int, ...], Tensor]:
    root = next(reversed(parts))
    found = {}
    for node, outgoing in parts.items():
        if node.children:
            norms = outgoing.abs() if node is root else torch.linalg.vector_norm(outgoing, dim=-1)
            for child in node.children:
                norms = norms * torch.linalg.vector_norm(parts[child], dim=-2)
            found[node.modes] = norms
    return found
