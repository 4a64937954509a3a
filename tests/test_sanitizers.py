"""The team's barrier under ThreadSanitizer, and what the build under the other sanitizers is made of.

The kernels themselves run under AddressSanitizer and UndefinedBehaviorSanitizer in .ci/sanitize: a build of minutes.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
CXX = os.environ.get("CXX", "g++")
_FOUND = 66  # what a program ends with that ThreadSanitizer has found a race in

pytestmark = pytest.mark.skipif(
    not shutil.which(CXX) or not (ROOT / "csrc").exists(), reason="needs a compiler and the sources"
)


def sanitized_team(folder: Path, *flags: str) -> subprocess.CompletedProcess:
    program = folder / "team"
    source = ROOT / "tests" / "native" / "team.cpp"
    command = [CXX, "-std=c++17", "-O1", "-g", "-fsanitize=thread", *flags, f"-I{ROOT / 'csrc'}", str(source)]
    built = subprocess.run([*command, "-o", str(program), "-pthread"], capture_output=True, text=True)
    if "cannot find" in built.stderr and "tsan" in built.stderr:
        pytest.skip("this compiler comes without ThreadSanitizer")
    assert built.returncode == 0, built.stderr
    return subprocess.run([str(program)], capture_output=True, text=True, timeout=120)


def test_contests_go_to_the_faster_and_try_the_slower_again(tmp_path: Path) -> None:
    program, source = tmp_path / "contest", ROOT / "tests" / "native" / "contest.cpp"
    subprocess.run([CXX, "-std=c++17", "-O1", f"-I{ROOT / 'csrc'}", str(source), "-o", str(program)], check=True)
    assert subprocess.run([str(program)], timeout=60).returncode == 0


def test_the_barrier_orders_what_members_write(tmp_path: Path) -> None:
    ran = sanitized_team(tmp_path)
    if "unexpected memory mapping" in ran.stderr:
        pytest.skip("ThreadSanitizer does not run on this kernel's memory layout")
    assert ran.returncode == 0, ran.stderr[:3000]


def test_a_team_that_does_not_meet_is_told(tmp_path: Path) -> None:
    ran = sanitized_team(tmp_path, "-DWITHOUT_SYNC")
    if "unexpected memory mapping" in ran.stderr:
        pytest.skip("ThreadSanitizer does not run on this kernel's memory layout")
    assert ran.returncode == _FOUND and "data race" in ran.stderr


def table(sanitize: str) -> subprocess.CompletedProcess:
    """Modules and flags of setup.py's table under this wish."""
    pytest.importorskip("pybind11")
    script = (
        "import runpy; t = runpy.run_path('setup.py', run_name='x')['targets']()\nfor e in t: print(e.module, *e.flags)"
    )
    environment = os.environ | {"IRKERNELS_SANITIZE": sanitize, "IRKERNELS_CUDA": "0"}
    return subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, env=environment)


def test_the_build_under_sanitizers() -> None:
    told = table("address,undefined")
    assert told.returncode == 0, told.stderr
    lines = told.stdout.splitlines()
    assert {line.split()[0] for line in lines} <= {"_bind", "_target_x86_64_v3", "_target_simt"}
    assert all("-fsanitize=address,undefined" in line for line in lines)
    assert "-fsanitize" not in table("").stdout


def test_another_sanitizer_is_refused() -> None:
    told = table("memory")
    assert told.returncode != 0 and "must be address" in told.stderr
