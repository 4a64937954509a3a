"""Registers, stack and spills of every CUDA kernel, as ptxas reports them: bench/results/ptxas.md.

`python -m bench.ptxas [--arch 80 90a ...] [--check]` compiles csrc/targets/cuda.cu with setup.py's flags. It ends with
status 1, and names them, if kernels spill or have local memory, or if --check finds another page kept.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from bench.report import text_table

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "bench" / "results" / "ptxas.md"
_ENTRY = re.compile(r"Compiling entry function '(\w+)' for 'sm_(\w+)'")
_PROPERTIES = re.compile(r"Function properties for (\w+)")
_FRAME = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")
_VERB = re.compile(r"\bkernel<|6kernelI")  # cuda.cu's kernel<Body>, also where names stay mangled
_USED = re.compile(r"Used (\d+) registers")
_COLUMNS = ("kernel", "registers", "stack", "spill stores", "spill loads", "static shared")


@dataclass(frozen=True)
class Kernel:
    """What one kernel takes on one architecture; bytes of a thread, but shared memory, which is a block's."""

    name: str
    arch: str
    registers: int
    stack: int
    stores: int
    loads: int
    shared: int
    verb: bool  # a step of a verb; else training

    @property
    def sound(self) -> bool:
        return not (self.stack or self.stores or self.loads)


def parse(report: str) -> list[Kernel]:
    """The kernels of a report, by architecture and name; names are demangled where c++filt is found."""
    found, entry, arch, about, frame = [], "", "", "", (0, 0, 0)
    for line in report.splitlines():
        if match := _ENTRY.search(line):
            (entry, arch), about, frame = match.groups(), "", (0, 0, 0)
        elif match := _PROPERTIES.search(line):
            about = match[1]
        elif (match := _FRAME.search(line)) and about == entry:  # a called function's frame is in the entry's own sum
            frame = tuple(map(int, match.groups()))
        elif (match := _USED.search(line)) and entry:
            stack = max(frame[0], _bytes(line, "cumulative stack size"))
            numbers = (stack, *frame[1:], _bytes(line, "smem"))
            found.append((entry, arch, int(match[1]), *numbers))
            entry = ""
    names = demangled([row[0] for row in found])
    kernels = [Kernel(short(name), *row[1:], verb=bool(_VERB.search(name))) for name, row in zip(names, found)]
    return sorted(kernels, key=lambda kernel: (_number(kernel.arch), not kernel.verb, kernel.name))


def _bytes(line: str, what: str) -> int:
    match = re.search(rf"(\d+) bytes {what}", line)
    return int(match[1]) if match else 0


def _number(arch: str) -> int:
    return int(re.match(r"\d+", arch)[0])


def demangled(names: list[str]) -> list[str]:
    tool = shutil.which("cu++filt") or shutil.which("c++filt")
    if not tool or not names:
        return names
    done = subprocess.run([tool], input="\n".join(names), capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def short(name: str) -> str:
    """`void irk::(..)::kernel<irk::Dot<float> >(irk::Launch)` is Dot<float>; of others namespace and arguments go."""
    plain = re.sub(r"\(anonymous namespace\)::|\bvoid |\bconst\b ?", "", name).replace("irk::", "").replace(" >", ">")
    plain = plain.partition("(")[0].strip()
    inner = re.fullmatch(r"(?:\w+::)*kernel<(.*)>", plain)
    return re.sub(r"\w+::", "", inner[1] if inner else plain)


def page(kernels: list[Kernel], version: str) -> str:
    """The Markdown page: a table an architecture."""
    sound = [kernel for kernel in kernels if kernel.sound]
    lines = [
        "# CUDA kernels: registers, stack, spills",
        "",
        f"nvcc {version}; made by `python -m bench.ptxas`. Stack, which is local memory, and spills are bytes of a",
        "thread, static shared memory those of a block.",
        "",
        f"Kernels are to have neither stack nor spills: {len(sound)} of {len(kernels)} meet this, and the command",
        "fails while one does not. `train_crews` takes whole training runs, the others are steps of verbs.",
    ]
    for arch in dict.fromkeys(kernel.arch for kernel in kernels):
        rows = [
            [f"`{k.name}`", *map(str, (k.registers, k.stack, k.stores, k.loads, k.shared))]
            for k in kernels
            if k.arch == arch
        ]
        lines += ["", f"## sm_{arch}", "", text_table(_COLUMNS, rows)]
    return "\n".join(lines) + "\n"


def setup_table() -> ModuleType:
    """setup.py as a module: its table of targets is where flags stand."""
    spec = importlib.util.spec_from_file_location("_irkernels_setup", ROOT / "setup.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    with contextlib.chdir(ROOT):  # the include path is taken from there
        spec.loader.exec_module(module)
    return module


def compiled(nvcc: str, archs: list[str]) -> str:
    """What ptxas reports.  Raises SystemExit with nvcc's words where it refuses."""
    with contextlib.chdir(ROOT), tempfile.TemporaryDirectory() as folder:
        target = setup_table().cuda(nvcc, archs)
        source = ROOT / "csrc" / target.sources[0]
        command = [nvcc, *target.flags, "-Xptxas=-v", "-c", str(source), "-o", f"{folder}/cuda.o"]
        done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"nvcc ended with status {done.returncode}:\n{(done.stderr + done.stdout)[-4000:]}")
    return done.stdout + done.stderr


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.ptxas", description=__doc__.splitlines()[0])
    parser.add_argument("--arch", nargs="+", help="architectures, as setup.py names them (default: all of its)")
    parser.add_argument("--check", action="store_true", help="compare with the kept page and write nothing")
    options = parser.parse_args(arguments)
    nvcc = setup_table().find_nvcc()
    if nvcc is None:
        raise SystemExit("nvcc is neither in CUDA_HOME nor on the PATH nor in /usr/local/cuda")
    kernels = parse(compiled(nvcc, options.arch or setup_table().cuda_archs(nvcc)))
    version = re.search(r"release .*?V([\d.]+)", subprocess.check_output([nvcc, "--version"], text=True))
    text = page(kernels, version[1] if version else "of an unknown version")
    print(text)
    if options.check and (not PAGE.exists() or PAGE.read_text() != text):
        raise SystemExit(f"{PAGE.relative_to(ROOT)} says something else: make it again without --check")
    if not options.check:
        PAGE.write_text(text)
    if bad := [f"{kernel.name} (sm_{kernel.arch})" for kernel in kernels if not kernel.sound]:
        raise SystemExit(f"kernels with stack or spills: {', '.join(bad)}")


if __name__ == "__main__":
    main()
