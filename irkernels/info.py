"""What this build is, and what a product will cost before it runs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch
from torch import Tensor

from irkernels import _launch, memory, openmp
from irkernels._arguments import flag, integer
from irkernels.grammar import check_characters, with_path, without_path
from irkernels.reference.operands import check_kind
from irkernels.reference.paths import read_path

_MOST_ELEMENTS = 2**63


def build_info() -> dict[str, Any]:
    """Version, compiler, kernel target in force and available, CUDA architectures, torch, threads, OpenMP runtimes."""
    try:
        own = version("irkernels")
    except PackageNotFoundError:
        own = "0+source"
    return {
        "version": own,
        "torch": torch.__version__,
        "threads": _launch.own_threads(),
        "openmp_runtimes": openmp.runtimes(),
        **_launch.build_facts(),
    }


def explain(
    equation: str,
    *operands: Tensor | Sequence[int],
    nnz: int | None = None,
    dtype: torch.dtype = torch.float32,
    wanted: Sequence[bool] | None = None,
    path: Any = None,
) -> str:
    """The plan of a product in words: tree, steps, multiply-adds forward and backward, bytes, and where BLAS is used.

    operands: tensors, or shapes (contiguous, of `dtype`). nnz: plan for so many listed entries instead of the dense
    product. wanted: which operands want gradients (default all). path: as for einsum. Bytes are those of the present
    thread count, and exact: what memory.py counts. Raises what einsum raises. Nothing is computed or allocated.
    """
    dtype, wanted = _checked(equation, operands, nnz, dtype, wanted)
    views = [(tuple(o.shape), o.stride()) if isinstance(o, Tensor) else contiguous_view(o) for o in operands]
    if path is not None:
        equation = with_path(equation, read_path(path, equation, _without_memory(views, dtype)))
    plan = _launch.explain(equation, wanted, views, dtype, -1 if nnz is None else nnz)
    shapes = [shape for shape, _ in views]
    peaks = memory.peaks(plan, shapes, wanted, dtype, nnz is not None)
    bytes_told = [
        f"output {memory.output_bytes(plan, dtype):,}",
        f"kept for backward {plan.saved_bytes:,}",
        f"gradients {memory.gradient_bytes(shapes, wanted, dtype):,}",
    ]
    return "\n".join(
        (
            f"{without_path(equation)}   {'  '.join(str(shape) for shape in shapes)}   {dtype}"
            + ("" if nnz is None else f"   {nnz:,} entries"),
            f"route       {plan.route}" + ("" if path is None else ", in the order of the path given"),
            f"value       {plan.value_work:,} multiply-adds",
            f"gradients   {plan.gradient_work:,} multiply-adds, {plan.gradient_work / max(plan.value_work, 1):.2f} x "
            f"the value",
            f"bytes       {', '.join(bytes_told)}",
            f"workspace   {', '.join(f'{name} {size:,}' for name, size in plan.workspace.items())}",
            f"peak        {', '.join(f'{name} {size:,}' for name, size in peaks.items())}",
            f"arithmetic  {_arithmetic(dtype, plan.blas_steps, plan.rounds)}",
            f"training    {plan.training}",
            "value",
            plan.value.rstrip(),
            "gradients",
            plan.gradients.rstrip(),
        )
    )


def _checked(
    equation: str,
    operands: tuple[Tensor | Sequence[int], ...],
    nnz: int | None,
    dtype: torch.dtype,
    wanted: Sequence[bool] | None,
) -> tuple[torch.dtype, tuple[bool, ...]]:
    """The dtype of the operands and which gradients are wanted."""
    if not isinstance(equation, str):
        raise TypeError(f"equation must be a string, got {type(equation).__name__}")
    check_characters(equation)
    tensors = [(position, operand) for position, operand in enumerate(operands) if isinstance(operand, Tensor)]
    for position, tensor in tensors:
        first, dtype = tensors[0][0], tensors[0][1].dtype
        if tensor.dtype != dtype:
            raise TypeError(f"operand {position} is {tensor.dtype}, operand {first} is {dtype} (dtypes must be equal)")
    if dtype not in _launch.DTYPES:
        raise TypeError(f"dtype is {dtype}; supported are float16, bfloat16, float32 and float64")
    for position, operand in enumerate(operands):
        if isinstance(operand, Tensor):
            check_kind(position, operand)
            continue
        if isinstance(operand, str) or not isinstance(operand, Sequence):
            raise TypeError(f"operand {position} must be a tensor or a shape, got {type(operand).__name__}")
        extents = [integer(f"operand {position}: an extent", extent, 0) for extent in operand]
        if math.prod(max(extent, 1) for extent in extents) >= _MOST_ELEMENTS:
            raise ValueError(f"operand {position} of shape {extents} would have more than 2^63 elements")
    if wanted is not None:
        if isinstance(wanted, str) or not isinstance(wanted, Sequence):
            raise TypeError(f"wanted must be a sequence of flags, one for each operand, got {type(wanted).__name__}")
        if len(wanted) != len(operands):
            raise ValueError(f"wanted has {len(wanted)} flags, but the product has {len(operands)} operands")
    if nnz is not None and integer("nnz", nnz, 0) >= _MOST_ELEMENTS:
        raise ValueError(f"nnz is {nnz}; a number of entries is below 2^63")
    return dtype, (True,) * len(operands) if wanted is None else tuple(
        flag(f"wanted[{i}]", each) for i, each in enumerate(wanted)
    )


def _without_memory(views: Sequence[tuple[tuple[int, ...], tuple[int, ...]]], dtype: torch.dtype) -> tuple[Tensor, ...]:
    return tuple(torch.empty_strided(*view, dtype=dtype, device="meta") for view in views)


def _arithmetic(dtype: torch.dtype, blas_steps: int, rounded: bool) -> str:
    """Precision in force, and who computes."""
    half = dtype in (torch.bfloat16, torch.float16)
    precision = "float32, rounded once" if half else str(dtype).removeprefix("torch.")
    if not blas_steps:
        return f"{precision}; own kernels, the same bits for any threads, trials and CPU target"
    if rounded:
        precision = "float32, rounded once and wherever torch's matmul reads or writes an intermediate"
    return f"{precision}; {blas_steps} steps by torch's matmul, avoided inside irkernels.deterministic()"


def contiguous_view(shape: Sequence[int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    strides: list[int] = []
    step = 1
    for extent in reversed(tuple(shape)):
        strides.insert(0, step)
        step *= max(extent, 1)
    return tuple(shape), tuple(strides)
