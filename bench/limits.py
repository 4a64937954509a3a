"""What this machine can do at most: peak arithmetic (a large matrix product) and stream bandwidth (a copy).

`python -m bench.limits` prints both in float32 and float64, with one thread and with all.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

import torch

import irkernels as irk
from bench.timing import calls_for, seconds_per_call

_SIZES = (256, 512, 1024, 2048)  # square products; the best rate counts
_COPY_BYTES = 1 << 28  # far beyond any private cache
_SAMPLES = 9


@dataclass(frozen=True)
class Limits:
    dtype: str
    threads: int
    flops: float  # a second, all threads; a multiply-add counts 2
    bandwidth: float  # bytes a second, read and written

    def seconds(self, multiply_adds: float, traffic: float = 0.0) -> float:
        """The larger of arithmetic time and time for compulsory traffic."""
        return max(2 * multiply_adds / self.flops, traffic / self.bandwidth)

    def bound(self, multiply_adds: float, traffic: float, overhead: float) -> str:
        """Which is largest: arithmetic, traffic, or the overhead of calling at all."""
        times = {
            "arithmetic": 2 * multiply_adds / self.flops,
            "bytes": traffic / self.bandwidth,
            "call overhead": overhead,
        }
        return max(times, key=times.__getitem__)


def measure(dtype: str, threads: int) -> Limits:
    """Best of several samples with `threads` of torch's threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        kind = getattr(torch, dtype)
        return Limits(dtype, threads, max(_rate(size, kind) for size in _SIZES), _bandwidth(kind))
    finally:
        torch.set_num_threads(before)


def _rate(size: int, dtype: torch.dtype) -> float:
    """By torch.mm or, as on CPUs that its BLAS was not made for, by own kernels."""
    a, b, out = (torch.randn(size, size, dtype=dtype) for _ in range(3))
    with irk.deterministic():
        seconds = min(_best(lambda: torch.mm(a, b, out=out), 0.02), _best(lambda: irk.multi_dot([a, b]), 0.02))
    return 2 * size**3 / seconds


def _bandwidth(dtype: torch.dtype) -> float:
    source = torch.randn(_COPY_BYTES // dtype.itemsize, dtype=dtype)
    target = torch.empty_like(source)
    return 2 * _COPY_BYTES / _best(lambda: target.copy_(source), 0.05)


def _best(call, seconds: float) -> float:
    call()
    calls = calls_for(call, seconds)
    return min(seconds_per_call(call, calls) for _ in range(_SAMPLES))


def describe(limits: Limits) -> str:
    rate, per_core = limits.flops / 1e9, limits.flops / limits.threads / 1e9
    plural = "thread" if limits.threads == 1 else "threads"
    return (
        f"{limits.dtype}, {limits.threads} {plural}: {rate:.0f} GFLOP/s ({per_core:.0f} a core), "
        f"{limits.bandwidth / 1e9:.1f} GB/s copied (read + written)"
    )


def main(arguments: list[str] | None = None) -> None:
    from bench.machine import header

    parser = argparse.ArgumentParser(prog="python -m bench.limits", description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="threads beside the single one")
    options = parser.parse_args(arguments)
    print(header(options.threads))
    for dtype in ("float32", "float64"):
        for threads in sorted({1, options.threads}):
            print(describe(measure(dtype, threads)))


if __name__ == "__main__":
    main()
