"""TensorLy's own suites, as its wheel ships them, on its PyTorch backend with irkernels on (demands E1, E2).

Its CP and PARAFAC2 decompositions take about half a minute and are run with IRKERNELS_OUTSIDE=all.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

VERSION = "0.10.0"  # whose counts these are; stock passes every one of these tests
FORMATS = ["tensorly.tenalg.tests", "tensorly.tests.test_tt_matrix"]
FORMATS += [f"tensorly.tests.test_{name}_tensor" for name in ("cp", "tucker", "tt", "tr")]
SHORT, LONG = (
    [f"tensorly.decomposition.tests.test_{name}" for name in names]
    for names in (("tucker", "tt_decomposition"), ("cp", "parafac2"))
)
# calls that must reach irkernels: an adaptor that falls back in silence would pass everything
FLOORS = {"khatri_rao": 40, "mode_dot": 10, "multi_mode_dot": 50, "_tt_matrix_to_tensor": 7, "einsum": 60}
FLOORS |= {"unfolding_dot_khatri_rao": 4}  # all that there are
# Decompositions begin from draws without a seed, so that calls vary: about a seventh of what was seen shows the route.
SHORT_FLOORS = FLOORS | {"mode_dot": 30, "multi_mode_dot": 500, "_tt_matrix_to_tensor": 8}
LONG_FLOORS = {"khatri_rao": 200, "unfolding_dot_khatri_rao": 3000, "einsum": 20}
long = pytest.mark.skipif(os.environ.get("IRKERNELS_OUTSIDE") != "all", reason="half a minute: IRKERNELS_OUTSIDE=all")


@pytest.fixture(autouse=True)
def pinned() -> None:
    try:
        installed = version("tensorly")
    except PackageNotFoundError:
        pytest.skip("tensorly is not installed")
    if installed != VERSION:
        pytest.skip(f"the counts are those of tensorly {VERSION}, installed is {installed}")


@pytest.mark.parametrize(
    "algebra, modules, tests, floors",
    [
        pytest.param("core", FORMATS + SHORT, 334, SHORT_FLOORS, id="core"),
        pytest.param("einsum", FORMATS, 318, FLOORS, id="einsum"),
        pytest.param("core", LONG, 206, LONG_FLOORS, id="decompositions", marks=long),
        pytest.param("einsum", LONG, 206, LONG_FLOORS, id="decompositions, einsum", marks=long),
    ],
)
def test_passes_with_irkernels_on(
    tmp_path: Path, algebra: str, modules: list[str], tests: int, floors: dict[str, int]
) -> None:
    here = str(Path(__file__).resolve().parent)
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, (here, os.environ.get("PYTHONPATH")))),
        "TENSORLY_BACKEND": "pytorch",
        "TENSORLY_TENALG_BACKEND": algebra,
        "OMP_NUM_THREADS": "1",  # thousands of tiny products
    }
    options = ["-p", "routed_tensorly", "-p", "no:cacheprovider", "-c", os.devnull, "--rootdir", str(tmp_path), "-q"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, "--pyargs", *modules],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=900,
    )
    told = done.stdout[-4000:] + done.stderr[-2000:]
    assert done.returncode == 0, told
    assert re.search(rf"^{tests} passed\b(?!.*(failed|skipped|error))", done.stdout, re.MULTILINE), told
    calls = _calls(done.stdout)
    short = {name: (calls.get(name, 0), floor) for name, floor in floors.items() if calls.get(name, 0) < floor}
    assert not short, f"calls, floor: {short}"


def _calls(output: str) -> dict[str, int]:
    """What the plug-in counted."""
    told = re.search("irkernels calls: (.*)", output)
    return {name: int(count) for count, name in re.findall(r"(\d+) (\w+)", told[1])}
