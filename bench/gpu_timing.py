"""Seconds on the device: by its own events, and as a CUDA graph; what the device can do at most."""

from __future__ import annotations

from collections.abc import Callable

import torch

from bench.timing import quartiles

_SAMPLES = 9
_MOST_CALLS = 5_000
_WARM = 3
Run = Callable[[], object]


def _seconds(call: Run, calls: int) -> float:
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    for _ in range(calls):
        call()
    end.record()
    end.synchronize()
    return start.elapsed_time(end) / 1e3 / calls


def measured(call: Run, sample: float = 0.01) -> tuple[float, float, float]:
    """Quartiles of a call's seconds: calls one after the other between two events, as many as take about `sample`."""
    for _ in range(_WARM):
        call()
    torch.cuda.synchronize()
    calls = max(1, min(_MOST_CALLS, round(sample / max(_seconds(call, 1), 1e-7))))
    return quartiles([_seconds(call, calls) for _ in range(_SAMPLES)])


def graphed(call: Run) -> Run:
    """The call's kernels captured once, to be replayed on the same memory."""
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for _ in range(_WARM):
            call()
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        call()
    graph.replay()
    torch.cuda.synchronize()
    return graph.replay


def device_lost() -> bool:
    """Whether the device can no longer be used by this process."""
    if not torch.cuda.is_initialized():
        return False
    try:
        torch.cuda.synchronize()
    except Exception:
        return True
    return False


def ceilings(quick: bool) -> list[str]:
    return ["copy", "float32", "float64", "bfloat16"]


def ceiling(kind: str) -> dict[str, float]:
    """`copy`: bytes a second, read and written, of a large copy; of a dtype: flops a second of a large matmul."""
    if kind == "copy":
        source = torch.randn(1 << 28, device="cuda")
        target = torch.empty_like(source)
        return {"bytes a second": 2 * source.nbytes / measured(lambda: target.copy_(source), 0.02)[1]}
    size = 8192 if kind == "bfloat16" else 4096
    a, b = (torch.randn(size, size, device="cuda").to(getattr(torch, kind)) for _ in range(2))
    return {"flops a second": 2 * size**3 / measured(lambda: torch.mm(a, b), 0.02)[1]}  # TF32 is off by default
