"""irk.fit while it runs: Ctrl-C, chunk lengths, other threads, progress."""

from __future__ import annotations

import io
import os
import signal
import threading
import time

import pytest
import torch
from test_fit import OPTIMIZERS, chain, engine, equal, observed, quiet  # noqa: F401 (engine is a fixture)

from irkernels.training import fit
from irkernels.training.interrupt import answer_interrupts
from irkernels.training.pace import Pace


def test_ctrl_c_returns_what_was_reached(listening):
    model, data = chain(2), observed()
    optimizer = OPTIMIZERS["momentum"](model.parameters())
    handler = signal.getsignal(signal.SIGINT)
    sent = []

    def press():
        time.sleep(0.3)
        sent.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=press)
    thread.start()
    run = quiet(model, data, optimizer, steps=10**12, record="loss", record_every=10**6)
    waited = time.monotonic() - sent[0]
    thread.join()
    assert run.reason == ["interrupted"] * 2
    assert signal.getsignal(signal.SIGINT) is handler
    assert waited < 30  # it did not run the 10^12 steps; how promptly it returns is for the benches
    reached = run.stopped_at[0].item()
    assert reached > 0 and run.steps[-1] == reached
    again = chain(2)
    same = OPTIMIZERS["momentum"](again.parameters())
    quiet(again, data, same, steps=reached)
    assert equal(model, again)
    for p, q in zip(model.parameters(), again.parameters()):
        assert torch.equal(optimizer.state[p]["momentum_buffer"], same.state[q]["momentum_buffer"])


@pytest.mark.parametrize("seconds, longest", [(1e-6, 100_000), (1e-3, 100), (0.04, 2), (3.0, 1)])
def test_chunks_are_as_long_as_a_tenth_of_a_second(seconds, longest):
    now = [0.0]
    pace = Pace(lambda: now[0])
    assert pace.chunk == 1  # nothing is known of the first step
    for _ in range(20):
        with pace.measured(pace.chunk):
            now[0] += seconds * pace.chunk
    assert pace.chunk == pytest.approx(longest, rel=0.02)
    with pace.measured(1):  # a record right after: one step says nothing of a hundred
        now[0] += seconds
    assert pace.chunk == pytest.approx(longest, rel=0.02) and pace.rate == pytest.approx(1 / seconds)
    with pace.measured(pace.chunk):  # the machine has become slow
        now[0] += 100 * max(0.1, seconds)
    assert pace.chunk <= max(1, longest // 90)


def test_the_second_ctrl_c_does_not_wait_and_foreign_handlers_stay(listening):
    with answer_interrupts() as interrupt:
        signal.raise_signal(signal.SIGINT)
        assert interrupt.requested
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    seen = []
    before = signal.signal(signal.SIGINT, lambda *_: seen.append(1))
    try:
        with answer_interrupts() as interrupt:
            signal.raise_signal(signal.SIGINT)
        assert seen == [1] and not interrupt.requested
    finally:
        signal.signal(signal.SIGINT, before)


def test_fit_runs_in_another_thread():
    model, data, runs = chain(), observed(), []
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    thread = threading.Thread(target=lambda: runs.append(quiet(model, data, optimizer, steps=5)))
    thread.start()
    thread.join()
    assert runs[0].stopped_at == 5


def test_progress_is_a_line_on_a_terminal_silent_in_a_pipe_or_a_call(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    model, data = chain(2), observed()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for stream, shown in ((Terminal(), True), (io.StringIO(), False)):
        monkeypatch.setattr("sys.stderr", stream)
        fit(model, data, optimizer, steps=20)
        said = stream.getvalue()
        assert bool(said) == shown
    monkeypatch.undo()
    calls = []
    fit(model, data, optimizer, steps=20, progress=calls.append)
    last = calls[-1]
    assert (last.step, last.steps, last.remaining, last.running) == (20, 20, 0.0, 2)
    assert torch.isfinite(last.losses).all() and last.rate > 0
    assert "20/20 steps" in str(last) and "2 of 2 trials running" in str(last)


def test_ctrl_c_in_a_progress_call_ends_the_run_in_order():
    model, data = chain(), observed()

    def press(progress):
        raise KeyboardInterrupt

    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    run = fit(model, data, optimizer, steps=10**9, progress=press)
    assert run.reason == "interrupted"
    again = chain()
    quiet(again, data, torch.optim.SGD(again.parameters(), lr=0.1), steps=run.stopped_at)
    assert equal(model, again)
