"""Where the core runs out of memory a call raises MemoryError, leaves nothing, and the next one is right.

IRKERNELS_ALLOCATIONS: how many of each call's allocations fail, one at a time; .ci/release asks for more.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
MOST = os.environ.get("IRKERNELS_ALLOCATIONS", "5")
COMPILER = os.environ.get("CXX", "g++")
POSSIBLE = sys.platform.startswith("linux") and shutil.which(COMPILER) is not None


@pytest.mark.skipif(not POSSIBLE, reason="needs Linux and a compiler")
def test_each_failing_allocation_is_a_memory_error_and_nothing_is_left(tmp_path: Path) -> None:
    loaded = tmp_path / "failing_new.so"
    source = HERE / "native/failing_new.cpp"
    subprocess.run([COMPILER, "-O2", "-shared", "-fPIC", "-std=c++17", "-o", loaded, source], check=True)
    done = subprocess.run(
        [sys.executable, HERE / "failing_allocations.py", MOST],
        env={**os.environ, "LD_PRELOAD": str(loaded)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr[-2000:]}"
    lines = done.stdout.splitlines()
    assert len(lines) > 40 and all(int(line.split()[-2]) > 0 for line in lines), done.stdout
