"""Trees over the modes of a tensor, written as nested tuples: ((0, 1), (2, 3)) is the binary tree of order 4."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from irkernels._arguments import integer
from irkernels.families.arguments import each_or_all


@dataclass(frozen=True)
class Node:
    modes: tuple[int, ...]  # that lie below it, sorted; they name it
    children: tuple[Node, ...] = ()

    @property
    def height(self) -> int:
        """Leaves have 0."""
        return 1 + max(child.height for child in self.children) if self.children else 0

    def below(self) -> Iterator[Node]:
        """Every node of the tree, children before their parent."""
        for child in self.children:
            yield from child.below()
        yield self


def default_tree(order: int) -> tuple[Any, ...]:
    """Binary: neighbours are paired level by level, an odd one out moves up."""
    level: list[Any] = list(range(order))
    while len(level) > 1:
        level = [tuple(level[i : i + 2]) if i + 1 < len(level) else level[i] for i in range(0, len(level), 2)]
    tree: tuple[Any, ...] = level[0]
    return tree


def read_tree(tree: Any, order: int) -> Node:
    """The tree of nested tuples (or lists) of modes.

    Raises TypeError (neither a mode nor a tuple of nodes) and ValueError (a node with one child, a mode that is
    missing, repeated or out of range).
    """
    if order < 2:
        raise ValueError(f"shape: a mode tree has at least two modes, got {order}")
    root = _node(default_tree(order) if tree is None else tree)
    if list(root.modes) != list(range(order)):
        raise ValueError(f"tree: each of the modes 0 to {order - 1} must stand in it once, got {list(root.modes)}")
    return root


def ranks_of(nodes: list[Node], ranks: Any) -> dict[Node, int]:
    """The rank of each of these nodes: from one number, one a level (leaves first), or a mapping from the node's modes.

    Levels are heights, those of `nodes` alone counted.  Raises TypeError and ValueError naming the node.
    """
    if isinstance(ranks, Mapping):
        named = {tuple(modes) if isinstance(modes, tuple) else (modes,): rank for modes, rank in ranks.items()}
        known = [node.modes for node in nodes]
        if set(named) != set(known):
            odd = sorted(set(named) ^ set(known))[0]
            state = "is not one of the nodes with a rank" if odd in named else "has no rank"
            raise ValueError(f"ranks: the node {odd} {state}, which are {', '.join(map(str, known))}")
        return {node: integer(f"ranks[{node.modes}]", named[node.modes], 1) for node in nodes}
    heights = sorted({node.height for node in nodes})
    of_level = dict(zip(heights, each_or_all("ranks", ranks, len(heights))))
    return {node: of_level[node.height] for node in nodes}


def _node(given: Any) -> Node:
    if not isinstance(given, (tuple, list)):
        return Node((integer("tree: a mode", given, 0),))
    if len(given) < 2:
        raise ValueError(f"tree: a node has at least two children, got {given!r}")
    children = tuple(_node(each) for each in given)
    return Node(tuple(sorted(mode for child in children for mode in child.modes)), children)
