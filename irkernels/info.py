"""What this build is, and what a product will cost before it runs."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch
from torch import Tensor

from irkernels import _launch, openmp


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
    equation: str, *operands: Tensor | Sequence[int], nnz: int | None = None, dtype: torch.dtype = torch.float32,
    wanted: Sequence[bool] | None = None,
) -> str:
    """The plan of a product in words: tree, steps, multiply-adds forward and backward, bytes, and where BLAS is used.

    operands: tensors, or shapes (contiguous, of `dtype`). nnz: plan for so many listed entries instead of the dense
    product. wanted: which operands want gradients (default all). Raises what einsum raises. Nothing is computed.
    """
    dtype = next((operand.dtype for operand in operands if isinstance(operand, Tensor)), dtype)
    views = [(tuple(o.shape), o.stride()) if isinstance(o, Tensor) else contiguous_view(o) for o in operands]
    wanted = (True,) * len(operands) if wanted is None else tuple(wanted)
    plan = _launch.explain(equation, wanted, views, dtype, -1 if nnz is None else nnz)
    return "\n".join((
        f"{equation}   {'  '.join(str(shape) for shape, _ in views)}   {dtype}",
        f"route       {plan.route}",
        f"value       {plan.value_work:,} multiply-adds",
        f"gradients   {plan.gradient_work:,} multiply-adds, {plan.gradient_work / max(plan.value_work, 1):.2f} x the value",
        f"bytes       kept for backward {plan.saved_bytes:,}, workspace {plan.scratch_bytes:,}",
        f"arithmetic  {_arithmetic(dtype, plan.blas_steps)}",
        "value",
        plan.value.rstrip(),
        "gradients",
        plan.gradients.rstrip(),
    ))


def _arithmetic(dtype: torch.dtype, blas_steps: int) -> str:
    """Precision in force, and who computes."""
    half = dtype in (torch.bfloat16, torch.float16)
    precision = "float32, rounded once" if half else str(dtype).removeprefix("torch.")
    if not blas_steps:
        return f"{precision}; own kernels, the same bits for any threads, trials and CPU target"
    return f"{precision}; {blas_steps} steps by torch's matmul, avoided inside irkernels.deterministic()"


def contiguous_view(shape: Sequence[int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    strides: list[int] = []
    for extent in reversed(tuple(shape)):
        strides.insert(0, strides[0] * last if strides else 1)
        last = max(extent, 1)
    return tuple(shape), tuple(strides)

