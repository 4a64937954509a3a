"""Checkpoints survive a kill at any moment and tell when they are damaged; Ctrl-C saves.

IRKERNELS_KILLS and IRKERNELS_DAMAGES say how many of each are tried (.ci/release: 100 and 1,000).
"""

from __future__ import annotations

import os
import pickle
import random
import signal
import subprocess
import sys
import threading
import time

import pytest
import torch
from test_trajectory import chain, exactly, run_fit

from irkernels import Running
from irkernels.training import CheckpointError, Stop
from irkernels.training import checkpoint as files

KILLS = int(os.environ.get("IRKERNELS_KILLS", 8))
DAMAGES = int(os.environ.get("IRKERNELS_DAMAGES", 300))

# Runs that write as often as they can, each in a child of its own that is killed at a moment drawn at random.
_KILLED = """
import os, random, signal, sys, time
sys.path.insert(0, {tests!r})
import torch
torch.set_num_threads(1)
from test_checkpoints import run_to_the_end
run_to_the_end(seed=0)  # the first of a process takes long
start = time.perf_counter()
run_to_the_end(seed=0, checkpoint=os.path.join({folder!r}, "timed.pt"))
seconds = time.perf_counter() - start
draw = random.Random(0)
for number in range({kills}):
    file = os.path.join({folder!r}, f"{{number}}.pt")
    child = os.fork()
    if not child:
        run_to_the_end(seed=0, checkpoint=file)
        os._exit(0)
    while not os.path.exists(file):
        time.sleep(1e-4)
    time.sleep(draw.uniform(0, seconds))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
"""


def run_to_the_end(seed, checkpoint=None, resume=None):
    """A model after 200 steps, its run and its optimizer; a record between chunks every 5 steps, and a file at each."""
    model = chain(3, seed=seed)
    run, optimizer = run_fit(
        model, 200, record=["loss", "singular_values", Running("max", "loss")], record_every=5,
        stop=Stop(1e-8, patience=2, every=3), checkpoint=checkpoint, checkpoint_every=0, resume=resume,
    )  # fmt: skip
    return model, run, optimizer


def test_runs_killed_at_random_moments_go_on_to_the_same_end(tmp_path):
    model, expected, optimizer = run_to_the_end(seed=0, checkpoint=tmp_path / "whole.pt")
    script = _KILLED.format(tests=os.path.dirname(__file__), kills=KILLS, folder=os.fspath(tmp_path))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", script], env=environment, check=True, timeout=600)
    reached = []
    for number in range(KILLS):
        file = tmp_path / f"{number}.pt"
        reached.append(files.read(file, "Checkpoint")["reached"])
        resumed, run, other = run_to_the_end(seed=number + 1, checkpoint=file, resume=file)
        exactly(run, expected)
        for p, q in zip(resumed.parameters(), model.parameters()):
            assert torch.equal(p, q)
            assert torch.equal(other.state[p]["momentum_buffer"], optimizer.state[q]["momentum_buffer"])
        assert not list(tmp_path.glob(f".{number}.pt*")), "what a kill left half written stayed"
    assert len(set(reached)) > min(KILLS, 8) // 2, f"the kills came at the same moment: {reached}"


_KILLED_WRITING = """
import os, signal
from irkernels.training import checkpoint as files
def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)
for stage in ("fsync", "chmod", "replace"):
    child = os.fork()
    if not child:
        setattr(os, stage, die)
        files.write({file!r}, "Checkpoint", {{"step": stage}})
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
    assert files.read({file!r}, "Checkpoint") == {{"step": 1}}, stage
"""


def test_a_kill_while_writing_leaves_the_file_before(tmp_path):
    """Killed with everything written, before it is on disk, before it has its mode, before it has its name."""
    file = tmp_path / "run.pt"
    files.write(file, "Checkpoint", {"step": 1})
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    script = _KILLED_WRITING.format(file=os.fspath(file))
    subprocess.run([sys.executable, "-c", script], env=environment, check=True, timeout=120)
    assert len(list(tmp_path.iterdir())) == 4
    files.clear_unfinished(file)
    assert [each.name for each in tmp_path.iterdir()] == ["run.pt"]


def _damaged(content: bytes, draw: random.Random) -> bytes:
    bad, at = bytearray(content), draw.randrange(len(content))
    length = draw.choice([1, 8, 512, len(content)])
    kind = draw.choice(["flip", "truncate", "zero", "garbage", "swap", "append", "all"])
    if kind == "flip":
        bad[at] ^= 1 << draw.randrange(8)
    elif kind == "truncate":
        del bad[at:]
    elif kind in ("zero", "garbage"):
        end = min(len(bad), at + length)
        bad[at:end] = bytes(end - at) if kind == "zero" else draw.randbytes(end - at)
    elif kind == "swap":
        other = draw.randrange(len(bad))
        bad[at], bad[other] = bad[other], bad[at]
    elif kind == "append":
        bad += draw.randbytes(length)
    else:
        bad = bytearray(draw.randbytes(length))
    return bytes(bad)


def test_every_damage_is_one_kind_of_error(tmp_path):
    file = tmp_path / "run.pt"
    run_fit(chain(), 10, record="loss", checkpoint=file)
    content, draw, refused = file.read_bytes(), random.Random(0), 0
    while refused < DAMAGES:
        bad = _damaged(content, draw)
        if bad == content:  # zeros over zeros
            continue
        file.write_bytes(bad)
        with pytest.raises(CheckpointError, match=r"run.pt' is damaged or not written by irkernels"):
            files.read(file, "Checkpoint")
        refused += 1
    before = chain()
    with pytest.raises(CheckpointError):
        run_fit(before, 20, record="loss", resume=file)
    assert torch.equal(before(), chain()())


def test_loading_runs_no_code(tmp_path):
    """A pickle that would run something, under a seal that is right."""
    ran, file = tmp_path / "ran", tmp_path / "run.pt"

    class Evil:
        def __reduce__(self):
            return os.mkdir, (os.fspath(ran),)

    for payload in (pickle.dumps({"format": "irkernels.Checkpoint", "version": 2, "body": Evil()}), b"", b"PK\x03\x04"):
        file.write_bytes(payload + files._SEAL + files._hash(payload).digest())
        with pytest.raises(CheckpointError, match="was not written by irkernels"):
            files.read(file, "Checkpoint")
    with open(file, "wb") as handle:
        sealed = files._Sealed(handle)
        torch.save({"format": "irkernels.Checkpoint", "version": 2, "body": Evil()}, sealed)
        sealed.close()
    with pytest.raises(CheckpointError, match="was not written by irkernels"):
        files.read(file, "Checkpoint")
    assert not ran.exists()


def test_another_kind_of_file_is_named(tmp_path):
    run, _ = run_fit(chain(), 10, record="loss")
    run.save(tmp_path / "run.pt")
    with pytest.raises(CheckpointError, match=r"is a irkernels.Trajectory of version 2, expected irkernels.Checkpoint"):
        run_fit(chain(), 10, resume=tmp_path / "run.pt")
    (tmp_path / "run.pt").write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match="damaged or not written by irkernels"):
        run_fit(chain(), 10, resume=tmp_path / "run.pt")


def test_ctrl_c_saves_a_run_that_goes_on(tmp_path, listening):
    file, sent = tmp_path / "run.pt", []

    def press():
        while not file.exists():
            time.sleep(0.01)
        time.sleep(0.2)
        sent.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT)

    options = dict(record=["loss", Running("max", "loss")], record_every=10**5)
    thread = threading.Thread(target=press)
    thread.start()
    cut, _ = run_fit(chain(2), 10**12, checkpoint=file, **options)
    thread.join()
    reached = cut.stopped_at[0].item()
    assert cut.reason == ["interrupted"] * 2 and reached > 0 and cut.steps[-1] == reached
    resumed, whole = chain(2, seed=3), chain(2)
    actual, _ = run_fit(resumed, reached + 7, resume=file, **options)
    exactly(actual, run_fit(whole, reached + 7, **options)[0])
    assert torch.equal(resumed(), whole())
