"""Hierarchical Tucker product over a tree of modes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Unpack

from irkernels.families.arguments import chained_by, extents
from irkernels.families.drawing import Drawing, choose
from irkernels.families.family import Family, gaussian
from irkernels.families.mode_tree import Node, ranks_of, read_tree
from irkernels.families.structure import Structure

_INITIALISERS = {"gaussian": gaussian}


class HierarchicalTucker(Family):
    """A tree of Hadamard products and matrices (transfer="diagonal"), or of transfer tensors (transfer="full")."""

    def __init__(
        self,
        shape: Sequence[int],
        ranks: int | Sequence[int] | Mapping[tuple[int, ...], int],
        tree: Any = None,
        depth: int = 1,
        *,
        transfer: str = "diagonal",
        hidden: int | None = None,
        init: str = "gaussian",
        **drawing: Unpack[Drawing],
    ) -> None:
        build = choose("transfer", transfer, _TRANSFERS)
        structure = Structure()
        modes = [structure.mode(extent) for extent in extents("shape", shape)]
        root = read_tree(tree, len(modes))
        build(structure, modes, root, ranks, chained_by(depth, "factor", hidden))
        super().__init__(structure, init, _INITIALISERS, drawing)


def _diagonal(structure: Structure, modes: list[str], root: Node, ranks: Any, options: dict[str, Any]) -> None:
    """Each inner node t has an index p_t of rank(t) local components, at which its children's matrices meet."""
    inner = [node for node in root.below() if node.children]
    of_node = ranks_of(inner, ranks)
    index = {node: structure.letter(of_node[node]) for node in inner}

    def add(node: Node, outgoing: str) -> None:
        for child in node.children:
            add(child, index[node])
        structure.chain(index[node] if node.children else modes[node.modes[0]], outgoing, **options)

    for child in root.children:
        add(child, index[root])
    structure.factor(index[root])


def _full(structure: Structure, modes: list[str], root: Node, ranks: Any, options: dict[str, Any]) -> None:
    """Each node t but the root has an index of rank(t), and an inner one a tensor over its children's indices and it."""
    nodes = [node for node in root.below() if node is not root]
    of_node = ranks_of(nodes, ranks)
    index = {node: structure.letter(of_node[node]) for node in nodes}
    for node in nodes:
        rows = "".join(index[child] for child in node.children) if node.children else modes[node.modes[0]]
        structure.chain(rows, index[node], **options)
    structure.factor("".join(index[child] for child in root.children))


_TRANSFERS = {"diagonal": _diagonal, "full": _full}
