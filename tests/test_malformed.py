"""Malformed calls of the whole public API: each is answered by a result or a clear exception of ours, within a second of
processor time, without the process dying, and memory does not grow. IRKERNELS_MALFORMED: how many."""

from __future__ import annotations

import os

import pytest
from malformed import judge, runner
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


@pytest.mark.parametrize("error", [KeyError("x"), AttributeError("no shape"), TypeError("f(): incompatible function arguments")])
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
