"""Launches, emulated: training has the CPU's bits whoever takes a trial, and a severe emulation finds planted faults.

The severe one is the emulation's own source compiled so that every load and store is heard (csrc/targets/races.h).
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

import irkernels as irk

ROOT = Path(__file__).resolve().parent.parent
CSRC = ROOT / "csrc"
PACKAGE = Path(irk.__file__).parent
COMMON = ["-std=c++17", "-fPIC", "-fvisibility=hidden", "-ffp-contract=off", "-DIRK_SIMT", "-DIRK_SEVERE"]
TIERS = ("lanes", "core", "grid")
REGISTRY = {  # test files that run under the severe emulation
    "operators": (
        "registry_values", "registry_accuracy", "registry_derivatives", "entries", "nonfinite", "random_equations"
    ),
    "training": ("fit", "fit_data", "fit_running", "rules"),
}  # fmt: skip

needs_compiler = pytest.mark.skipif(
    not (CSRC / "targets/simt.cpp").exists() or shutil.which(os.environ.get("CXX", "g++")) is None,
    reason="the sources and a compiler are needed to build the severe emulation",
)


def observed(shape: tuple[int, ...], dtype: torch.dtype, weights: bool = False) -> irk.Observed:
    generator = torch.Generator().manual_seed(3)
    every = torch.ones(shape).nonzero()
    at = every[torch.randperm(len(every), generator=generator)[: max(1, len(every) // 2)]]
    values = torch.randn(len(at), generator=generator, dtype=dtype)
    return irk.Observed(at, values, shape,
        weights=torch.rand(len(at), generator=generator, dtype=dtype) if weights else None)


def sgd(parameters: list[Tensor]) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=0.05, momentum=0.9, weight_decay=1e-3)


def adam(parameters: list[Tensor]) -> torch.optim.Optimizer:
    return torch.optim.Adam(parameters, lr=0.01, amsgrad=True)


def rmsprop(parameters: list[Tensor]) -> torch.optim.Optimizer:
    return irk.optim.GroupRMSprop(parameters, lr=0.01)


def problems() -> dict[str, tuple]:
    """Name -> (model, data, rule, what else fit is given)."""
    wide, narrow = torch.float64, torch.float32
    chain = irk.nn.MatrixChain(6, 5, 3, trials=7, init_scale=0.3, seed=0, dtype=wide)
    cp = irk.nn.CP((4, 5, 6), 3, trials=3, init="gaussian", init_scale=0.3, seed=0, dtype=narrow)
    square = irk.nn.MatrixChain(3, 3, 2, trials=4, init_scale=0.3, seed=0, dtype=wide)
    single = irk.nn.MatrixChain(40, 30, 2, init_scale=0.3, seed=0, dtype=narrow)
    ragged = irk.nn.MatrixChain(11, 13, 3, trials=2, init_scale=0.3, seed=0, dtype=narrow)  # beside patches of four
    hadamard = irk.nn.HadamardChain(9, 3, trials=2, init_scale=0.3, seed=0, dtype=wide)
    long = irk.nn.HadamardChain(9000, 2, init_scale=0.3, seed=0, dtype=narrow)  # its loss is gathered
    limits = {"stop": irk.Stop(loss=0.5, every=2), "record": ["loss"], "record_every": 2}
    noted = {"record": ["loss", irk.Running("min", irk.Determinant()), irk.Entry(0, 1)], "record_every": 3}
    rates = {"lr": torch.tensor([0.01, 0.02, 0.05, 1e6], dtype=wide)}  # the last one diverges
    return {
        "momentum": (chain, observed((6, 5), wide), sgd, {"clip": 0.5}),
        "adam": (cp, torch.randn(4, 5, 6, generator=torch.Generator().manual_seed(1)), adam, {}),
        "ragged": (ragged, torch.randn(11, 13, generator=torch.Generator().manual_seed(2)), sgd, {}),
        "rmsprop": (single, observed((40, 30), narrow, weights=True), rmsprop, {"loss": "huber"}),
        "limits": (square, observed((3, 3), wide), sgd, limits),
        "records": (square, observed((3, 3), wide), rmsprop, noted),
        "divergence": (square, observed((3, 3), wide), sgd, rates),
        "batches": (chain, observed((6, 5), wide), sgd, {"batch_size": 4}),
        "long": (long, torch.linspace(-1, 1, 9000), sgd, {"clip": 0.5}),
        "ridge": (hadamard, torch.linspace(-1, 1, 9, dtype=wide), sgd, {"ridge": 0.1, "loss": "l1"}),
    }


def trained(tier: str | None) -> dict[str, list[Tensor]]:
    """The factors and all that was noted, of every problem."""
    found = {}
    for name, (model, data, rule, rest) in problems().items():
        factors = list(model.parameters())
        run = irk.fit(model, data, rule(factors), steps=11, progress=False, tier=tier, **rest)
        assert not run.tier.startswith("none"), (name, run.tier)
        found[name] = [*(f.detach() for f in factors), *(torch.as_tensor(v) for v in run.metrics.values())]
        found[name].append(torch.as_tensor(run.stopped_at))
    return found


def under(package: Path, tier: str, file: Path) -> subprocess.CompletedProcess:
    """This file as a program on the emulation of a package: what it trains in a tier, or (`verb`) a product."""
    command = [sys.executable, __file__, tier, str(file)]
    return subprocess.run(command, env=environment(package), capture_output=True, text=True, timeout=600)


def environment(package: Path) -> dict[str, str]:
    path = os.pathsep.join([str(package.parent), os.environ.get("PYTHONPATH", "")])
    return os.environ | {"IRKERNELS_TARGET": "simt", "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def expected() -> dict[str, list[Tensor]]:
    """What the CPU target in force makes of the problems."""
    return trained(None if irk._launch.LAUNCHES else "core")


def same(one: list[Tensor], other: list[Tensor]) -> bool:
    return all(torch.equal(a.nan_to_num(7.0), b.nan_to_num(7.0)) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("tier", TIERS)
def test_launched_training_gives_the_cores_bits(tier: str, expected: dict[str, list[Tensor]], tmp_path: Path) -> None:
    done = under(PACKAGE, tier, tmp_path / "found.pt")
    assert done.returncode == 0, done.stderr
    found = torch.load(tmp_path / "found.pt")
    assert [name for name in expected if not same(expected[name], found[name])] == []


def build_severe(folder: Path, file: str = "", sound: str = "", faulty: str = "") -> Path:
    """The package with the severe emulation, with `faulty` in the place of `sound` in one file of its source."""
    shutil.copytree(CSRC, folder / "csrc")
    if file:
        text = (folder / "csrc" / file).read_text()
        assert text.count(sound) == 1, f"{file} has no single {sound!r} to break"
        (folder / "csrc" / file).write_text(text.replace(sound, faulty))
    package = folder / PACKAGE.name  # a target is one of the package's own files
    package.mkdir()
    for part in PACKAGE.iterdir():
        if part.name != "_target_simt.so":
            (package / part.name).symlink_to(part)
    compiler, made = os.environ.get("CXX", "g++"), package / "_target_simt.so"
    heard = [compiler, *COMMON, "-O1", "-fsanitize=thread", "-I.", "-c", "targets/simt.cpp", "-o", "simt.o"]
    plain = [compiler, *COMMON, "-O2", "-I.", "-c", "targets/races.cpp", "-o", "races.o"]
    link = [compiler, "-shared", "simt.o", "races.o", "-Wl,-Bsymbolic", "-o", str(made)]
    for command in (heard, plain, link):
        subprocess.run(command, cwd=folder / "csrc", check=True, capture_output=True)
    return package


@pytest.fixture(scope="module")
def severe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_severe(tmp_path_factory.mktemp("severe"))


@needs_compiler
def test_training_is_sound_under_severe_emulation(
    severe: Path, expected: dict[str, list[Tensor]], tmp_path: Path
) -> None:
    """No races, no divergence at a barrier, nothing beside shared memory, nothing read that was not written."""
    for tier in TIERS:
        done = under(severe, tier, tmp_path / "found.pt")
        assert done.returncode == 0, (tier, done.stderr)
        found = torch.load(tmp_path / "found.pt")
        assert [name for name in expected if not same(expected[name], found[name])] == []


@needs_compiler
@pytest.mark.parametrize("part", REGISTRY)
def test_the_registry_is_sound_under_severe_emulation(part: str, severe: Path) -> None:
    """Values, gradients of both orders, entries, losses, every rule of training: two threads of a launch never meet."""
    files = [str(ROOT / "tests" / f"test_{name}.py") for name in REGISTRY[part]]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *files]
    settings = {"cwd": severe.parent, "capture_output": True, "text": True, "timeout": 1200}  # not beside the sources
    done = subprocess.run(command, env=environment(severe), **settings)
    assert done.returncode == 0, done.stdout[-3000:]


FAULTS = {
    "two threads of a verb at one place": (
        "run/thread.h", "Team{int(of_trials.rest), int(x.members)}", "Team{int(of_trials.rest) / 2, int(x.members)}",
        "verb", "two threads write|another writes",
    ),
    "a missing barrier": (
        "run/train.h", "    if (x.program->steps[s].fence) crew.sync();\n", "", "core",
        "another writes|two threads write",
    ),
    "two threads at one place": (
        "run/trial_frame.h", "f(int(i), int(members));", "f(int(i) / 2, int(members));", "core",
        "two threads write",
    ),
    "a patch that stores beyond its rows": (
        "fast/patch.h", "if (at_row >= step.row.extent || at_lane >= step.lane.extent) continue;",
        "if (at_lane >= step.lane.extent) continue;", "core",
        "another writes|two threads write|beside the shared memory",
    ),
    "an address beside shared memory": (
        "run/train.h", "room.bytes = room.broken + 16;", "room.bytes = room.broken;", "core",
        "beside the shared memory",
    ),
    "a thread that leaves a barrier out": (
        "run/descent.h", "    if (broken) return false;\n", "    if (broken || crew_.rank == 1) return false;\n",
        "core",
        "wait for others that have ended|wait at different places|another writes",
    ),
}  # fmt: skip


@needs_compiler
@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_found(fault: str, tmp_path: Path) -> None:
    file, sound, faulty, tier, words = FAULTS[fault]
    done = under(build_severe(tmp_path, file, sound, faulty), tier, tmp_path / "found.pt")
    assert done.returncode != 0 and re.search(words, done.stderr), done.stderr[-500:]


if __name__ == "__main__":
    tier, file = sys.argv[1:]
    found = irk.einsum("ij,jk->ik", torch.randn(7, 5), torch.randn(5, 6)) if tier == "verb" else trained(tier)
    torch.save(found, file)
