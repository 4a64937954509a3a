"""What is built and what importing it does: linked libraries, targets, silence, one OpenMP runtime."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import irkernels as irk
from irkernels import openmp

PACKAGE = Path(irk.__file__).parent
MODULES = sorted(PACKAGE.glob("_*.so"))
# what a kernel module may ask the loader for; OpenMP's name is resolved to the runtime that torch has loaded
SYSTEM_LIBRARIES = re.compile(r"^(lib(stdc\+\+|gcc_s|c|m|dl|pthread|rt|gomp)\.so\.\d+|ld-linux.*\.so\.\d+)$")
KEYS = {
    "version",
    "compiler",
    "target",
    "targets_available",
    "cuda_architectures",
    "torch",
    "threads",
    "openmp_runtimes",
}
ONE_CHAIN = """
import hashlib, torch, irkernels as irk
generator = torch.Generator().manual_seed(0)
factors = [torch.randn(3, n, m, generator=generator, dtype=dtype).requires_grad_()
           for dtype in (torch.float32, torch.float64) for n, m in ((7, 33), (33, 300), (300, 5))]
digest = hashlib.sha256()
with irk.deterministic():
    for three in (factors[:3], factors[3:]):
        value = irk.einsum("...ij,...jk,...kl->...il", *three)
        for tensor in (value, *torch.autograd.grad(value.square().sum(), three)):
            digest.update(tensor.detach().contiguous().numpy().tobytes())
print(irk.build_info()["target"], digest.hexdigest())
"""
COUNT_THREADS = """
import ctypes, os, sys, warnings
if len(sys.argv) > 1: ctypes.CDLL(sys.argv[1])
import torch
torch.set_num_threads(3)
trials = [torch.randn(64, 40, 40) for _ in range(3)]
with warnings.catch_warnings(record=True) as told:
    warnings.simplefilter("always")
    import irkernels as irk
before = len(os.listdir("/proc/self/task"))
with irk.deterministic():
    irk.einsum("...ij,...jk,...kl->...il", *trials)
info = irk.build_info()
print(len(os.listdir("/proc/self/task")) - before, info["threads"], len(info["openmp_runtimes"]))
print([str(w.message) for w in told if w.category is RuntimeWarning])
"""


def python(code: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
    path = os.pathsep.join([str(PACKAGE.parent), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(
        command, env=os.environ | {"PYTHONPATH": path} | environment, capture_output=True, text=True, timeout=120
    )


@pytest.mark.skipif(shutil.which("readelf") is None, reason="readelf is not installed")
def test_modules_link_neither_torch_nor_cuda() -> None:
    assert len(MODULES) > len(irk.build_info()["targets_available"]), "the binding and its targets"
    for module in MODULES:
        told = subprocess.run(["readelf", "-d", str(module)], capture_output=True, text=True, check=True).stdout
        needed = re.findall(r"\(NEEDED\).*\[(.+)\]", told)
        strangers = [name for name in needed if not SYSTEM_LIBRARIES.match(name)]
        assert needed and not strangers, f"{module.name} needs {strangers}"
        assert "RPATH" not in told and "RUNPATH" not in told, f"{module.name} looks for libraries in a place of its own"


def test_import_is_silent_and_starts_nothing() -> None:
    code = """
import sys, torch, threading
started = []
sys.addaudithook(lambda event, _: event in ("subprocess.Popen", "os.system", "os.fork", "os.exec", "os.posix_spawn",
                                            "socket.connect") and started.append(event))
written = []
sys.addaudithook(lambda event, args: event == "open" and isinstance(args[1], str) and set(args[1]) & set("wax+")
                                     and ".pyc" not in str(args[0]) and written.append(args[0]))
threads = threading.active_count()
import irkernels
assert not started, started
assert not written, written
assert threading.active_count() == threads
"""
    done = python(code)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", ""), done.stderr


def test_an_unknown_target_is_named() -> None:
    done = python("import irkernels", IRKERNELS_TARGET="x86-64-v9")
    last = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 1 and last.startswith("ImportError: IRKERNELS_TARGET=x86-64-v9")
    for target in irk.build_info()["targets_available"]:
        assert target in last


def test_every_target_computes_the_same_bits() -> None:
    digests = {}
    for target in irk.build_info()["targets_available"]:
        done = python(ONE_CHAIN, IRKERNELS_TARGET=target)
        assert done.returncode == 0, f"{target}: {done.stderr}"
        name, digests[target] = done.stdout.split()
        assert name == target
    assert len(set(digests.values())) == 1, digests


def test_build_info() -> None:
    info = irk.build_info()
    assert set(info) == KEYS
    assert info["torch"] == torch.__version__ and info["threads"] == torch.get_num_threads()
    assert info["target"] in info["targets_available"] and info["compiler"] and info["version"]
    assert all(isinstance(name, str) for name in info["cuda_architectures"])


def test_one_openmp_runtime_is_loaded() -> None:
    """Own kernels took torch's, asked in a process that has loaded nothing else."""
    done = python("import irkernels as irk; print(*irk.build_info()['openmp_runtimes'], sep='\\n')")
    loaded = done.stdout.split()
    assert len(loaded) == 1 and Path(loaded[0]).exists(), loaded


@pytest.mark.skipif(not openmp.runtimes(), reason="this system does not tell which libraries are loaded")
def test_a_second_openmp_runtime_leaves_one_thread(tmp_path: Path) -> None:
    done = python(COUNT_THREADS, OMP_NUM_THREADS="3")
    assert done.stdout.split("\n")[:2] == ["2 3 1", "[]"], done.stdout + done.stderr
    second = tmp_path / "libgomp-second.so.1"
    library = Path(openmp.runtimes()[0]).read_bytes()
    if b"libgomp.so.1\0" not in library:
        pytest.skip("the runtime loaded is not GNU's")
    second.write_bytes(
        library.replace(b"libgomp.so.1\0", b"libgomp.so.9\0")
    )  # by its own name the loader would take it for torch's
    done = python(COUNT_THREADS, str(second), OMP_NUM_THREADS="3")
    counts, warning = done.stdout.strip().split("\n")
    assert counts == "0 1 2", done.stdout + done.stderr
    assert "2 OpenMP runtimes" in warning and second.name in warning and "one thread" in warning
