"""The kernels for threads of a GPU give the bits of the CPU's; which targets a build holds."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch
from torch import Tensor

import irkernels as irk
from irkernels.testing import FAMILIES, Product
from irkernels.testing.fingerprint import bits, every_result

ROOT = Path(__file__).resolve().parent.parent
DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
# beyond what the registry holds: block borders of the sums, trials beyond 2^16, each kind of copy
LONG = (
    Product("long_contraction", "ij,jk->ik", ((3, 700), (700, 4))),
    Product("long_contraction_of_two_letters", "ijk,kjl->il", ((3, 26, 27), (27, 26, 2))),
    Product("long_dot", "i,i->", ((2_500,), (2_500,))),
    Product("long_dot_across_strides", "ijk,kji->", ((11, 12, 13), (13, 12, 11))),
    Product("transposed", "ijk->kji", ((17, 5, 19),)),
    Product("diagonals_of_trials", "...iij,...jk->...ik", ((4, 3, 3, 5), (4, 5, 2)), trials=4),
    Product("two_axes_of_trials", "...ij,...jk->...ik", ((3, 5, 2, 4), (3, 5, 4, 3))),
    Product("matrix_times_vector", "ij,j->i", ((37, 300), (300,))),
    Product("few_rows_times_vector", "ij,j->i", ((5, 140), (140,))),
    Product("many_rows_times_vector", "ij,j->i", ((19, 45), (45,))),
    Product("long_sum", "i->", ((2_500,),)),
    Product("sums_of_rows", "ij->i", ((19, 45),)),
    Product("scaled_rows", "ij,i->ij", ((19, 37), (19,))),
    Product("scaled_columns", "ij,j->ij", ((19, 37), (37,))),
    Product("outer_product", "i,j->ij", ((19,), (37,))),
    Product("four_vectors", "i,i,i,i->i", ((203,),) * 4),
    Product("transposed_times", "ij,ji->ij", ((37, 21), (21, 37))),
    Product("times_transposed", "kji,ijk->ijk", ((3, 21, 18), (18, 21, 3))),
    Product("transposed_scaled", "ij,i->ji", ((21, 19), (21,))),
    Product("transposed_dot", "ij,ji->", ((21, 19), (19, 21))),
    Product("crowded_columns", "ij,jk->ik", ((40, 130), (130, 256))),
    Product("trials_beyond_2_16", "...ij,...jk->...ik", ((65_537, 2, 1), (65_537, 1, 2)), trials=65_537),
)
TRIALS = tuple(product.with_trials(5) for product in FAMILIES if product.trials is None and product.elements < 5_000)


def python(*arguments: str, **environment: str) -> subprocess.CompletedProcess:
    """A Python that finds the package under test."""
    package = Path(irk.__file__).resolve().parent.parent
    path = os.pathsep.join([str(package), os.environ.get("PYTHONPATH", "")])
    everything = os.environ | {"PYTHONPATH": path} | environment
    command = [sys.executable, *arguments]
    return subprocess.run(command, env=everything, cwd=package, capture_output=True, text=True, timeout=300)


def results(device: str) -> dict[str, Tensor]:
    """By own kernels on the device: every operator, weighted losses of trials over several blocks of entries."""
    found = {}
    with irk.deterministic():
        for product in LONG + TRIALS:
            for dtype in DTYPES if product.elements < 1_000 else DTYPES[:1]:
                operands = [operand.to(device) for operand in product.operands(seed=4, dtype=dtype)]
                every = every_result(product, operands)
                found |= {f"{product.name} {dtype} {name}": result.cpu() for name, result in every.items()}
        found |= weighted_losses(device)
    return found


def weighted_losses(device: str) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(6)
    factors = [torch.randn(3, *shape, generator=generator, dtype=torch.float64) for shape in ((60, 4), (4, 70))]
    at = torch.stack([torch.randint(extent, (2_600,), generator=generator) for extent in (60, 70)], 1)
    values = torch.randn(3, 2_600, generator=generator, dtype=torch.float64)
    weights = torch.randint(0, 3, (3, 2_600), generator=generator).to(torch.float64)
    observed = irk.Observed(at, values, (60, 70), weights).to(device)
    found = {}
    for loss in ("mse", "half_sse", "l1", "huber"):
        leaves = [factor.to(device).requires_grad_() for factor in factors]
        losses = irk.completion_loss("...ij,...jk->...ik", *leaves, observed=observed, loss=loss)
        found[f"weighted {loss}"] = losses.detach().cpu()
        for position, gradient in enumerate(torch.autograd.grad(losses.sum(), leaves)):
            found[f"weighted {loss} gradient {position}"] = gradient.cpu()
    return found


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    differing = [name for name, result in expected.items() if bits(found[name]) != bits(result)]
    assert not differing, f"other bits than on the CPU: {differing}"


def test_emulated_threads_give_the_bits_of_the_cpu(tmp_path: Path) -> None:
    expected = results("cpu")
    file = tmp_path / "results.pt"
    done = python(__file__, str(file), IRKERNELS_TARGET="simt")
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip() == "simt" != irk.build_info()["target"]
    assert_same(torch.load(file), expected)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU that this torch can use")
@pytest.mark.skipif(not irk.build_info()["cuda_architectures"], reason="this build has no CUDA target")
def test_a_gpu_gives_the_bits_of_the_cpu() -> None:
    assert_same(results("cuda"), results("cpu"))


def test_the_cuda_target_is_not_loaded_for_cpu_tensors() -> None:
    code = """
import torch, irkernels as irk
irk.einsum("ij,jk->ik", torch.ones(2, 2), torch.ones(2, 2))
print("_target_cuda" in open("/proc/self/maps").read())
"""
    done = python("-c", code)
    assert done.stdout.strip() == "False", done.stderr


def test_operands_on_two_devices_are_refused() -> None:
    here, there = torch.ones(2, 3), torch.ones(3, 2, device="meta")
    observed = irk.Observed([[0, 0]], torch.ones(1), (2, 2))
    with pytest.raises(ValueError, match=r"cotangent is on meta.*operands are on cpu"):
        irk.gradients("ij,jk->ik", here, here.t(), cotangent=torch.ones(2, 2, device="meta"))
    with pytest.raises(ValueError, match=r"observed is on cpu.*operand 0 is on meta"):
        irk.completion_loss("ij,jk->ik", there.t(), there, observed=observed)
    with pytest.raises(ValueError, match="operand 1 is on meta, operand 0 is on cpu"):
        irk.einsum("ij,jk->ik", here, there)


@pytest.fixture
def setup(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """setup.py read as a module, in an environment that asks for nothing."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setitem(sys.modules, "pybind11", SimpleNamespace(get_include=lambda: "include"))
    for name in ("IRKERNELS_CUDA", "IRKERNELS_CUDA_ARCHS", "CUDA_HOME"):
        monkeypatch.delenv(name, raising=False)
    spec = importlib.util.spec_from_file_location("setup_table", ROOT / "setup.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "setup_table", module)  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def modules(setup: ModuleType) -> dict:
    return {target.module: target for target in setup.targets()}


@pytest.fixture
def nvcc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A compiler that knows two architectures, in CUDA_HOME."""
    tool = tmp_path / "bin" / "nvcc"
    tool.parent.mkdir()
    tool.write_text("#!/bin/sh\necho compute_80\necho compute_90\n")  # to --help too: it has none of the newer flags
    tool.chmod(0o755)
    return tool


def test_cuda_is_built_where_nvcc_is(setup: ModuleType, nvcc: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_HOME", str(nvcc.parent.parent))
    table = modules(setup)
    cuda = table["_target_cuda"]
    assert cuda.compiler == str(nvcc) and "-fmad=false" in cuda.flags and cuda.links[:2] == ["-cudart", "static"]
    codes = [flag.rpartition("code=")[2] for flag in cuda.flags if flag.startswith("-gencode")]
    assert codes == ["sm_80", "sm_90a", "compute_90"], "what this nvcc knows, and PTX of the newest"
    assert any("80,90a" in flag for flag in table["_bind"].flags)
    monkeypatch.setenv("IRKERNELS_CUDA_ARCHS", "90a;100")
    flags = modules(setup)["_target_cuda"].flags
    assert [f for f in flags if f.startswith("-gencode")][-1] == "-gencode=arch=compute_100,code=compute_100"
    monkeypatch.setenv("IRKERNELS_CUDA", "0")
    assert "_target_cuda" not in modules(setup) and "_target_simt" in modules(setup)


def test_a_build_without_nvcc(setup: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setup.shutil, "which", lambda *_, **__: None)
    assert "_target_cuda" not in modules(setup)
    monkeypatch.setenv("IRKERNELS_CUDA", "1")
    with pytest.raises(SystemExit, match="IRKERNELS_CUDA=1, but nvcc is neither"):
        setup.targets()
    monkeypatch.setenv("IRKERNELS_CUDA", "yes")
    with pytest.raises(SystemExit, match="IRKERNELS_CUDA=yes"):
        setup.targets()


@pytest.mark.skipif(bool(irk.build_info()["cuda_architectures"]), reason="nvcc has compiled them for this build")
def test_nvcc_compiles_the_kernels(setup: ModuleType, tmp_path: Path) -> None:
    tool = setup.find_nvcc()
    if tool is None:
        pytest.skip("nvcc is neither in CUDA_HOME nor on the PATH nor in /usr/local/cuda")
    target = setup.cuda(tool, ["90a"])
    command = [tool, *target.flags, "-Xptxas=-v", "-c", str(ROOT / "csrc" / target.sources[0]), "-o",
               str(tmp_path / "cuda.o")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    kernels = done.stderr.count("Compiling entry function")
    assert kernels >= 20 and "warning" not in done.stderr, done.stderr[-3000:]


if __name__ == "__main__":
    torch.save(results("cpu"), sys.argv[1])
    print(irk.build_info()["target"])
