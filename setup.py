"""Builds the compiled modules from one table of targets, with ninja. No torch is needed here, none is linked."""

import os
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pybind11
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

CSRC = Path("csrc")
COMMON = ["-std=c++17", "-fPIC", "-fvisibility=hidden", "-Wall", "-Wextra", "-I" + str(CSRC.resolve())]
# Products accumulate in a fixed order with fma only where the source says so: no contraction, no reassociation.
KERNEL = COMMON + ["-O3", "-ffp-contract=off", "-fno-math-errno", "-fopenmp"]
CUDA_ARCHS = os.environ.get("IRKERNELS_CUDA_ARCHS", "80;86;89;90a;100;120").split(";")


@dataclass
class Target:
    """One compiled module: what it is made of, and with which compiler and flags."""

    module: str
    sources: list[str]
    flags: list[str]
    links: list[str] = field(default_factory=list)
    compiler: str = os.environ.get("CXX", "g++")


def cpu(name: str, *flags: str) -> Target:
    """The kernels for one instruction set. -Bsymbolic keeps its code its own when several are loaded."""
    named = [*KERNEL, *flags, f'-DIRK_TARGET_NAME=\\"{name}\\"']
    return Target(f"_target_{name.replace('-', '_')}", ["targets/cpu.cpp"], named, ["-fopenmp", "-Wl,-Bsymbolic"])


def targets() -> list[Target]:
    plan = sorted("plan/" + p.name for p in (CSRC / "plan").glob("*.cpp"))
    include = ["-I" + pybind11.get_include(), "-I" + __import__("sysconfig").get_paths()["include"]]
    table = [Target("_bind", ["bind/module.cpp", *plan], [*COMMON, "-O2", *include], ["-ldl", "-Wl,-Bsymbolic"])]
    if platform.machine() in ("x86_64", "AMD64"):
        table += [
            cpu("x86-64-v4", "-march=x86-64-v4", "-mprefer-vector-width=512"),
            cpu("x86-64-v3", "-march=x86-64-v3"),
            cpu("x86-64", "-march=x86-64"),  # software fma: the same bits, slowly
        ]
    else:
        table += [cpu(platform.machine())]
    return table


class Build(build_ext):
    def get_ext_filename(self, fullname):
        return str(Path(*fullname.split("."))) + (".so" if "_target_" in fullname else super().get_ext_filename("x")[1:])

    def build_extensions(self):
        work = Path(self.build_temp)
        work.mkdir(parents=True, exist_ok=True)
        lines = ["rule compile", "  command = $cc $flags -MD -MF $out.d -c $in -o $out", "  depfile = $out.d", "  deps = gcc",
                 "rule link", "  command = $cc -shared $in $links -o $out"]
        for target in targets():
            objects = []
            for source in target.sources:
                out = f"{target.module}/{source.replace('/', '_')}.o"
                objects.append(out)
                lines += [f"build {out}: compile {(CSRC / source).resolve()}", f"  cc = {target.compiler}",
                          "  flags = " + " ".join(target.flags)]
            path = Path(self.get_ext_fullpath("irkernels." + target.module)).resolve()
            path.parent.mkdir(parents=True, exist_ok=True)
            lines += [f"build {path}: link {' '.join(objects)}", f"  cc = {target.compiler}", "  links = " + " ".join(target.links)]
        (work / "build.ninja").write_text("\n".join(lines) + "\n")
        subprocess.check_call([ninja(), "-C", str(work)], stdout=sys.stderr)


def ninja() -> str:
    found = shutil.which("ninja")
    if found:
        return found
    from ninja import BIN_DIR

    return str(Path(BIN_DIR) / "ninja")


setup(ext_modules=[Extension("irkernels." + t.module, sources=[]) for t in targets()], cmdclass={"build_ext": Build})
