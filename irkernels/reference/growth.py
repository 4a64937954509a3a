"""How norms of components grow under gradient flow: by the chain rule, dq/dt = -<dq/dtheta, dL/dtheta>, of any norm q.

One trial at a time; products are formed by their definitions, and autograd differentiates them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from operator import add
from typing import Any

import torch
from torch import Tensor

from irkernels.reference.chains import column_chains
from irkernels.reference.cp import cp, cp_component_norms
from irkernels.reference.hierarchical import hierarchical
from irkernels.reference.tucker import tucker

Part = Tensor | Sequence[Tensor]


def rate_of(
    norms: Callable[..., Tensor], product: Callable[..., Tensor], operands: Sequence[Tensor], gradient: Tensor
) -> Tensor:
    """The velocity of norms(*operands), a vector, while each operand moves by minus the gradient of <G, product>."""
    operands = [operand.detach().requires_grad_() for operand in operands]
    moves = torch.autograd.grad((product(*operands) * gradient).sum(), operands)
    rates = []
    for norm in norms(*operands):
        slopes = torch.autograd.grad(norm, operands, allow_unused=True, retain_graph=True)
        parts = [(slope * move).sum() for slope, move in zip(slopes, moves) if slope is not None]
        rates.append(-reduce(add, parts))
    return torch.stack(rates)


def component_velocity(factors: Sequence[Part], gradient: Tensor, chains: str = "column") -> Tensor:
    """Of sigma_r, the norm of component r of CP or deep CP (Razin, Maman, Cohen 2021)."""
    operands, together = _flat(factors, chains)
    return rate_of(
        lambda *each: cp_component_norms(together(each)), lambda *each: cp(together(each)), operands, gradient
    )


def vector_norm_velocity(factors: Sequence[Part], gradient: Tensor, chains: str = "column") -> Tensor:
    """Of rho_r, the product over modes of the norms of column r of each chain's last operand."""
    operands, together = _flat(factors, chains)
    ends, at = [], -1
    for part in factors:
        at += 1 if isinstance(part, Tensor) else len(part)
        ends.append(at)
    return rate_of(
        lambda *each: cp_component_norms([each[end] for end in ends]),
        lambda *each: cp(together(each)),
        operands,
        gradient,
    )


def slice_velocity(core: Tensor, factors: Sequence[Part], gradient: Tensor, chains: str = "column") -> list[Tensor]:
    """Of ||C_j||, the norms of a Tucker core's slices, mode by mode."""
    operands, together = _flat(factors, chains)

    def product(core: Tensor, *each: Tensor) -> Tensor:
        return tucker(core, together(each))

    def slice_norms(mode: int) -> Callable[..., Tensor]:
        return lambda core, *_: torch.stack([part.square().sum().sqrt() for part in core.unbind(mode)])

    return [rate_of(slice_norms(n), product, [core, *operands], gradient) for n in range(core.dim())]


def local_component_velocity(
    factors: Sequence[Tensor], gradient: Tensor, tree: Any
) -> dict[tuple[int, ...], Tensor]:
    """Of each local component's norm: of its children's columns r times its outgoing row r (Razin et al. 2022)."""
    found = {}
    for modes, own, children in _inner_nodes(tree):

        def norms(*operands: Tensor, own: int = own, children: Sequence[int] = children) -> Tensor:
            size: Tensor = operands[own].abs() if operands[own].dim() == 1 else operands[own].norm(dim=1)
            for child in children:
                size = size * operands[child].norm(dim=0)
            return size

        found[modes] = rate_of(norms, lambda *operands: hierarchical(tree, operands), factors, gradient)
    return found


def _inner_nodes(tree: Any) -> list[tuple[tuple[int, ...], int, list[int]]]:
    """(modes, position of its operand, positions of its children's) of each inner node, children before parent."""
    found: list[tuple[tuple[int, ...], int, list[int]]] = []
    count = 0

    def visit(node: Any) -> tuple[tuple[int, ...], int]:
        nonlocal count
        below = [visit(child) for child in node] if isinstance(node, tuple) else []
        own, count = count, count + 1
        modes = tuple(sorted(mode for child, _ in below for mode in child)) if below else (node,)
        if below:
            found.append((modes, own, [position for _, position in below]))
        return modes, own

    visit(tree)
    return found


def _flat(factors: Sequence[Part], chains: str) -> tuple[list[Tensor], Callable[[Sequence[Tensor]], list[Tensor]]]:
    """All operands in a row, and the function that multiplies such a row's chains back to matrices."""
    counts = [None if isinstance(part, Tensor) else len(part) for part in factors]
    operands = [each for part in factors for each in ([part] if isinstance(part, Tensor) else part)]

    def together(row: Sequence[Tensor]) -> list[Tensor]:
        row, matrices = list(row), []
        for count in counts:
            part, row = row[: count or 1], row[count or 1 :]
            matrices.append(_matrix(part, chains) if count else part[0])
        return matrices

    return operands, together


def _matrix(chain: list[Tensor], chains: str) -> Tensor:
    return column_chains(chain) if chains == "column" else reduce(torch.matmul, chain)
