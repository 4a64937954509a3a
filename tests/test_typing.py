"""mypy in strict mode passes a program that uses the public names, and the package itself: it ships its types."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import irkernels

TREE = Path(irkernels.__file__).parent.parent
ROOT = Path(__file__).resolve().parent.parent
# of every pybind11 class, whatever its stub says
OF_PYBIND = "".join(f"irkernels._bind.{name}\nirkernels._bind.{name}.__init__\n" for name in ("LanesStep", "Plan"))
PROGRAM = """\
import torch

import irkernels as irk

A, B, C = (torch.randn(4, 4) for _ in range(3))
W: torch.Tensor = irk.einsum("ij,jk,kl->il", A, B, C)
reveal_type(irk.multi_dot([A, B, C]))
observed = irk.Observed(torch.zeros(3, 2, dtype=torch.int64), torch.randn(3), (4, 4))
reveal_type(irk.completion_loss("ij,jk,kl->il", A, B, C, observed=observed))
model = irk.nn.MatrixChain(4, 4, depth=3, trials=2, init_scale=0.1, seed=0)
optimizer = irk.optim.GroupRMSprop(model.parameters(), lr=1e-3)
run = irk.fit(model, observed, optimizer, steps=10, record="loss", stop=irk.Stop(loss=1e-6))
reveal_type(run)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for all programs: what mypy has read of torch stays in its cache."""
    pytest.importorskip("mypy", reason="mypy is in the extra `test`")
    return tmp_path_factory.mktemp("program")


def run(module: str, *arguments: str, folder: Path) -> tuple[int, str]:
    path = {} if TREE.name == "site-packages" else {"MYPYPATH": str(TREE)}  # mypy sees no editable install
    command = [sys.executable, "-m", module, *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env={**os.environ, **path})
    return done.returncode, done.stdout + done.stderr


def mypy(program: str, folder: Path) -> tuple[int, str]:
    (folder / "program.py").write_text(program)
    return run("mypy", "--strict", "--follow-imports=silent", "program.py", folder=folder)


def test_a_program_passes_in_strict_mode(folder: Path) -> None:
    status, said = mypy(PROGRAM, folder)
    assert status == 0, said
    revealed = [line.split('"')[1] for line in said.splitlines() if "Revealed type" in line]
    assert [name.rpartition(".")[2] for name in revealed] == ["Tensor", "Tensor", "Trajectory"], said


def test_the_family_of_the_page_passes_in_strict_mode(folder: Path) -> None:
    page = Path(irkernels.__file__).parent / "docs" / "add-a-family.md"
    if not page.exists():
        pytest.skip("the pages lie beside the sources")
    status, said = mypy(page.read_text().split("```python\n")[1].split("```\n")[0], folder)
    assert status == 0, said


def test_a_wrong_call_is_found(folder: Path) -> None:
    status, said = mypy('import irkernels as irk\n\nirk.nn.MatrixChain("four", 4, depth=3)\n', folder)
    assert status == 1 and 'Argument 1 to "MatrixChain"' in said, said


def test_the_package_passes_in_strict_mode(folder: Path) -> None:
    if not (ROOT / "irkernels" / "__init__.py").exists():
        pytest.skip("the sources are not beside the tests")
    # unused ignores: other releases of torch annotate more
    cache = ("--cache-dir", str(folder / "cache"), "--no-warn-unused-ignores")
    status, said = run("mypy", "--config-file", "pyproject.toml", *cache, folder=ROOT)
    assert status == 0, said


def test_the_stub_of_the_compiled_module_is_true(folder: Path) -> None:
    (folder / "allowed").write_text(OF_PYBIND)
    config = ("--mypy-config-file", str(ROOT / "pyproject.toml"))
    status, said = run("mypy.stubtest", "irkernels._bind", "--allowlist", "allowed", *config, folder=folder)
    assert status == 0, said
