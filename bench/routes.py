"""What sampled steps cost beside dense ones: the constants of csrc/plan/cost.h, measured on one core.

`python -m bench.routes`. Steps of training with many and with few observed entries differ by the cost of an entry. Of
`ik,kl->il` at several depths k it is that of one sampled dot and two sampled axpys, of `il->il` that of reading a dense
product and writing its cotangent. Each is given in multiply-adds of a dense contraction, the unit of the planner.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import torch

import irkernels as irk

_SIDE, _MANY, _FEW, _STEPS, _DEPTHS = 100, 5_000, 200, 300, (16, 32, 48, 64, 100, 128)


def seconds(run: Callable[[], object], calls: int = 1, repeats: int = 40) -> float:
    """The shortest time of one call, a batch of calls at a time: what others do on the machine only adds to it."""
    run()
    found = []
    for _ in range(repeats):
        start = time.perf_counter()
        for _ in range(calls):
            run()
        found.append((time.perf_counter() - start) / calls)
    return min(found)


def step_seconds(equation: str, shapes: list[tuple[int, int]], entries: int) -> float:
    """A step of training on distinct entries of a square product."""
    factors = [torch.nn.Parameter(torch.randn(shape) / shape[0]) for shape in shapes]
    model = irk.nn.Product(equation, *factors)
    flat = torch.randperm(_SIDE**2)[:entries]
    observed = irk.Observed(torch.stack([flat // _SIDE, flat % _SIDE], 1), torch.randn(entries), (_SIDE, _SIDE))
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    return seconds(lambda: irk.fit(model, observed, optimizer, steps=_STEPS, progress=False)) / _STEPS


def each_entry(equation: str, shapes: list[tuple[int, int]]) -> float:
    """Seconds that one more observed entry takes in a step."""
    few, many = (step_seconds(equation, shapes, entries) for entries in (_FEW, _MANY))
    return (many - few) / (_MANY - _FEW)


def main() -> None:
    torch.set_num_threads(1)
    square = [torch.randn(_SIDE, _SIDE) for _ in range(2)]
    unit = seconds(lambda: irk.einsum("ij,jk->ik", *square), calls=20) / _SIDE**3
    sweeps = [each_entry("ik,kl->il", [(_SIDE, k), (k, _SIDE)]) / 3 / unit for k in _DEPTHS]
    slope, entry = np.polyfit(_DEPTHS, sweeps, 1)
    print(f"one multiply-add of a dense contraction: {unit * 1e12:.1f} ps")
    for depth, cost in zip(_DEPTHS, sweeps):
        print(f"depth {depth}: {cost:.0f} an entry and sweep")
    print(f"a sampled sweep: {entry:.0f} an entry and {slope:.2f} a multiply-add")
    print(f"an entry of a dense product, read or written: {each_entry('il->il', [(_SIDE, _SIDE)]) / 2 / unit:.0f}")


if __name__ == "__main__":
    main()
