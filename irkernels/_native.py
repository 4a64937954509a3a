"""Loads the compiled modules: the binding, the best CPU target that this machine can run, on demand the CUDA target."""

from __future__ import annotations

import os
from pathlib import Path

import torch  # first: its OpenMP runtime is the one that the kernels share

from irkernels import _bind

_PREFIX = "_target_"
_CUDA = Path(__file__).parent / f"{_PREFIX}cuda.so"  # loaded when the first tensor on such a device comes


def _built() -> dict[str, Path]:
    """Targets in the package, by name; `x86-64-v3` is the file _target_x86_64_v3.so."""
    files = sorted(Path(__file__).parent.glob(f"{_PREFIX}*.so"))
    return {name: file for file in files for name in _bind.target_names()
            if file.stem == _PREFIX + name.replace("-", "_")}


def available() -> list[str]:
    """Targets that are built and that this machine can run, best first."""
    return [name for name in _bind.target_names() if name in _built() and _bind.can_run(name)]


def _choose() -> Path:
    """The file of the best target, or of the one that IRKERNELS_TARGET names: the package's own, never a path."""
    forced, names = os.environ.get("IRKERNELS_TARGET"), available()
    if not names:
        raise ImportError(
            f"no kernel target of this build runs on this machine; built: {', '.join(_built()) or 'none'}"
        )
    if forced and forced not in names:
        raise ImportError(
            f"IRKERNELS_TARGET={forced}: not among the targets that this machine can run: {', '.join(names)}"
        )
    return _built()[forced or names[0]]


def cuda_architectures() -> list[str]:
    """Architectures that the CUDA target of this build holds; empty without one."""
    return [arch for arch in _bind.CUDA_ARCHITECTURES.split(",") if arch and _CUDA.exists()]


_bind.set_exchange_table(getattr(torch.Tensor, "__dlpack_c_exchange_api__", None))
_bind.set_plain_classes(torch.Tensor, torch.nn.Parameter)
TARGET: str = _bind.load_target(str(_choose()))
if _CUDA.exists():
    _bind.set_cuda_target(str(_CUDA))

Plan = _bind.Plan
plan, plan_of_shapes, train_plan, run, fit = _bind.plan, _bind.plan_of_shapes, _bind.train_plan, _bind.run, _bind.fit
fit_bytes, launched_tier = _bind.fit_bytes, _bind.launched_tier
hear_interrupts, unhear_interrupts = _bind.hear_interrupts, _bind.unhear_interrupts
draw_batches, list_batches = _bind.draw_batches, _bind.list_batches
why_not_lanes, lanes_trace, lanes_fit = _bind.why_not_lanes, _bind.lanes_trace, _bind.lanes_fit
training_tier = _bind.training_tier
set_surroundings, set_blas_pays = _bind.set_surroundings, _bind.set_blas_pays
set_whole_by_blas = _bind.set_whole_by_blas
lane_product, lane_loss, lane_backward = _bind.lane_product, _bind.lane_loss, _bind.lane_backward
LAUNCHES: bool = _bind.launches()
cached_plans, clear_plans = _bind.cached_plans, _bind.clear_plans
COMPILER, INTEL, MULTIPLIES_HALVES = _bind.COMPILER, _bind.INTEL, _bind.MULTIPLIES_HALVES
BUFFERS = _bind.BUFFERS  # numbers of the buffers that are neither operand nor gradient
STACK_SCRATCH = _bind.STACK_SCRATCH
