"""The run on a GPU, as far as it goes without one: what is missing, its processes, its comparisons, its summary."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import irkernels as irk

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT))  # last: the checkout's own source tree must not hide an installed irkernels
pytest.importorskip("opt_einsum", reason="bench counts arithmetic with opt_einsum")

from bench import gpu, gpu_checks, gpu_machine, gpu_peers, gpu_report, gpu_rows  # noqa: E402
from bench.gpu_parts import DEVICE_LOST, PARTS, Part, read, record, serve  # noqa: E402
from bench.peer import Absent  # noqa: E402
from bench.timing import quartiles, seconds_per_call  # noqa: E402

needs_sources = pytest.mark.skipif(not (ROOT / "tests" / "test_emulation.py").exists(), reason="a checkout is needed")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_what_is_missing_is_said(tmp_path: Path) -> None:
    path = os.pathsep.join([str(ROOT), str(Path(irk.__file__).parent.parent), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-m", "bench.gpu", "--out", str(tmp_path / "found.json")]
    settings = os.environ | {"PYTHONPATH": path, "PATH": os.path.dirname(sys.executable), "CUDA_HOME": "/nowhere"}
    done = subprocess.run(command, cwd=ROOT, env=settings, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2, done.stderr
    assert "has no CUDA device" in done.stderr and "the C++ compiler" in done.stderr
    assert not (tmp_path / "found.json").exists()


def test_absent_modules_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_machine.importlib.util, "find_spec", lambda name: None)
    said = "\n".join(gpu_machine.missing())
    assert all(f"module {name}," in said for name in ("torch", "pybind11", "opt_einsum"))


def test_architectures_are_named_as_setup_names_them() -> None:
    names = [gpu_machine.architecture(capability) for capability in ((8, 0), (8, 9), (9, 0), (10, 0), (12, 0))]
    assert names == ["80", "89", "90a", "100", "120"]


def _item(name: str) -> dict:
    if name == "absent":
        raise Absent("not here")
    if name == "bad":
        raise ValueError("no good")
    return {"seconds": {}}


def test_a_part_records_what_fails(tmp_path: Path) -> None:
    part, file = Part(lambda quick: ["first", "good", "absent", "bad"], _item, (1, 1)), tmp_path / "part.jsonl"
    record(file, "first")  # begun by a process that ended: not taken again
    with file.open("a") as out:
        out.write('{"item": "go')  # as a process that was killed leaves it
    assert serve(part, file, quick=True) == 0
    begun, found = read(file)
    assert begun == ["first", "good", "absent", "bad"] and found["good"] == {"seconds": {}}
    assert found["absent"] == {"skipped": "not here"} and found["bad"]["failed"] == "ValueError: no good"
    assert "first" not in found


def test_a_part_goes_on_after_its_process_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = []

    def process(name: str, file: Path, *_: object) -> tuple[int, str]:
        runs.append(name)
        record(file, f"item {len(runs)}")
        if len(runs) == 2:
            record(file, "item 2", {"failed": "the device is lost"})
            return DEVICE_LOST, "gone"
        if len(runs) == 3:
            record(file, "item 3", {})
        return (0, "") if len(runs) == 3 else (-11, "crashed")

    monkeypatch.setattr(gpu, "_process", process)
    found = gpu.run_part("registry", True, tmp_path)
    assert found == {"item 1": {"failed": "crashed"}, "item 2": {"failed": "the device is lost"}, "item 3": {}}
    monkeypatch.setattr(gpu, "_process", lambda *_: (1, "ImportError"))
    assert gpu.run_part("training", True, tmp_path) == {"the part": {"failed": "ImportError"}}


def test_a_part_is_ended_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PARTS, "ceilings", Part(PARTS["ceilings"].items, PARTS["ceilings"].run, (0, 0)))
    found = gpu.run_part("ceilings", True, tmp_path)
    assert "seconds were over" in found["the rest"]["skipped"]


@needs_sources
def test_comparisons_of_a_device_with_itself_find_nothing() -> None:
    products, trainings = gpu_checks.products(True), gpu_checks.trainings(True)
    assert len(products) < len(gpu_checks.products(False)) and len(trainings) < len(gpu_checks.trainings(False))
    for found in (gpu_checks.compare_product(products[0], "cpu"), gpu_checks.compare_product(products[-1], "cpu")):
        assert found["results"] > 5 and found["other bits"] == 0
    for item in trainings[:3]:
        found = gpu_checks.compare_training(item, "cpu")
        assert found["other bits"] == 0 and found["tier"].startswith(item.split(", ")[1])


def test_other_bits_are_counted() -> None:
    expected = {"a": torch.tensor([1.0, -4.0]), "b": torch.ones(2), "c": torch.zeros(0)}
    found = gpu_checks.compared(expected | {"a": torch.tensor([1.0, -4.5])}, expected)
    assert found["other bits"] == 1 and found["differing"] == ["a"]
    assert found["largest relative difference"] == pytest.approx(0.125)
    broken = gpu_checks.compared(expected | {"b": torch.tensor([1.0, torch.nan])}, expected)
    assert broken["largest relative difference"] == "infinite"


def test_contenders_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """On the CPU, in the device's place."""

    def measured(run: object) -> tuple[float, float, float]:
        return quartiles([seconds_per_call(run, 1) for _ in range(2)])

    monkeypatch.setattr(torch.Tensor, "cuda", lambda self, *_: self)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    monkeypatch.setattr(gpu_peers, "measured", measured)
    monkeypatch.setattr(gpu_peers, "graphed", lambda run: run)
    rows = gpu_rows.rows(quick=False)
    assert set(gpu_rows.rows(quick=True)) < set(rows)
    own = {"A: chain 3 x (4x4)": "irkernels, graphed", "B: n 10, 50 observed, depth 3, 1 trial": "irkernels, grid"}
    for name, more in own.items():
        found = gpu_peers.timed(rows[name])
        peers = set(found["seconds"])
        assert not set(found["notes"]) - peers, found["notes"]
        assert {"irkernels", more} <= peers and any(peer.startswith("graphed") for peer in peers)


def test_ratios_and_shares() -> None:
    times = {"irkernels": (1e-5, 2e-5, 3e-5), "irkernels, graphed": (1e-5, 1e-5, 1e-5), "eager, einsum": (1, 8e-5, 1)}
    row = {"multiply-adds": 5_000_000, "bytes": 1_000_000, "seconds": times, "notes": {}}
    parts = {
        "ceilings": {"copy": {"bytes a second": 1e12}, "float32": {"flops a second": 1e12}},
        "times": {"B: b": {"failed": "lost\nmore"}, "A: a": row},
        "JAX": {"A: a": {"seconds": {"JAX": (1, 4e-5, 1)}, "notes": {}}, "B: b": {"skipped": "no jax"}},
        "registry": {"p": {"results": 3, "other bits": 1}, "q": {"failed": "x"}, "r": {"results": 3, "other bits": 0}},
    }
    found = gpu.summary(parts)
    assert list(found["rows"]) == ["A: a", "B: b"]
    assert found["rows"]["B: b"]["notes"] == {"times": "lost", "JAX": "no jax"}
    about = found["rows"]["A: a"]["summary"]
    assert about["best peer"] == "JAX" and about["ceiling"] == "arithmetic"
    assert [about[name] for name in ("ratio", "ratio graphed", "share of the ceiling")] == pytest.approx([2, 4, 0.5])
    assert found["summary"]["registry"] == {"items": 3, "failed": ["q"], "other bits": ["p"]}
    assert "50 % (arithmetic)" in gpu_report.ratio_table(found["rows"])
    json.dumps(found, allow_nan=False)


def test_a_row_keeps_what_was_timed_before_the_device_was_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise RuntimeError("an illegal memory access\nand more")

    monkeypatch.setattr(gpu_peers, "measured", lambda run: run() or (1.0, 2.0, 3.0))
    monkeypatch.setattr(gpu_peers, "device_lost", lambda: True)
    found = gpu_peers.collected({"good": lambda: lambda: None, "bad": lambda: broken, "late": lambda: broken}, 2)
    assert found["seconds"] == {"good": (0.5, 1.0, 1.5)} and set(found["notes"]) == {"bad"}
    assert found["failed"] == "bad: RuntimeError: an illegal memory access"


def test_one_file_has_all_that_was_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row = {"multiply-adds": 8, "bytes": 8, "seconds": {"irkernels": (1, 2, 3), "eager, einsum": (2, 4, 6)}, "notes": {}}
    canned = {"times": {"A: a": row}, "registry": {"chain": {"results": 2, "other bits": 0}}}
    monkeypatch.setattr(gpu_machine, "missing", list)
    monkeypatch.setattr(gpu_machine, "environment", lambda: {"device": {"name": "one"}})
    monkeypatch.setattr(gpu, "run_part", lambda name, *_: canned.get(name, {}))
    out = tmp_path / "found.json"
    assert gpu.main(["--quick", "--out", str(out)]) == 0
    found = json.loads(out.read_text())
    assert set(found) == {"environment", "quick", "seconds", "parts", "rows", "summary"} and found["quick"]
    assert list(found["parts"]) == list(found["seconds"]) == list(found["summary"]) == list(PARTS)
    assert found["rows"]["A: a"]["summary"] == {"best peer": "eager, einsum", "ratio": 2.0}
    canned["build"] = {"build": {"failed": "nvcc said no"}}
    assert gpu.main(["--out", str(out)]) == 1
    assert list(json.loads(out.read_text())["parts"]) == ["build"], "nothing can run without a build"
