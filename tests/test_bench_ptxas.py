"""The table of CUDA kernels' registers, stack and spills: its parser, its verdict, and the page that is kept."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT))  # last: the checkout's own source tree must not hide an installed irkernels

from bench import ptxas  # noqa: E402

SPACE = "39_GLOBAL__N__30770844_7_cuda_cu_bf9c0773"
SCALE = f"_ZN3irk{SPACE}6kernelINS_5ScaleIfEEEEvNS_6LaunchE"
DOT = f"_ZN3irk{SPACE}6kernelINS_3DotIdEEEEvNS_6LaunchE"
TRAIN = "_ZN3irk11train_crewsIfEEvNS_8TrainingENS_6WithinEi"
REPORT = f"""\
ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function '{TRAIN}' for 'sm_90a'
ptxas info    : Function properties for {TRAIN}
    3392 bytes stack frame, 110 bytes spill stores, 580 bytes spill loads
ptxas info    : Function properties for _ZN3irk5helpEv
    9000 bytes stack frame, 1 bytes spill stores, 1 bytes spill loads
ptxas info    : Used 255 registers, used 1 barriers, 3400 bytes cumulative stack size
ptxas info    : Compile time = 15514.843 ms
ptxas info    : Compiling entry function '{SCALE}' for 'sm_90a'
ptxas info    : Function properties for {SCALE}
    1112 bytes stack frame, 16 bytes spill stores, 32 bytes spill loads
ptxas info    : Used 40 registers, used 0 barriers, 1112 bytes cumulative stack size
ptxas info    : Compiling entry function '{DOT}' for 'sm_80'
ptxas info    : Function properties for {DOT}
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 32 registers, used 1 barriers, 48 bytes smem, 720 bytes cmem[0]
"""


def test_a_report_is_read() -> None:
    kernels = ptxas.parse(REPORT)
    numbers = [(k.arch, k.registers, k.stack, k.stores, k.loads, k.shared, k.verb, k.sound) for k in kernels]
    assert numbers == [
        ("80", 32, 0, 0, 0, 48, True, True),
        ("90a", 40, 1112, 16, 32, 0, True, False),
        ("90a", 255, 3400, 110, 580, 0, False, False),
    ]
    assert ptxas.parse("") == []


@pytest.mark.skipif(shutil.which("c++filt") is None, reason="names are demangled by c++filt")
def test_names_are_short() -> None:
    assert [kernel.name for kernel in ptxas.parse(REPORT)] == ["Dot<double>", "Scale<float>", "train_crews<float>"]
    one = "void irk::(anonymous namespace)::kernel<irk::SampledDot<double, long> >(irk::Launch)"
    assert ptxas.short(one) == "SampledDot<double, long>"


def test_a_page_has_a_table_an_architecture() -> None:
    text = ptxas.page(ptxas.parse(REPORT), "13.0.88")
    assert "nvcc 13.0.88" in text and "1 of 3 meet this" in text
    assert text.index("## sm_80") < text.index("## sm_90a")


def test_kernels_are_held_to_no_stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pybind11", reason="setup.py, whose flags are asked for, needs it")
    nvcc = tmp_path / "bin" / "nvcc"
    nvcc.parent.mkdir()
    nvcc.write_text("#!/bin/sh\necho 'Cuda compilation tools, release 13.0, V13.0.88'\n")
    nvcc.chmod(0o755)
    monkeypatch.setenv("CUDA_HOME", str(tmp_path))
    monkeypatch.delenv("IRKERNELS_CUDA", raising=False)
    monkeypatch.setattr(ptxas, "ROOT", ROOT)
    monkeypatch.setattr(ptxas, "compiled", lambda *_: REPORT)
    monkeypatch.setattr(ptxas, "PAGE", ROOT / "no such page")
    with pytest.raises(SystemExit, match="says something else"):
        ptxas.main(["--check"])
    monkeypatch.setattr(ptxas, "PAGE", tmp_path / "ptxas.md")
    with pytest.raises(SystemExit, match=r"stack or spills: Scale<float> \(sm_90a\), train_crews<float> \(sm_90a\)$"):
        ptxas.main([])
    assert (tmp_path / "ptxas.md").read_text() == ptxas.page(ptxas.parse(REPORT), "13.0.88")


def test_the_kept_page_has_every_kernel_of_a_verb() -> None:
    """Those that targets/device.h launches."""
    source = ROOT / "csrc" / "targets" / "device.h"
    if not source.exists():
        pytest.skip("csrc is not part of this checkout")
    launched = set(re.findall(r"launch<(\w+)<([^;]*?)>>\(x, ", source.read_text()))
    assert len(launched) >= 10
    kept = set(re.findall(r"^\| `(\w+)<(\w+)", ptxas.PAGE.read_text(), re.MULTILINE))
    for body, arguments in launched:
        one = {"uint16_t": "unsigned"}.get(arguments, arguments)
        wanted = {"float", "double"} if arguments.split(",")[0] == "T" else {one}
        assert {(body, each) for each in wanted} <= kept, f"{body}: make the page again with python -m bench.ptxas"
