"""The end-to-end preconditioner sum_j (W W^T)^{(j-1)/N} G (W^T W)^{(N-j)/N}: irkernels and torch's matrix powers.

mode "gradients": value and gradients in W and G.  mode "value": the value alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from bench.peer import Case, Peer


@dataclass(frozen=True)
class Preconditioner:
    """n x n, of a balanced chain of `depth` factors; powers of a rectangular W's larger Gram matrix have no slopes."""

    n: int
    depth: int

    @property
    def name(self) -> str:
        return f"{self.n} x {self.n}, depth {self.depth}"

    def tiny(self) -> Preconditioner:
        return replace(self, n=min(self.n, 4))


def own(W: Tensor, G: Tensor, depth: int) -> Tensor:
    import irkernels as irk

    return -irk.dynamics.balanced_velocity(W, G, depth)


def _eigen(S: Tensor) -> tuple[Tensor, Tensor]:
    values, vectors = torch.linalg.eigh(S)
    return values.clamp(min=torch.finfo(S.dtype).eps * S.shape[-1]), vectors


def _power(eigen: tuple[Tensor, Tensor], exponent: float) -> Tensor:
    values, vectors = eigen
    return (vectors * values.pow(exponent)) @ vectors.mT


def powers(W: Tensor, G: Tensor, depth: int) -> Tensor:
    """As the formula stands: a matrix power at each place where one is written, but for exponent 0."""
    total = torch.zeros_like(G)
    for j in range(depth):
        left = _power(_eigen(W @ W.mT), j / depth) @ G if j else G
        k = depth - 1 - j
        total = total + (left @ _power(_eigen(W.mT @ W), k / depth) if k else left)
    return total


def shared_powers(W: Tensor, G: Tensor, depth: int) -> Tensor:
    """The same from one decomposition of each Gram matrix."""
    left, right = _eigen(W @ W.mT), _eigen(W.mT @ W)
    total = torch.zeros_like(G)
    for j in range(depth):
        term = _power(left, j / depth) @ G if j else G
        k = depth - 1 - j
        total = total + (term @ _power(right, k / depth) if k else term)
    return total


def _peer(name: str, function: Callable[[Tensor, Tensor, int], Tensor]) -> Peer:
    def prepare(row: Preconditioner, dtype: str, mode: str) -> Case:
        now: list[Tensor] = []

        def fresh(seed: int) -> None:
            draw = torch.Generator().manual_seed(seed)
            now[:] = (torch.randn(row.n, row.n, generator=draw, dtype=getattr(torch, dtype)) for _ in range(3))
            if mode == "gradients":
                now[:2] = (tensor.requires_grad_() for tensor in now[:2])

        def run() -> tuple[Tensor, ...]:
            W, G, cotangent = now
            if mode == "value":
                return (function(W, G, row.depth),)
            value = function(W, G, row.depth)
            return value, *torch.autograd.grad(value, (W, G), cotangent)

        return Case(fresh, run, lambda found: [each.detach().numpy() for each in found])

    return Peer(name, prepare, "torch")


OWN = _peer("irkernels", own)
POWERS = _peer("matrix powers", powers)
SHARED = _peer("powers, shared eigenvectors", shared_powers)
DYNAMICS_PEERS = [POWERS, SHARED, OWN]
