"""One sample of a call's time, how many calls a sample needs, and quantiles."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np


def seconds_per_call(call: Callable[[], object], calls: int) -> float:
    start = time.perf_counter()
    for _ in range(calls):
        call()
    return (time.perf_counter() - start) / calls


def calls_for(call: Callable[[], object], seconds: float) -> int:
    """How many calls take about `seconds`; the call is warm."""
    calls = 1
    while True:
        each = seconds_per_call(call, calls)
        if each * calls >= seconds / 4 or calls >= 1_000_000:
            return max(1, round(seconds / each))
        calls *= 4


def fastest(variants: dict[str, Callable[[], object]], seconds: float = 0.01) -> str:
    """The variant with the smallest of three short samples, after a warm-up; of one sample where a call is long."""
    best: dict[str, float] = {}
    for name, call in variants.items():
        call()
        best[name] = seconds_per_call(call, 1)
        if best[name] < 5 * seconds:
            calls = calls_for(call, seconds)
            best[name] = min(seconds_per_call(call, calls) for _ in range(3))
    return min(best, key=best.__getitem__)


def quartiles(samples: list[float]) -> tuple[float, float, float]:
    low, middle, high = np.quantile(samples, [0.25, 0.5, 0.75])
    return float(low), float(middle), float(high)
