"""Hierarchical Tucker forms: Tucker forms whose factors are Tucker forms again."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from typing import Any

from torch import Tensor

from irkernels.grammar import symbol
from irkernels.reference.operands import check_kind
from irkernels.tensors.contraction import contraction, mode_of


def ht_to_tensor(ht_tensor: Any, modes: Sequence[int] | None = None) -> Tensor:
    """The tensor of a hierarchical Tucker form over any tree of modes: [n_1, ..., n_N].

    ht_tensor: (core, factors) as of a Tucker form, but a factor is a matrix [n, r] or a node (transfer, factors) in
    its turn, to any depth, with any number of factors.  A node's transfer tensor is [r_1, ..., r_m, r], r_i the columns
    of its factors and r its own; the core has no r.  A transfer [s, r] and a core [s] are diagonal in their factors,
    which all have s columns (the local components of Razin et al. 2022); None stands for ones.  So ht_to_tensor is
    tucker_to_tensor and cp_to_tensor where no factor is a node.
    modes: the mode of each matrix, left to right; 0, 1, 2, ... without.
    Operands are counted depth first, a core or transfer before its factors.

    >>> pair = (torch.ones(2, 3, 5), [torch.ones(4, 2), torch.ones(6, 3)])
    >>> ht_to_tensor((torch.ones(5, 2), [pair, torch.ones(7, 2)])).shape
    torch.Size([4, 6, 7])
    """
    letters = map(symbol, count())
    terms: list[str] = []
    operands: list[Tensor] = []
    leaves: list[str] = []
    waiting = [(ht_tensor, "")]  # nodes with the letter of their columns, the next one last
    while waiting:
        node, column = waiting.pop()
        if isinstance(node, Tensor):
            _check_leaf(len(operands), node, column)
            leaves.append(next(letters))
            terms.append(leaves[-1] + column)
            operands.append(node)
            continue
        core, factors = _node(node, len(operands))
        if core is None:
            inner = [column or next(letters)] * len(factors)
        else:
            check_kind(len(operands), core)
            inner = _inner_letters(core, len(factors), bool(column), letters, len(operands))
            terms.append("".join(dict.fromkeys(inner) if len(inner) + len(column) != core.dim() else inner) + column)
            operands.append(core)
        waiting.extend(reversed(list(zip(factors, inner))))
    return contraction(f"{','.join(terms)}->{''.join(_in_order(leaves, modes))}", operands)


def _node(node: Any, position: int) -> tuple[Any, Sequence[Any]]:
    try:
        core, factors = node
        if len(factors):
            return core, factors
    except (TypeError, ValueError):
        pass
    raise TypeError(
        f"operand {position}: a node of a hierarchical form is (core, factors) with one factor at least, or a matrix;"
        f" got {type(node).__name__}"
    )


def _inner_letters(core: Tensor, factors: int, has_column: bool, letters: Any, position: int) -> list[str]:
    """A letter for the columns of each factor, all the same where the core is diagonal."""
    if core.dim() == factors + has_column:
        return [next(letters) for _ in range(factors)]
    if core.dim() == 1 + has_column:
        return [next(letters)] * factors
    raise ValueError(
        f"operand {position} of shape {list(core.shape)} has {core.dim()} dimensions, but joins {factors} factors: it"
        f" needs {factors + has_column}, or {1 + has_column} where it is diagonal"
    )


def _check_leaf(position: int, leaf: Tensor, column: str) -> None:
    if not column:
        raise TypeError("the root of a hierarchical form is (core, factors), got a tensor")
    if leaf.dim() != 2:
        raise ValueError(
            f"operand {position} of shape {list(leaf.shape)} has {leaf.dim()} dimensions, but a leaf is a matrix [n, r]"
        )


def _in_order(leaves: list[str], modes: Sequence[int] | None) -> list[str]:
    """The letters of the output: those of the leaves, each at its mode."""
    if modes is None:
        return leaves
    places = [mode_of("mode", mode, len(leaves), "matrices") for mode in modes]
    if sorted(places) != list(range(len(leaves))):
        raise ValueError(f"modes {list(modes)} are not the {len(leaves)} modes of the matrices (each must stand once)")
    output = [""] * len(leaves)
    for place, letter in zip(places, leaves):
        output[place] = letter
    return output
