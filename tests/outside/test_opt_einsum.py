"""opt_einsum's own suite, as its wheel ships it, with `contract` computed by irkernels (demands of E1 and E12)."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

VERSION = "3.4.0"  # whose counts these are
TESTS = 7509  # test_contract 7,482, test_input 16, test_edge_cases 11
FLOOR = 10_000  # calls that must reach irkernels: an adaptor that falls back in silence would pass everything
MODULES = ("test_contract", "test_input", "test_edge_cases")


@pytest.fixture(autouse=True)
def pinned() -> None:
    try:
        installed = version("opt_einsum")
    except PackageNotFoundError:
        pytest.skip("opt_einsum is not installed")
    if installed != VERSION:
        pytest.skip(f"the counts are those of opt_einsum {VERSION}, installed is {installed}")


def test_all_of_it_passes_through_irkernels(tmp_path: Path) -> None:
    here = str(Path(__file__).resolve().parent)
    search = os.pathsep.join(filter(None, (here, os.environ.get("PYTHONPATH"))))
    modules = [f"opt_einsum.tests.{module}" for module in MODULES]
    options = ["-p", "routed_opt_einsum", "-p", "no:cacheprovider", "-c", os.devnull, "--rootdir", str(tmp_path), "-q"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, "--pyargs", *modules],
        env={**os.environ, "PYTHONPATH": search},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=600,
    )
    told = done.stdout[-4000:] + done.stderr[-2000:]
    assert done.returncode == 0, told
    assert re.search(rf"^{TESTS} passed\b(?!.*(failed|skipped|error))", done.stdout, re.MULTILINE), told
    routed = re.search(r"irkernels calls: (\d+) routed, (\d+) along a path", done.stdout)
    assert routed and int(routed[1]) >= FLOOR and int(routed[2]) >= FLOOR // 4, told
