"""Peers of second derivatives: the mean squared distance of a product to a dense target, differentiated once and twice.

mode "hvp": one product with the Hessian.  mode "sharpness": its largest eigenvalue, by the same Lanczos iteration.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from bench import inputs
from bench.peer import Case, Peer
from bench.workloads import Product

_TOLERANCE, _ITERATIONS = 1e-4, 200


@dataclass
class _Now:
    operands: tuple[Tensor, ...] = ()
    tangents: tuple[Tensor, ...] = ()
    target: Tensor = field(default_factory=lambda: torch.empty(0))
    start: Tensor = field(default_factory=lambda: torch.empty(0))


def _case(row: Product, dtype: str, run: Callable[[_Now], tuple[Tensor, ...]]) -> Case:
    now = _Now()

    def fresh(seed: int) -> None:
        arrays, target = inputs.operands(row, dtype, seed)
        now.operands, now.target = tuple(map(torch.from_numpy, arrays)), torch.from_numpy(target)
        now.tangents = tuple(map(torch.from_numpy, inputs.operands(row, dtype, seed + 1000)[0]))
        now.start = torch.cat([tangent.flatten() for tangent in now.tangents])

    return Case(fresh, lambda: run(now), lambda results: [tensor.detach().numpy() for tensor in results])


def _gradient(row: Product, dtype: str, mode: str) -> Case:
    import irkernels as irk

    def run(now: _Now) -> tuple[Tensor, ...]:
        leaves = [operand.requires_grad_() for operand in now.operands]
        loss = torch.nn.functional.mse_loss(irk.einsum(row.subscripts, *leaves), now.target)
        return torch.autograd.grad(loss * (row.trials or 1), leaves)

    return _case(row, dtype, run)


def _irkernels(row: Product, dtype: str, mode: str) -> Case:
    from irkernels import curvature
    from irkernels.curvature.lanczos import largest_eigenpair
    from irkernels.curvature.parameters import Parameters
    from irkernels.curvature.problem import read_problem

    def hvp(now: _Now) -> tuple[Tensor, ...]:
        return curvature.hvp(row.subscripts, *now.operands, tangents=now.tangents, target=now.target)

    @torch.no_grad()
    def sharpness(now: _Now) -> tuple[Tensor, ...]:
        problem = read_problem(row.subscripts, now.operands, None, now.target, "mse", 1.0, None)
        layout, point = Parameters(problem), problem.linearized()
        return (
            largest_eigenpair(
                lambda v: layout.join(point.product(layout.split(v))), now.start[None], _TOLERANCE, _ITERATIONS
            ).value,
        )

    return _case(row, dtype, hvp if mode == "hvp" else sharpness)


def _functorch(row: Product, dtype: str, mode: str) -> Case:
    from irkernels.curvature.lanczos import largest_eigenpair

    def gradient(now: _Now) -> Callable[..., tuple[Tensor, ...]]:
        def loss(*operands: Tensor) -> Tensor:
            chain = row.family == "chain" and row.trials is None
            W = torch.linalg.multi_dot(operands) if chain else torch.einsum(row.subscripts, *operands)
            return ((W - now.target) ** 2).mean() * (row.trials or 1)  # each trial's own mean, added

        return torch.func.grad(loss, argnums=tuple(range(len(now.operands))))

    def hvp(now: _Now) -> tuple[Tensor, ...]:
        return torch.func.jvp(gradient(now), now.operands, now.tangents)[1]

    @torch.no_grad()
    def sharpness(now: _Now) -> tuple[Tensor, ...]:
        sizes, differentiate = [operand.numel() for operand in now.operands], gradient(now)

        def product(vector: Tensor) -> Tensor:
            parts = zip(vector[0].split(sizes), now.operands)
            tangents = tuple(part.view(operand.shape) for part, operand in parts)
            found = torch.func.jvp(differentiate, now.operands, tangents)[1]
            return torch.cat([each.flatten() for each in found])[None]

        return (largest_eigenpair(product, now.start[None], _TOLERANCE, _ITERATIONS).value,)

    return _case(row, dtype, hvp if mode == "hvp" else sharpness)


GRADIENT = Peer("irkernels, gradient", _gradient, "torch", needs="irkernels")
OWN = Peer("irkernels", _irkernels, "torch", needs="irkernels")
FUNCTORCH = Peer("torch.func", _functorch, "torch")
CURVATURE_PEERS = [GRADIENT, OWN, FUNCTORCH]
