"""How local components of a hierarchical product grow under gradient flow: exact, for any factors.

Component r of a node: its children's columns r and its own outgoing row r, K weight vectors.  With sigma the product of
their norms and C_r the part of W that passes through it,

    dsigma/dt = <-G, C_r / sigma> sigma^2 sum_k ||.||^{-2}

Razin, Maman, Cohen, Implicit Regularization in Hierarchical Tensor Factorization and Deep Convolutional Neural Networks
(2022).  laws.py has the balanced form, of degree K.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from irkernels.dynamics.equations import local_components_equation
from irkernels.dynamics.norms import column_norms, column_norms_velocity, over
from irkernels.dynamics.widths import widened, widened_gradient
from irkernels.families.mode_tree import Node, read_tree
from irkernels.functional import gradients

Modes = tuple[int, ...]


def local_component_velocity(factors: Sequence[Tensor], gradient: Any, tree: Any = None) -> dict[Modes, Tensor]:
    """Each inner node, named by the modes below it -> dsigma_r/dt [..., its components].

    factors: in the order of irk.nn.HierarchicalTucker with transfer="diagonal" and depth 1, children before parent: a
    leaf [..., d_n, R_parent], an inner node [..., R, R_parent], the root's weights [..., R_root].
    gradient: G = dL/dW [..., d_1, .., d_N], an Observed, or a pair (at, values).
    tree: nested tuples of modes, ((0, 1), (2, 3)); default binary, neighbours paired.
    Differentiable.  0 for a component with two zero vectors or more.  Raises TypeError and ValueError naming the tree
    or the number of factors, and what irk.gradients raises.
    """
    factors, slopes, root = _pulled_back(factors, gradient, tree)
    moved = [-slope for slope in slopes]
    vectors, velocities = _weight_vectors(root, factors), _weight_vectors(root, moved)
    return {modes: column_norms_velocity(vectors[modes], velocities[modes]) for modes in vectors}


def local_component_alignment(factors: Sequence[Tensor], gradient: Any, tree: Any = None) -> dict[Modes, Tensor]:
    """Each inner node -> <-G, C_r / sigma_r> [..., its components], 0 where sigma_r is.

    Arguments and errors as of local_component_velocity.
    """
    factors, slopes, root = _pulled_back(factors, gradient, tree)
    vectors, pulled = _weight_vectors(root, factors), _weight_vectors(root, slopes)
    return {
        modes: over(-(own[-1] * pulled[modes][-1]).sum(-2), column_norms(own)) for modes, own in vectors.items()
    }


def _pulled_back(given: Sequence[Tensor], gradient: Any, tree: Any) -> tuple[list[Tensor], list[Tensor], Node]:
    factors, gradient = widened(list(given)), widened_gradient(gradient)
    root = read_tree(tree, _order_of(tree, len(factors)))
    count = len(list(root.below()))
    if len(factors) != count:
        raise ValueError(f"the tree has {count} nodes, each with a factor, but there are {len(factors)} factors")
    return factors, list(gradients(local_components_equation(root), *factors, cotangent=gradient)), root


def _order_of(tree: Any, factors: int) -> int:
    """How many modes: the leaves of the tree as it is written; of a binary one with n factors (n + 1) / 2."""
    if tree is None:
        return (factors + 1) // 2
    return sum(_order_of(each, factors) for each in tree) if isinstance(tree, (tuple, list)) else 1


def _weight_vectors(root: Node, tensors: list[Tensor]) -> dict[Modes, list[Tensor]]:
    """Each inner node -> its K weight vectors, each [..., extent, components], the outgoing row last."""
    of = dict(zip(root.below(), tensors))
    found = {}
    for node, own in of.items():
        if node.children:
            outgoing = own.unsqueeze(-2) if node is root else own.mT
            found[node.modes] = [*(of[child] for child in node.children), outgoing]
    return found
