"""A loss of a product at one point: its gradient, and Hessian-vector products in forward-over-reverse form.

    up the tree    dZ = dX Y + X dY                       (dX, dY tangents of the two sides of node Z)
    at the root    dG = H_L[dW]                           (curvature/losses.py)
    down the tree  D_X = pull_X(D_Z; Y) + pull_X(G_Z; dY)  (D, G: cotangents of dual and of value; D_W = dG)

which is (3) of the matrix chain on any contraction tree: each value, tangent and cotangent is made once. What depends
on the point alone (values of nodes, their cotangents G) is made at construction; then a product with the Hessian is
two contractions a node up and four down, where the gradient is one up and two down.
Reference: irkernels/reference/curvature.py
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from irkernels import autograd, eager
from irkernels.curvature import tree
from irkernels.curvature.losses import Callback, Pointwise
from irkernels.curvature.tree import Node
from irkernels.gather import gathered, scattered
from irkernels.observed import Coordinates


class Linearization:
    """The loss of P(operands), dense or at listed entries, at these operands; all of one dtype, float32 or float64."""

    def __init__(
        self,
        equation: str,
        operands: Sequence[Tensor],
        wanted: Sequence[bool],
        loss: Pointwise | Callback,
        at: Coordinates | None,
    ) -> None:
        operands = tuple(operands)
        self._rows: tuple[str, tuple[Tensor, ...], Coordinates] | None = None
        self._nodes = tree.pairwise(equation, operands, -1 if at is None else at.nnz)
        if at is not None and not self._nodes:  # of an order so high that no tensor of a tree can be formed
            self._rows = equation, operands, at
            equation, operands = gathered(equation, operands, at)
            self._nodes, at = tree.pairwise(equation, operands), None
        self._at, self._count = at, len(operands)
        self._needed = _needed(self._nodes, wanted)
        self._values = list(operands)
        for node in self._nodes[:-1]:
            self._values.append(_product(node.equation, self._sides(node, self._values)))
        root = self._nodes[-1]
        self._slope, self._bend = loss.slope_and_bend(_product(root.equation, self._sides(root, self._values), at))
        self._cotangents: dict[int, Tensor] = {}
        self._inner_cotangents()

    def gradient(self) -> tuple[Tensor | None, ...]:
        """dL/d(operand) for each wanted operand, None for the others."""
        found: list[Tensor | None] = [None] * self._count
        for number, node in enumerate(self._nodes, self._count):
            leaves = sum(
                1 << place for place, side in enumerate(node.sides) if side < self._count and self._needed[side]
            )
            if leaves:
                self._pull(node, self._cotangents[number], self._sides(node, self._values), leaves, found)
        return self._scattered(found)

    def product(self, tangents: Sequence[Tensor | None]) -> tuple[Tensor | None, ...]:
        """The Hessian times a direction, for each wanted operand; tangents: one for each operand, None for zero."""
        moved = list(tangents)
        if self._rows is not None:
            moved = _gathered_tangents(*self._rows, moved)
        for node in self._nodes[:-1]:
            moved.append(self._push(node, moved))
        duals: list[Tensor | None] = [None] * (self._count + len(self._nodes))
        last = self._push(self._nodes[-1], moved, self._at)
        if last is not None and self._bend is not None:
            duals[-1] = self._bend(last)
        for number in reversed(range(self._count, len(duals))):
            node = self._nodes[number - self._count]
            needed = sum(1 << place for place, side in enumerate(node.sides) if self._needed[side])
            dual = duals[number]
            if dual is not None:
                self._pull(node, dual, self._sides(node, self._values), needed, duals)
            self._pull_tangents(node, self._cotangents[number], moved, needed, duals)
        for number, value in enumerate(self._values[: self._count]):
            if self._needed[number] and duals[number] is None:
                duals[number] = torch.zeros_like(value)
        return self._scattered(duals[: self._count])

    def _inner_cotangents(self) -> None:
        last = self._count + len(self._nodes) - 1
        self._cotangents[last] = self._slope
        found: list[Tensor | None] = [None] * (last + 1)
        for number in reversed(range(self._count, last + 1)):
            node = self._nodes[number - self._count]
            inner = sum(
                1 << place for place, side in enumerate(node.sides) if side >= self._count and self._needed[side]
            )
            if inner:
                self._pull(node, self._cotangents[number], self._sides(node, self._values), inner, found)
            for side in node.sides:
                pulled = found[side]
                if pulled is not None:
                    self._cotangents[side] = pulled

    def _push(self, node: Node, moved: list[Tensor | None], at: Coordinates | None = None) -> Tensor | None:
        """The tangent of a node."""
        sides, total = self._sides(node, self._values), None
        for place, side in enumerate(node.sides):
            tangent = moved[side]
            if tangent is not None:
                term = _product(node.equation, (*sides[:place], tangent, *sides[place + 1 :]), at)
                total = term if total is None else total + term
        return total

    def _pull(
        self, node: Node, cotangent: Tensor, sides: tuple[Tensor, ...], needed: int, into: list[Tensor | None]
    ) -> None:
        """Adds the pullbacks of a node's cotangent to its needed sides."""
        if not needed:
            return
        at = self._at if node is self._nodes[-1] else None
        for side, pulled in zip(node.sides, eager.gradients(node.equation, sides, needed, cotangent, at)):
            if pulled is not None:
                before = into[side]
                into[side] = pulled if before is None else before + pulled

    def _pull_tangents(
        self, node: Node, cotangent: Tensor, moved: list[Tensor | None], needed: int, into: list[Tensor | None]
    ) -> None:
        """The pullback to each side at the other side's tangent."""
        if len(node.sides) < 2:
            return
        tangents = [moved[side] for side in node.sides]
        for place, tangent in enumerate(tangents):
            if tangent is None:
                needed &= ~(1 << (1 - place))  # the other side's pullback reads it
        held = tuple(v if t is None else t for v, t in zip(self._sides(node, self._values), tangents))
        self._pull(node, cotangent, held, needed, into)

    def _sides(self, node: Node, tensors: list[Tensor]) -> tuple[Tensor, ...]:
        return tuple(tensors[side] for side in node.sides)

    def _scattered(self, found: list[Tensor | None]) -> tuple[Tensor | None, ...]:
        return tuple(found) if self._rows is None else scattered(*self._rows, found)


def _product(equation: str, sides: tuple[Tensor, ...], at: Coordinates | None = None) -> Tensor:
    found = eager.product(equation, sides, at)
    return autograd.product(equation, sides, at) if found is None else found


def _needed(nodes: tuple[Node, ...], wanted: Sequence[bool]) -> list[bool]:
    """Which tensors have a wanted operand below them."""
    needed = list(wanted)
    for node in nodes:
        needed.append(any(needed[side] for side in node.sides))
    return needed


def _gathered_tangents(
    equation: str, operands: tuple[Tensor, ...], at: Coordinates, tangents: Sequence[Tensor | None]
) -> list[Tensor | None]:
    filled = tuple(operand if tangent is None else tangent for operand, tangent in zip(operands, tangents))
    _, rows = gathered(equation, filled, at)
    return [None if tangent is None else row for tangent, row in zip(tangents, rows)]
