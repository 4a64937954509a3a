"""The core tier on every CPU target, with machine code and without: the same bits."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from test_lanes import EQUATIONS, OPTIMIZERS, dense, model_of, noted, observed, trained
from test_lanes_code import assert_same, digest
from torch import Tensor

import irkernels as irk
from irkernels import _launch, _native
from irkernels.nn import Product

HERE = Path(__file__).resolve().parent
STEPS = 280  # taken in calls of 1, 8, 64 and the rest, which is more than csrc/run/step_code.h, kFewest
CHAIN = "ij,jk,kl->il"
pytestmark = pytest.mark.skipif(_launch.LAUNCHES, reason="this kernel target has no native training")


def chain(sizes: tuple[int, ...], dtype: torch.dtype, trials: int | None = None) -> Product:
    """Factors of sizes[0] x sizes[1], sizes[1] x sizes[2], ..., each trial its own."""
    draw = torch.Generator().manual_seed(len(sizes))
    letters = "abcdefgh"[: len(sizes)]
    shapes = list(pairwise(sizes))
    wide = {"generator": draw, "dtype": torch.float64}
    numbers = [torch.randn(trials or 1, *shape, **wide) / shape[1] ** 0.5 for shape in shapes]
    terms = ",".join(a + b for a, b in pairwise(letters))
    factors = [torch.nn.Parameter((x if trials else x[0]).to(dtype)) for x in numbers]
    return Product(f"{terms}->{letters[0]}{letters[-1]}", *factors, trials=trials)


def seen(model: Product, count: int) -> irk.Observed:
    """So many different entries of a matrix."""
    draw = torch.Generator().manual_seed(count)
    rows, columns = model.shape
    at = torch.randperm(rows * columns, generator=draw)[:count]
    values = torch.randn(count, generator=draw, dtype=torch.float64).to(model.factors[0].dtype)
    return irk.Observed(torch.stack([at // columns, at % columns], 1), values, model.shape)


def core(model: Product, data: irk.Observed | Tensor, kind: str = "sgd", **settings) -> dict:
    return trained("core", model, data, kind, steps=STEPS, **settings)


def runs(dtype: torch.dtype) -> Iterator[tuple[str, dict]]:
    """What runs of a core leave behind: every width of a register and what is left over, every rule and loss."""
    for n in (1, 2, 3, 4, 5, 7, 8, 9, 12, 16, 17, 24, 25):
        yield f"dense {n}", core(model := chain((n, n, n), dtype), dense(model))
    for sizes in ((10, 10, 10, 10), (3, 17, 5), (9, 1, 9), (6, 2, 13, 4), (11, 5), (20, 20, 20, 20), (19, 70, 31)):
        full = sizes[0] * sizes[-1]
        for count in sorted({1, 7, full // 5, full // 2, full}):
            for trials in (None, 2):
                yield f"{sizes} {count} {trials}", core(model := chain(sizes, dtype, trials), seen(model, count))
    for equation in EQUATIONS:
        yield f"dense {equation}", core(model := model_of(equation, 3, dtype), dense(model))
        if not equation.endswith("->"):
            yield f"observed {equation}", core(model := model_of(equation, None, dtype), observed(model))
    for kind in OPTIMIZERS:
        for clipped in ({}, {"clip": 0.1}, {"clip_value": 0.05}):
            yield f"{kind} {clipped}", core(model := chain((5, 7, 13), dtype, 3), seen(model, 40), kind, **clipped)
        yield f"large {kind}", core(model := chain((20, 30, 11), dtype), seen(model, 100), kind)
    for loss in ("mse", "half_sse", "l1", "huber"):
        for weighted in (False, True):
            for own in (False, True):
                data = observed(model := model_of(CHAIN, 3, dtype), weighted, own)
                yield f"{loss} {weighted} {own}", core(model, data, loss=loss, delta=0.3)
        for count in (31, 32, 33, 65, 130):
            yield f"{loss} {count}", core(model := chain((13, 4, 10), dtype), seen(model, count), loss=loss, delta=0.3)
    for every in (1, 4):
        yield f"noted {every}", noted("core", "sgd", every, 3, dtype, steps=STEPS)
    yield "batches", core(model := chain((6, 5, 7), dtype, 2), seen(model, 30), batch_size=8)
    for rate in (1e30, 3e9):
        model = model_of(CHAIN, 3, dtype)
        yield f"diverging {rate}", core(model, observed(model), "momentum", lr=[0.01, rate, 0.02])


def digests() -> dict[str, str]:
    found = {}
    for dtype in (torch.float64, torch.float32):
        found |= {f"{name} {dtype}": digest(left) for name, left in runs(dtype)}
    return found


@pytest.fixture(scope="module")
def here() -> dict[str, str]:
    return digests()


def test_machine_code_gives_the_bits_of_the_interpreter(here: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IRKERNELS_MACHINE_CODE", "0")
    assert_same(digests(), here)


@pytest.mark.parametrize("machine_code", [True, False])
def test_steps_are_machine_code(machine_code: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of a small problem where there is machine code, in calls that are worth the while, unless it is not
    wanted."""
    calls, fit = [], _native.fit
    monkeypatch.setattr(_native, "fit", lambda *arguments: calls.append(fit(*arguments)))
    if not machine_code:
        monkeypatch.setenv("IRKERNELS_MACHINE_CODE", "0")
    has_code = _native.TARGET in ("x86-64-v4", "x86-64-v3") and sys.platform == "linux"
    for sizes, count, steps in (((10, 10, 10, 10), 50, 10), ((16, 16, 16, 16), 128, 11)):
        for dtype in (torch.float64, torch.float32):
            calls.clear()
            core(model := chain(sizes, dtype), seen(model, count))
            assert max(calls[:3]) == 0 and max(calls) == (steps if machine_code and has_code else 0)


@pytest.mark.parametrize("target", [name for name in irk.build_info()["targets_available"] if name != "simt"])
def test_targets(target: str, here: dict[str, str]) -> None:
    path = os.pathsep.join([str(HERE.parent), str(HERE), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"IRKERNELS_TARGET": target, "PYTHONPATH": path}
    settings = {"env": environment, "capture_output": True, "text": True, "timeout": 300, "check": False}
    done = subprocess.run([sys.executable, __file__], **settings)
    assert done.returncode == 0, done.stderr[-2000:]
    assert_same(json.loads(done.stdout), here)


if __name__ == "__main__":
    json.dump(digests(), sys.stdout)
