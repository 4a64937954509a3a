"""Whether the device gives the CPU's bits: the registry's products, the emulation's training problems; sanitizers.

`python -m bench.gpu_checks` runs a small part of both, for compute-sanitizer to watch.
"""

from __future__ import annotations

import importlib.util
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import MagicMock

import torch
from torch import Tensor

from bench.gpu_machine import ROOT, nvcc
from bench.peer import Absent

TIERS = ("lanes", "core", "grid")
_WEIGHTED = "weighted losses"
_LARGE = 1_000  # elements from which on tests/test_targets.py takes one dtype alone, and so do we


def tests_module(name: str) -> ModuleType:
    """A file of tests as a module; where pytest is absent something stands for its decorators."""
    if importlib.util.find_spec("pytest") is None:
        sys.modules["pytest"] = MagicMock()
    spec = importlib.util.spec_from_file_location(f"_irkernels_{name}", ROOT / "tests" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def compared(found: dict[str, Tensor], expected: dict[str, Tensor]) -> dict[str, Any]:
    """How many results have other bits than expected, which, and how far they are away."""
    from irkernels.testing.fingerprint import bits

    differing = [name for name in expected if bits(found[name].cpu()) != bits(expected[name])]
    largest = max((relative_difference(found[name].cpu(), expected[name]) for name in differing), default=0.0)
    return {
        "results": len(expected),
        "other bits": len(differing),
        "largest relative difference": largest if math.isfinite(largest) else "infinite",
        "differing": differing[:6],
    }


def relative_difference(found: Tensor, expected: Tensor) -> float:
    """The largest difference over the largest number expected; infinite where one of both is not finite."""
    one, other = found.double(), expected.double()
    if one.shape != other.shape or not torch.equal(one.isfinite(), other.isfinite()):
        return float("inf")
    one, other = one[one.isfinite()], other[other.isfinite()]
    if one.numel() == 0:
        return 0.0
    return ((one - other).abs().max() / other.abs().max().clamp_min(1e-300)).item()


def _products() -> dict[str, Any]:
    from irkernels.testing import FAMILIES

    tests = tests_module("test_targets")
    return {f"{product.name}, {product.trials or 1}": product for product in (*FAMILIES, *tests.TRIALS, *tests.LONG)}


def products(quick: bool) -> list[str]:
    names = [*_products(), _WEIGHTED]
    return names[::3] + [_WEIGHTED] * (names.index(_WEIGHTED) % 3 != 0) if quick else names


def compare_product(name: str, device: str = "cuda") -> dict[str, Any]:
    """Values, gradients, entries and losses of a product in every dtype, on the device and on the CPU."""
    import irkernels as irk
    from irkernels.testing.fingerprint import every_result

    tests = tests_module("test_targets")
    if name == _WEIGHTED:
        return compared(tests.weighted_losses(device), tests.weighted_losses("cpu"))
    product, both = _products()[name], ({}, {})
    with irk.deterministic():
        for dtype in tests.DTYPES if product.elements < _LARGE else tests.DTYPES[:1]:
            operands = product.operands(seed=4, dtype=dtype)
            for place, results in zip((device, "cpu"), both):
                every = every_result(product, [operand.to(place) for operand in operands])
                results |= {f"{dtype} {what}": result.cpu() for what, result in every.items()}
    return compared(*both)


def trainings(quick: bool) -> list[str]:
    names = tests_module("test_emulation").problems()
    return [f"{name}, {tier}" for name in (list(names)[:4] if quick else names) for tier in TIERS]


def _trained(name: str, device: str, tier: str) -> tuple[dict[str, Tensor], str]:
    import irkernels as irk

    model, data, rule, rest = tests_module("test_emulation").problems()[name]
    model, data = model.to(device), data.to(device)
    run = irk.fit(model, data, rule(list(model.parameters())), steps=11, progress=False, tier=tier, **rest)
    found = {f"factor {place}": factor.detach().cpu() for place, factor in enumerate(model.parameters())}
    found |= {what: torch.as_tensor(values).cpu() for what, values in run.metrics.items()}
    return found | {"stopped at": torch.as_tensor(run.stopped_at).cpu()}, run.tier


def compare_training(item: str, device: str = "cuda") -> dict[str, Any]:
    """A problem of the emulation's tests, trained on the device by one tier and on a core of the CPU.

    Raises Absent where the device has no native steps for it.
    """
    name, tier = item.split(", ")
    expected, _ = _trained(name, "cpu", "core")
    try:
        found, said = _trained(name, device, tier)
    except ValueError as error:
        if "needs native steps" in str(error):
            raise Absent(str(error)) from error
        raise
    return compared(found, expected) | {"tier": said}


def sanitizers(quick: bool) -> list[str]:
    return ["memcheck", "racecheck"]


def sanitize(tool: str) -> dict[str, Any]:
    """A small part of both comparisons under a tool of compute-sanitizer.  Raises RuntimeError with its findings."""
    beside = str(Path(nvcc() or "").parent)
    program = shutil.which("compute-sanitizer", path=os.pathsep.join([os.environ.get("PATH", ""), beside]))
    if program is None:
        return {"skipped": "compute-sanitizer is not on the PATH"}
    command = [program, "--tool", tool, "--error-exitcode", "9", "--report-api-errors", "no"]
    command += [sys.executable, "-m", "bench.gpu_checks"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"status {done.returncode}: {(done.stdout + done.stderr)[-3000:]}")
    return {"summary": done.stdout.strip().splitlines()[-1:]}


def small_part() -> dict[str, dict[str, Any]]:
    """One chain in every dtype, one problem of training in every tier."""
    runs: dict[str, Callable] = dict.fromkeys(list(_products())[:1], compare_product)
    runs |= {f"momentum, {tier}": compare_training for tier in TIERS}
    return {name: run(name) for name, run in runs.items()}


if __name__ == "__main__":
    print(small_part())
