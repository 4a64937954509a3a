"""What sampled steps cost beside dense ones: the constants of csrc/plan/cost.h, measured on one core.

`python -m bench.routes`. A step's time over the time of one multiply-add of a dense contraction: entries of `ik,kl->il` at
several depths k give the cost of an entry and of its multiply-adds, entries of `il->il` that of reading a dense product.
The time of a call with few entries is taken off: it is the call's own.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median

import numpy as np
import torch

import irkernels as irk

_ROWS, _ENTRIES, _FEW, _DEPTHS = 100, 20_000, 64, (16, 32, 64, 100, 128)


def seconds(run: Callable[[], object], repeats: int = 25) -> float:
    """The median time of one call, a batch of calls at a time."""
    run()
    found = []
    for _ in range(repeats):
        start = time.perf_counter()
        for _ in range(20):
            run()
        found.append((time.perf_counter() - start) / 20)
    return median(found)


def each_entry(run: Callable[[irk.Coordinates], object], shape: tuple[int, int]) -> float:
    """Seconds that one more listed entry takes."""
    many, few = (irk.Coordinates(torch.stack([torch.randint(0, e, (n,)) for e in shape], 1), shape) for n in (_ENTRIES, _FEW))
    return (seconds(lambda: run(many)) - seconds(lambda: run(few))) / (_ENTRIES - _FEW)


def main() -> None:
    torch.set_num_threads(1)
    square = [torch.randn(_ROWS, _ROWS) for _ in range(2)]
    unit = seconds(lambda: irk.einsum("ij,jk->ik", *square)) / _ROWS**3
    side, values = 10 * _ROWS, torch.randn(_ENTRIES)
    dots, pulls = [], []
    for depth in _DEPTHS:
        left, right = torch.randn(side, depth), torch.randn(depth, side)
        route = irk.explain("ik,kl->il", left, right, nnz=_ENTRIES).splitlines()[1]
        assert "split" in route, route
        dots.append(each_entry(lambda at: irk.entries("ik,kl->il", left, right, at=at), (side, side)) / unit)
        pull = each_entry(
            lambda at: irk.gradients("ik,kl->il", left, right, cotangent=(at, values[: at.nnz])), (side, side)
        )
        pulls.append(pull / 2 / unit)
    dense = torch.randn(side, side)
    read = each_entry(lambda at: irk.entries("il->il", dense, at=at), (side, side)) / unit
    print(f"one multiply-add of a dense contraction: {unit * 1e12:.1f} ps")
    for name, costs in (("sampled dot", dots), ("sampled axpy", pulls)):
        slope, entry = np.polyfit(_DEPTHS, costs, 1)
        print(f"{name}: {entry:.0f} an entry and {slope:.1f} a multiply-add, in multiply-adds of a dense contraction")
    print(f"an entry read from a dense product: {read:.0f}")


if __name__ == "__main__":
    main()
