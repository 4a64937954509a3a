"""Large steps by torch's matmul, the vendor's BLAS; own kernels run the other steps, up to each and from there on."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from irkernels._launch import Plan

Place = tuple[int, int, int, int]  # of a matrix: buffer, offset, row stride, column stride
Loop = tuple[int, int, int, int]  # extent, strides in a, b and c

_own = threading.local()
slow_on_cores = False  # set by _launch.py; of own kernels and BLAS the former are the faster whatever the size


def own_kernels_only() -> bool:
    """Whether BLAS is to be avoided: inside deterministic(), or torch.use_deterministic_algorithms(True)."""
    return getattr(_own, "only", False) or torch.are_deterministic_algorithms_enabled()


@contextmanager
def deterministic() -> Iterator[None]:
    """Inside, all arithmetic is done by own kernels: the same bits for any number of threads, trials and CPU target.

    Outside, large steps are handed to torch's matmul, whose bits hold for one machine, build and thread count only.
    """
    before = getattr(_own, "only", False)
    _own.only = True
    try:
        yield
    finally:
        _own.only = before


def wanted(plan: Plan, launched: bool) -> bool:
    """Whether some steps of the plan go to BLAS now."""
    return plan.has_blas(launched) and not own_kernels_only() and (launched or not slow_on_cores)


def run_segments(
    plan: Plan, launched: bool, tensors: Mapping[int, Tensor | None], run: Callable[[int, int, int], bool]
) -> bool:
    """All steps of a plan, trial by trial on cores; where kernels are launched, all trials at once.

    tensors: by the numbers that steps give them.  run(trial, first, last): own kernels; its last answer is returned.
    """
    steps, finite = plan.blas_steps(launched), True
    for trial in (-1,) if launched else range(plan.trials):
        ahead = {} if launched else plan.trial_offsets(trial)
        first = 0
        for step, extents, batch, *places in steps:
            if step > first:
                run(trial, first, step)
            for index in itertools.product(*(range(extent) for extent, *_ in batch[:-1])):
                _multiply(extents, batch, index, places, tensors, ahead)
            first = step + 1
        finite = run(trial, first, -1)
    return finite


def _multiply(
    extents: tuple[int, int, int], batch: tuple[Loop, ...], index: tuple[int, ...], places: Sequence[Place],
    tensors: Mapping[int, Tensor | None], ahead: Mapping[int, int],
) -> None:  # fmt: skip
    """c = a b over the last loop of the batch, at an index of the others."""
    rows, columns, depth = extents
    views = []
    for which, (shape, place) in enumerate(zip(((rows, depth), (depth, columns), (rows, columns)), places), 1):
        buffer, offset, *strides = place
        tensor = tensors[buffer]
        assert tensor is not None, "a step's buffer"
        start = tensor.storage_offset() + offset + ahead.get(buffer, 0)
        start += sum(i * axis[which] for i, axis in zip(index, batch))
        sizes, steps = [x[0] for x in batch[-1:]], [x[which] for x in batch[-1:]]
        views.append(tensor.as_strided([*sizes, *shape], [*steps, *strides], start))
    left, right, out = views
    (torch.bmm if batch else torch.mm)(left, right, out=out)
