"""Malformed calls of the whole public API: each is answered by a result or a clear exception of ours, within a second
of
processor time, without the process dying, and memory does not grow. IRKERNELS_MALFORMED: how many."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from malformed import fuzz, judge, runner
from malformed.cases import CALLS, malformed, valid

COUNT = int(os.environ.get("IRKERNELS_MALFORMED", "2000"))
MOST_GROWN = 16  # MiB, of one process over the second half of its calls: its caches are bounded and full by then


def test_malformed_calls_are_refused() -> None:
    outcome = runner.run(0, COUNT)
    print(f"{outcome.calls:,} malformed calls, {outcome.refused:,} refused, {outcome.grown_mib} MiB grown")
    assert not outcome.findings, "\n".join(f"seed {each['seed']}: {each['finding']}" for each in outcome.findings[:20])
    assert outcome.calls == COUNT
    assert outcome.refused > COUNT / 2, "most of these calls should be malformed"
    assert outcome.grown_mib <= MOST_GROWN


@pytest.mark.parametrize("name", sorted(set(CALLS) - {"read"}))  # whose file is not there
def test_the_calls_are_valid_before_they_are_spoilt(name: str) -> None:
    call = valid(name)
    call.function(*call.arguments, **call.keywords)


def test_a_seed_names_its_call() -> None:
    assert [malformed(seed).name for seed in range(20)] == [malformed(seed).name for seed in range(20)]


@pytest.mark.parametrize(
    "error", [KeyError("x"), AttributeError("no shape"), TypeError("f(): incompatible function arguments")]
)
def test_the_judge_complains(error: Exception) -> None:
    """An error that names no argument of the caller's is a finding."""
    try:
        raise error
    except Exception as raised:
        assert judge.complaint(raised)


def test_a_process_that_dies_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "_PATIENCE", 0.01)
    outcome = runner.run(5, 1)
    assert outcome.calls == 1 and "timeout" in outcome.findings[0]["finding"]


def test_the_fuzzer_finds_nothing(tmp_path: Path) -> None:
    """The kept corpus of equations and files, and mutants of it, led by coverage. IRKERNELS_FUZZ: seed,seconds."""
    seed, _, seconds = os.environ.get("IRKERNELS_FUZZ", "0,3").partition(",")
    last, environment = tmp_path / "last", os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-m", "malformed.fuzz", seconds, seed, str(last)]
    ran = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=float(seconds) + 300)
    tried = last.read_text() if last.exists() else "nothing"
    assert ran.returncode == 0, f"the process ended with {ran.returncode} at {tried}: {ran.stderr[-2000:]}"
    told, *findings = map(json.loads, ran.stdout.splitlines())
    print(", ".join(f"{value:,} {name}" for name, value in told.items()))
    assert not findings, findings
    assert told["executions"] > len(fuzz.read_corpus()) and told["lines"] > 200


def test_the_fuzzer_tells_an_error_that_is_not_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(content: bytes) -> None:
        raise KeyError("x")

    monkeypatch.setitem(fuzz.KINDS, "equation", broken)
    fuzzer = fuzz.Fuzzer(0, [("equation", b"i->i|2")])
    fuzzer.run(0.0, tmp_path / "last")
    assert any("KeyError" in finding for finding in fuzzer.findings)
