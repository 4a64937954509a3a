"""Equations of the products whose parts' norms are followed; `...` are trials."""

from __future__ import annotations

import itertools

from irkernels.families.mode_tree import Node
from irkernels.grammar import symbol


def cp_equation(order: int) -> str:
    """F_n [d_n, R] to W [d_1, .., d_N]."""
    modes = [symbol(n) for n in range(order)]
    return ",".join("..." + mode + symbol(order) for mode in modes) + "->..." + "".join(modes)


def tucker_equation(order: int) -> str:
    """The core [r_1, .., r_N] and F_n [d_n, r_n] to W [d_1, .., d_N]."""
    modes, core = [symbol(n) for n in range(order)], [symbol(order + n) for n in range(order)]
    factors = ",".join("..." + mode + rank for mode, rank in zip(modes, core))
    return f"...{''.join(core)},{factors}->...{''.join(modes)}"


def column_chains_equation(count: int) -> str:
    """P_1 [R, d, h], P_2 [R, h, h], .., and w [h, R] to [d, R]: column r is P_1[r] P_2[r] .. w[:, r]."""
    column, inner = symbol(0), [symbol(1 + i) for i in range(count)]
    matrices = ["..." + column + left + right for left, right in itertools.pairwise(inner)]
    return ",".join([*matrices, "..." + inner[-1] + column]) + f"->...{inner[0]}{column}"


def local_components_equation(root: Node) -> str:
    """A matrix for each node but the root, children before parent, and the root's weights.

    A node's matrix is [its modes or components, its parent's components].
    """
    nodes = list(root.below())
    own = {node: symbol(i) for i, node in enumerate(nodes)}
    parent = {child: node for node in nodes for child in node.children}
    terms = ["..." + own[node] + (own[parent[node]] if node in parent else "") for node in nodes]
    leaves = sorted((node for node in nodes if not node.children), key=lambda node: node.modes)
    return ",".join(terms) + "->..." + "".join(own[leaf] for leaf in leaves)
