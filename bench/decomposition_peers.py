"""TensorLy's algorithms and functions on PyTorch, stock and with irkernels computing: the same call on the same inputs.

A decomposition is TensorLy's own in both, switched by irkernels.integrations.tensorly; of a function of tensors in
factored form ours is irkernels' of that name.  Preparing ours compares both results: in float64 they may differ by
1e-10 of the largest number, or as much as TensorLy's own do when the last bits of its tensor change.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from bench.peer import Case, Peer, absent_unless

_EQUAL, _ILL_CONDITIONED = 1e-10, 10.0  # times stock's own change


@dataclass(frozen=True)
class Work:
    """One call: what (a name in CALLS), shape of the tensor, rank, and iterations of an algorithm."""

    what: str
    shape: tuple[int, ...]
    rank: int
    iterations: int = 0

    @property
    def name(self) -> str:
        return f"{self.what} {' x '.join(map(str, self.shape))}, rank {self.rank}"

    def tiny(self) -> Work:
        shape = tuple(min(n, 4 + place) for place, n in enumerate(self.shape))
        return replace(self, shape=shape, rank=min(self.rank, 3), iterations=min(self.iterations, 2))

    def tensor(self, generator: torch.Generator, dtype: torch.dtype) -> Tensor:
        """Of this rank, and noise: an algorithm has something to find and something to leave."""
        tensor = torch.ones(self.rank, dtype=dtype)
        for n in self.shape:
            tensor = tensor.unsqueeze(-2) * torch.rand((n, self.rank), generator=generator, dtype=dtype)
        return tensor.sum(-1) + 0.01 * torch.randn(self.shape, generator=generator, dtype=dtype)


def _parafac(library: Any, work: Work, tensor: Tensor, factors: list[Tensor]) -> list[Tensor]:
    from tensorly.decomposition import parafac

    found = parafac(tensor, work.rank, n_iter_max=work.iterations, init="random", random_state=1)
    return list(found.factors)


def _tucker(library: Any, work: Work, tensor: Tensor, factors: list[Tensor]) -> list[Tensor]:
    from tensorly.decomposition import tucker

    core, found = tucker(tensor, [work.rank] * tensor.dim(), n_iter_max=work.iterations, init="random", random_state=1)
    return [library.tucker_to_tensor((core, found))]  # its factors have signs


def _algebra(library: Any) -> Any:
    """Where products are: a module of its own in TensorLy."""
    return getattr(library, "tenalg", library)


def _mttkrp(mode: int) -> Callable[..., list[Tensor]]:
    def call(library: Any, work: Work, tensor: Tensor, factors: list[Tensor]) -> list[Tensor]:
        return [_algebra(library).unfolding_dot_khatri_rao(tensor, (None, factors), mode)]

    return call


def _multi_mode_dot(library: Any, work: Work, tensor: Tensor, factors: list[Tensor]) -> list[Tensor]:
    return [_algebra(library).multi_mode_dot(tensor, factors, transpose=True)]


def _khatri_rao(library: Any, work: Work, tensor: Tensor, factors: list[Tensor]) -> list[Tensor]:
    return [_algebra(library).khatri_rao(factors[1:])]


def _cp_to_tensor(library: Any, work: Work, tensor: Tensor, factors: list[Tensor]) -> list[Tensor]:
    return [library.cp_to_tensor((None, factors))]


def _tt_to_tensor(library: Any, work: Work, tensor: Tensor, factors: list[Tensor]) -> list[Tensor]:
    first, *inner, last = factors
    cores = [first[None], *(f.T[:, :, None] * f.mean(0) for f in inner), last.T[..., None]]
    return [library.tt_to_tensor(cores)]


ALGORITHMS = {"parafac": _parafac, "tucker": _tucker}
CALLS: dict[str, Callable[..., list[Tensor]]] = {
    **ALGORITHMS,
    **{f"MTTKRP mode {mode}": _mttkrp(mode) for mode in range(3)},
    "multi_mode_dot": _multi_mode_dot,
    "khatri_rao": _khatri_rao,
    "cp_to_tensor": _cp_to_tensor,
    "tt_to_tensor": _tt_to_tensor,
}


def _case(work: Work, dtype: str, mode: str, own: bool) -> Case:
    import tensorly

    from irkernels.integrations import tensorly as integration

    tensorly.set_backend("pytorch")
    now: list[Any] = []

    def switch(on: bool) -> None:
        (integration.enable if on else integration.disable)()

    def fresh(seed: int) -> None:
        switch(own)
        generator, kind = torch.Generator().manual_seed(seed), getattr(torch, dtype)
        tensor = work.tensor(generator, kind)
        now[:] = [tensor, [torch.rand((n, work.rank), generator=generator, dtype=kind) for n in work.shape]]

    def run(on: bool = own) -> list[Tensor]:
        import irkernels

        function = CALLS[work.what]
        return function(tensorly if not on or work.what in ALGORITHMS else irkernels, work, *now)

    fresh(0)
    note = _compared(run, switch, now, dtype, work) if own else ""
    switch(own)
    return Case(fresh, run, lambda results: [result.numpy() for result in results], max(1, work.iterations), note)


def _compared(
    run: Callable[[bool], list[Tensor]], switch: Callable[[bool], None], now: list, dtype: str, work: Work
) -> str:
    """How far ours are from stock's; in float64 that must be little."""
    switch(True)
    ours = run(True)
    switch(False)
    stock = run(False)
    difference, bound, note = _distance(ours, stock), _EQUAL, ""
    if difference > bound and work.iterations:
        now[0] = torch.nextafter(now[0], now[0] + 1)
        own_change = _distance(run(False), stock)
        bound = max(bound, _ILL_CONDITIONED * own_change)
        note = f" (stock's own change by {own_change:.0e} with the last bits of the tensor)"
    absent_unless(dtype != "float64" or difference <= bound, f"results differ by {difference:.0e}")
    return f"results within {10.0 ** math.ceil(math.log10(difference + 1e-16)):.0e}{note}"


def _distance(found: list[Tensor], expected: list[Tensor]) -> float:
    return max(float((a - b).abs().max() / b.abs().max()) for a, b in zip(found, expected))


STOCK = Peer("TensorLy", lambda work, dtype, mode: _case(work, dtype, mode, own=False), "torch", needs="tensorly")
OWN = Peer("with irkernels", lambda work, dtype, mode: _case(work, dtype, mode, own=True), "torch", needs="tensorly")
DECOMPOSITION_PEERS = [STOCK, OWN]
