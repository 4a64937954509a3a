"""Large steps by torch's matmul, the vendor's BLAS; own kernels run the other steps, up to each and from there on."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from irkernels._launch import Plan

Place = tuple[int, int, int, int]  # of a matrix: buffer, offset, row stride, column stride
Loop = tuple[int, int, int, int]  # extent, strides in a, b and c

_own = threading.local()
_ACCUMULATES = hasattr(torch.ops.aten.mm, "dtype_out")  # a GPU's product of half types may come in float32


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
    return plan.goes_to_blas(launched) and not own_kernels_only()


def products(plan: Plan, launched: bool) -> int:
    """How many steps do."""
    return sum(product is not None for _, product in plan.blas_steps(launched)) if wanted(plan, launched) else 0


def run_segments(
    plan: Plan, launched: bool, tensors: Mapping[int, Tensor | None], run: Callable[[int, int, int], bool]
) -> bool:
    """All steps of a plan: all trials at once, or one by one on cores where a workspace serves them in turn.

    tensors: by the numbers that steps give them.  run(trial, first, last): own kernels; its last answer is returned.
    """
    steps, at_once, finite = plan.blas_steps(launched), plan.blas_at_once(launched), True
    for trial in (-1,) if at_once else range(plan.trials):
        ahead = {} if at_once else plan.trial_offsets(trial)
        first = 0
        for step, product in steps:
            if step > first:
                run(trial, first, step)
            if product:
                _multiply(*product, tensors, ahead)
            first = step + 1
        if first < plan.n_steps:
            finite = run(trial, first, -1)
    return finite


def whole(steps: Sequence[tuple[int, tuple[Any, ...] | None]], tensors: Mapping[int, Tensor]) -> bool:
    """All of a plan of which nothing is left for own kernels; False where these are to be kept to."""
    if own_kernels_only():
        return False
    if torch.is_grad_enabled():
        with torch.no_grad():
            return whole(steps, tensors)
    for _, product in steps:
        if product:
            extents, batch, *places = product
            _multiply(extents, batch, places[0], places[1], places[2], tensors, {})
    return True


def _multiply(
    extents: tuple[int, int, int], batch: tuple[Loop, ...], a: Place, b: Place, c: Place,
    tensors: Mapping[int, Tensor | None], ahead: Mapping[int, int],
) -> None:  # fmt: skip
    """c = a b at every index of the batch, its last loop by one call."""
    rows, columns, depth = extents
    sides = ((a, rows, depth), (b, depth, columns), (c, rows, columns))
    for index in itertools.product(*(range(extent) for extent, *_ in batch[:-1])):
        views: list[Tensor] = []
        for which, ((buffer, offset, by_row, by_column), height, width) in enumerate(sides, 1):
            tensor = tensors[buffer]
            assert tensor is not None, "a step's buffer"
            start = offset + ahead.get(buffer, 0)
            for i, axis in zip(index, batch):
                start += i * axis[which]
            of_batch = batch[-1:]
            shape = (*(axis[0] for axis in of_batch), height, width)
            strides = (*(axis[which] for axis in of_batch), by_row, by_column)
            views.append(_view(tensor, shape, strides, start))
        first = tensors[0]
        assert first is not None, "a product has operands"
        _product(views[0], views[1], views[2], first.dtype)


def _view(tensor: Tensor, shape: tuple[int, ...], strides: tuple[int, ...], start: int) -> Tensor:
    if start == 0 and tensor.shape == shape and tensor.stride() == strides:
        return tensor
    return tensor.as_strided(shape, strides, tensor.storage_offset() + start)


def _product(left: Tensor, right: Tensor, out: Tensor, dtype: torch.dtype) -> None:
    """out = left right in the operands' dtype, to which intermediates of half types (in float32) are rounded."""
    multiply = torch.bmm if out.dim() == 3 else torch.mm
    if left.dtype == right.dtype == out.dtype:
        multiply(left, right, out=out)
        return
    left, right = left.to(dtype), right.to(dtype)
    if out.dtype == dtype:
        multiply(left, right, out=out)
    elif out.is_cuda and _ACCUMULATES:
        multiply(left, right, out_dtype=out.dtype, out=out)
    else:
        rounded = torch.empty_like(out, dtype=dtype)
        multiply(left, right, out=rounded)
        out.copy_(rounded)
