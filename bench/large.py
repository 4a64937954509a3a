"""Table D: completions so large that nothing of rows x columns may be formed, against the memory system's limit.

A step is timed as the difference of two runs of `irk.fit`, one with more steps, so that what a run does once (sorting,
arranging, touching its workspace) is told apart. Every row runs in a process of its own, whose peak is its own.
"""

from __future__ import annotations

import multiprocessing
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from bench import report
from bench.gathered import high_order
from bench.limits import measure as measure_limits
from bench.measure import Measurement
from bench.report import Target
from bench.session import Session
from bench.timing import quartiles

_SHARE, _FITS = 0.6, 24.0  # of the stream bandwidth; GB
_CHUNK = 2**18  # entries of which eager PyTorch gathers rows at once, so that it fits as well
_GB = 1e9


@dataclass(frozen=True)
class LargeCompletion:
    """Gradient descent on the mean squared error over observed entries of a chain rows x width x ... x width x cols."""

    rows: int
    cols: int
    observed: int
    width: int
    depth: int

    @property
    def name(self) -> str:
        return f"{self.rows:,} x {self.cols:,}, {self.observed:,} observed, width {self.width}, depth {self.depth}"

    @property
    def data_bytes(self) -> int:
        """Coordinates as given (int64), as sorted twice (int32, with what leads back), and values."""
        return self.observed * (2 * 8 + 2 * 4 + 2 * (2 * 4 + 4) + 4)

    @property
    def factor_bytes(self) -> int:
        return 4 * self.width * (self.rows + self.cols + (self.depth - 2) * self.width)

    @property
    def step_bytes(self) -> int:
        """What a step must move, each number counted once for each time it is read or written.

        An entry: a gathered row of the other side in the product and in each of two gradients; two coordinates three
        times; its residual written, read and scaled by the loss, which reads the value; residual and place in either
        gradient. A row of a side: read by the product; its gradient zeroed, written, looked at; read with the factor
        by the update, which writes the factor. The inner factors meet the columns' side: read and written each time.
        """
        entry = 3 * 4 * self.width + 3 * 8 + 4 + 16 + 2 * 8
        side, inner = 7 * 4 * self.width, 5 * 4 * self.width
        return self.observed * entry + (self.rows + self.cols) * side + self.cols * inner * (self.depth - 2)

    def tiny(self) -> LargeCompletion:
        return replace(self, rows=7, cols=5, observed=30, width=3)


COMPLETIONS = [LargeCompletion(100_000, 20_000, 2_500_000, 64, 3),
               LargeCompletion(1_000_000, 200_000, 25_000_000, 64, 3)]


@dataclass(frozen=True)
class Found:
    """Seconds of a step and of what a run does once, round by round; GB/s copied in the same round; bytes at the
    peak."""

    step: list[float]
    once: list[float]
    eager: list[float]
    bandwidth: list[float]
    construction: float  # seconds: checks, copies, two sort orders
    peak: float


def problem(row: LargeCompletion, seed: int):
    """(model, observed): random coordinates, duplicates among them, and values of spread 1."""
    import torch

    import irkernels as irk

    draw = torch.Generator().manual_seed(seed)
    at = torch.stack([torch.randint(n, (row.observed,), generator=draw) for n in (row.rows, row.cols)], 1)
    observed = irk.Observed(at, torch.randn(row.observed, generator=draw), (row.rows, row.cols))
    for column in (0, 1):
        observed.coordinates.sorted_by((column,))
    model = irk.nn.MatrixChain(row.rows, row.cols, row.depth, hidden=row.width, init_scale=1.0, generator=draw)
    return model, observed


def own_steps(model, observed, steps: int, lr: float) -> None:
    import torch

    import irkernels as irk

    irk.fit(model, observed, torch.optim.SGD(model.parameters(), lr=lr), steps=steps, progress=False)


def eager_step(model, observed, lr: float, chunk: int = _CHUNK) -> None:
    """The same step in plain torch: rows gathered and gradients added chunk by chunk."""
    import torch

    first, *others = (factor.detach() for factor in model.parameters())
    left, right = first.clone().requires_grad_(), torch.linalg.multi_dot(others).T.contiguous().requires_grad_()
    for begin in range(0, observed.nnz, chunk):
        rows, columns = observed.at[begin : begin + chunk].T
        residual = (left[rows] * right[columns]).sum(1) - observed.values[begin : begin + chunk]
        (residual.square().sum() / observed.nnz).backward()
    moved = [factor.clone().requires_grad_() for factor in others]
    gradients = torch.autograd.grad(torch.linalg.multi_dot(moved), moved, right.grad.T)
    for factor, gradient in zip((first, *others), (left.grad, *gradients), strict=True):
        factor -= lr * gradient


def measured(row: LargeCompletion, threads: int, rounds: int, steps: int) -> Found:
    """One row, in the process that asks."""
    import torch

    torch.set_num_threads(threads)
    start = time.perf_counter()
    model, observed = problem(row, 0)
    found = Found([], [], [], [], time.perf_counter() - start, 0.0)
    lr = 1.0  # the mean over so many entries makes gradients tiny
    own_steps(model, observed, 1, lr)
    for _ in range(rounds):
        found.bandwidth.append(measure_limits("float32", threads).bandwidth)
        start = time.perf_counter()
        own_steps(model, observed, 1, lr)
        middle = time.perf_counter()
        own_steps(model, observed, 1 + steps, lr)
        end = time.perf_counter()
        found.step.append(max(end - middle - (middle - start), 1e-9) / steps)
        found.once.append(max(middle - start - found.step[-1], 0.0))
    peak = 1024.0 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # before eager takes its own
    start = time.perf_counter()
    eager_step(model, observed, lr)  # once: it takes as long as all that is above
    found.eager.append(time.perf_counter() - start)
    return replace(found, peak=peak)


def _in_a_process_of_its_own(row: LargeCompletion, threads: int, rounds: int, steps: int) -> Found:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(measured, (row, threads, rounds, steps))


def completions(session: Session) -> None:
    rows = session.chosen(COMPLETIONS[:1] if session.quick else COMPLETIONS)
    found = []
    for row in rows:
        print(f"large completion: {row.name}", file=sys.stderr, flush=True)
        found.append(_in_a_process_of_its_own(row, session.workers.threads, 3, 10 if session.quick else 6))
    lines = [_line(row, each) for row, each in zip(rows, found)]
    print(
        "\nTable D: one step of completion, float32; bytes that a step must move over its time, beside bytes copied\n"
    )
    header = ["row", "ms a step", "eager / ours", "GB a step", "GB/s", "GB/s copied", "share", "peak GB",
              "data + factors GB"]
    print(report.text_table(header, lines))
    for row, each in zip(rows, found):
        done = Measurement(row, {"irkernels": each.step, "eager": each.eager})
        more = {"mode": "step", "dtype": "float32", "bytes": row.step_bytes, "peak": each.peak,
                "copied": max(each.bandwidth)}
        session.json_rows += report.json_rows("D", done, session.about, **more)
        share = quartiles(_shares(row, each))[1]
        session.targets.append(Target("share of the stream bandwidth", share, _SHARE, where=row.name))
        session.targets.append(Target("GB at the peak", each.peak / _GB, _FITS, at_least=False, where=row.name))


def _shares(row: LargeCompletion, found: Found) -> list[float]:
    return [row.step_bytes / (step * rate) for step, rate in zip(found.step, found.bandwidth)]


def _line(row: LargeCompletion, found: Found) -> list[str]:
    step, copied = quartiles(found.step)[1], quartiles(found.bandwidth)[1]
    figures = (1e3 * step, quartiles(found.eager)[1] / step, row.step_bytes / _GB, row.step_bytes / step / _GB,
               copied / _GB)
    stored = (row.data_bytes + row.factor_bytes) / _GB
    return [row.name, *map(report.figure, (*figures, quartiles(_shares(row, found))[1], found.peak / _GB, stored))]


PARTS: list[Callable[[Session], None]] = [completions, high_order]  # what table D is made of


def table_d(session: Session) -> None:
    for part in PARTS:
        part(session)
