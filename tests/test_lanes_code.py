"""The lanes tier on every CPU target, with machine code and without: the same bits."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from test_lanes import EQUATIONS, OPTIMIZERS, bits, dense, model_of, noted, observed, trained

import irkernels as irk
from irkernels import _launch

HERE = Path(__file__).resolve().parent
pytestmark = pytest.mark.skipif(_launch.LAUNCHES, reason="this kernel target has no native training")


def digests() -> dict[str, str]:
    """What runs in lanes leave behind, by case: one trial (scalar code) and several, every rule and loss."""
    found = {}
    for dtype in (torch.float64, torch.float32):
        for trials in (None, 3, 18):
            for equation in EQUATIONS:
                model = model_of(equation, trials, dtype)
                found[f"{equation} {trials} {dtype}"] = trained("lanes", model, dense(model), steps=9)
            for kind in OPTIMIZERS:
                model = model_of("ij,jk,kl->il", trials, dtype)
                found[f"{kind} {trials} {dtype}"] = trained("lanes", model, observed(model), kind, steps=9)
            for loss in ("half_sse", "l1", "huber"):
                model = model_of("ij,jk,kl->il", trials, dtype)
                found[f"{loss} {trials} {dtype}"] = trained("lanes", model, observed(model, weighted=True), steps=9,
                                                            loss=loss, delta=0.3)
            for every in (1, 4):
                found[f"noted {every} {trials} {dtype}"] = noted("lanes", "sgd", every, trials, dtype)
            model = model_of("ij,jk,kl->il", trials, dtype)
            found[f"diverging {trials} {dtype}"] = trained("lanes", model, observed(model), steps=40, lr=1e30)
    return {name: digest(left) for name, left in found.items()}


def digest(left: dict) -> str:
    hashed = hashlib.sha256(str(left.pop("reason")).encode())
    for name, tensor in left.items():
        hashed.update(name.encode() + bits(tensor))
    return hashed.hexdigest()[:16]


def assert_same(found: dict[str, str], expected: dict[str, str]) -> None:
    differing = [name for name, value in expected.items() if found[name] != value]
    assert found.keys() == expected.keys() and not differing, f"other bits: {differing}"


@pytest.fixture(scope="module")
def here() -> dict[str, str]:
    return digests()


def test_machine_code_gives_the_bits_of_the_interpreter(here: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IRKERNELS_MACHINE_CODE", "0")
    assert_same(digests(), here)


@pytest.mark.parametrize("target", [name for name in irk.build_info()["targets_available"] if name != "simt"])
def test_targets(target: str, here: dict[str, str]) -> None:
    path = os.pathsep.join([str(HERE.parent), str(HERE), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"IRKERNELS_TARGET": target, "PYTHONPATH": path}
    done = subprocess.run([sys.executable, __file__], env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    assert_same(json.loads(done.stdout), here)


if __name__ == "__main__":
    json.dump(digests(), sys.stdout)
