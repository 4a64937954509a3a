"""Builds the compiled modules from one table of targets, with ninja. No torch is needed here, none is linked."""

import gzip
import os
import platform
import shutil
import subprocess
import sys
import tarfile
from dataclasses import dataclass, field
from pathlib import Path

import pybind11
from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext
from setuptools.command.sdist import sdist

CSRC = Path("csrc")
CXX = os.environ.get("CXX", "g++")
WARNINGS = ["-Wall", "-Wextra", "-Werror=frame-larger-than=65535"]  # so that threads with small stacks can call us
# What limits the harm of an error in bounds: canaries, checked copies; jump tables read-only, no executable stack.
GUARDS = ["-fstack-protector-strong", "-U_FORTIFY_SOURCE", "-D_FORTIFY_SOURCE=2"]
LINK = ["-Wl,-Bsymbolic", "-Wl,-z,relro,-z,now,-z,noexecstack"]
NO_PATHS = f"-ffile-prefix-map={Path.cwd()}/="  # the folder of a build does not end up in what it makes
COMMON = ["-std=c++17", "-fPIC", "-fvisibility=hidden", *WARNINGS, *GUARDS, NO_PATHS, "-I" + str(CSRC.resolve())]
# Products accumulate in a fixed order with fma only where the source says so: no contraction, no reassociation.
KERNEL = [*COMMON, "-O3", "-ffp-contract=off", "-fno-math-errno", "-fopenmp"]
SANITIZE = os.environ.get("IRKERNELS_SANITIZE", "")  # "address,undefined": a build to test with, into --build-lib alone
CUDA_ARCHS = ["80", "86", "89", "90a", "100", "120"]  # unless IRKERNELS_CUDA_ARCHS names others


@dataclass
class Target:
    """One compiled module: what it is made of, and with which compiler and flags."""

    module: str
    sources: list[str]
    flags: list[str]
    links: list[str] = field(default_factory=list)
    compiler: str = CXX


def cpu(name: str, *flags: str) -> Target:
    """The kernels for one instruction set. -Bsymbolic keeps its code its own when several are loaded."""
    named = [*KERNEL, *flags, f'-DIRK_TARGET_NAME=\\"{name}\\"']
    return Target(f"_target_{name.replace('-', '_')}", ["targets/cpu.cpp"], named, ["-fopenmp", *LINK])


def find_nvcc() -> str | None:
    """nvcc unless IRKERNELS_CUDA=0; its absence is an error with IRKERNELS_CUDA=1 only."""
    wish = os.environ.get("IRKERNELS_CUDA", "")
    if wish not in ("", "0", "1"):
        raise SystemExit(
            f"IRKERNELS_CUDA={wish}: it must be 0 (no CUDA), 1 (CUDA required) or unset (CUDA if nvcc is found)"
        )
    places = os.pathsep.join(
        [os.environ.get("CUDA_HOME", "") + "/bin", os.environ.get("PATH", ""), "/usr/local/cuda/bin"]
    )
    found = None if wish == "0" else shutil.which("nvcc", path=places)
    if wish == "1" and not found:
        raise SystemExit("IRKERNELS_CUDA=1, but nvcc is neither in CUDA_HOME nor on the PATH nor in /usr/local/cuda")
    return found


def cuda_archs(nvcc: str) -> list[str]:
    """Those of IRKERNELS_CUDA_ARCHS, else the usual ones that this nvcc knows."""
    if named := os.environ.get("IRKERNELS_CUDA_ARCHS"):
        return [arch for arch in named.split(";") if arch]
    known = subprocess.check_output([nvcc, "--list-gpu-arch"], text=True).split()
    return [arch for arch in CUDA_ARCHS if "compute_" + arch.rstrip("a") in known]


def cuda(nvcc: str, archs: list[str]) -> Target:
    """The CUDA kernels: machine code for each architecture, PTX of the newest for those to come, no shared cudart."""
    newest = max(archs, key=lambda arch: int(arch.rstrip("af"))).rstrip("af")
    codes = [f"-gencode=arch=compute_{arch},code=sm_{arch}" for arch in archs]
    codes.append(f"-gencode=arch=compute_{newest},code=compute_{newest}")
    host = ",".join(["-Xcompiler=-fPIC", "-fvisibility=hidden", "-ffp-contract=off", *WARNINGS, *GUARDS, NO_PATHS])
    told = subprocess.check_output([nvcc, "--help"], text=True)
    same = [flag for flag in ("-frandom-seed=irkernels", "-objtemp") if flag.partition("=")[0] in told]
    flags = [
        "-std=c++17",
        "-O3",
        "-fmad=false",
        "-Werror=all-warnings",
        "-diag-suppress=1675",
        "-t0",
        host,
        *same,  # names that nvcc would draw anew in each build
        "-I" + str(CSRC.resolve()),
    ]
    linker = ",".join(flag.removeprefix("-Wl,") for flag in [*LINK, "--exclude-libs=ALL"])
    links = ["-cudart", "static", "-Xlinker=" + linker, "-ccbin=" + CXX]
    return Target("_target_cuda", ["targets/cuda.cu"], [*flags, "-ccbin=" + CXX, *codes], links, nvcc)


def targets() -> list[Target]:
    nvcc = find_nvcc()
    archs = cuda_archs(nvcc) if nvcc else []
    plan = sorted("plan/" + p.name for p in (CSRC / "plan").glob("*.cpp"))
    headers = {"pybind11": pybind11.get_include(), "python": __import__("sysconfig").get_paths()["include"]}
    include = [flag for name, path in headers.items() for flag in ("-I" + path, f"-ffile-prefix-map={path}={name}")]
    include.append(f'-DIRK_CUDA_ARCHITECTURES=\\"{",".join(archs)}\\"')
    table = [Target("_bind", ["bind/module.cpp", *plan], [*COMMON, "-O2", *include], ["-ldl", *LINK])]
    if platform.machine() in ("x86_64", "AMD64"):
        table += [
            cpu("x86-64-v4", "-march=x86-64-v4", "-mprefer-vector-width=512"),
            cpu("x86-64-v3", "-march=x86-64-v3"),
            cpu("x86-64", "-march=x86-64"),  # software fma: the same bits, slowly
        ]
    else:
        table += [cpu(platform.machine())]
    table += [
        Target(
            "_target_simt",
            ["targets/simt.cpp"],
            [*COMMON, "-O2", "-ffp-contract=off", "-DIRK_SIMT"],
            LINK,
        )
    ]
    table += [cuda(nvcc, archs)] if nvcc else []
    checked = ("_bind", "_target_x86_64_v3", "_target_simt")
    return [sanitized(t) for t in table if t.module in checked] if SANITIZE else table


def sanitized(target: Target) -> Target:
    """With the compiler's checks of addresses and undefined behaviour in it; any finding ends the process."""
    if not set(SANITIZE.split(",")) <= {"address", "undefined"}:
        raise SystemExit(f"IRKERNELS_SANITIZE={SANITIZE}: it must be address, undefined, or both with a comma")
    # their checks make frames larger, and see less of copies that are checked already
    target.flags = [flag for flag in target.flags if not flag.startswith(("-Werror", "-D_FORTIFY_SOURCE"))]
    target.flags += [
        "-O1",
        "-g1",
        "-fno-omit-frame-pointer",
        f"-fsanitize={SANITIZE}",
        "-fno-sanitize-recover=undefined",
    ]
    target.links += [f"-fsanitize={SANITIZE}"]
    return target


class Build(build_ext):
    def get_ext_filename(self, fullname):
        return str(Path(*fullname.split("."))) + (
            ".so" if "_target_" in fullname else super().get_ext_filename("x")[1:]
        )

    def build_extensions(self):
        if SANITIZE and self.inplace:
            raise SystemExit("IRKERNELS_SANITIZE: not in place; give --build-lib and --build-temp")
        work = Path(self.build_temp)
        work.mkdir(parents=True, exist_ok=True)
        lines = [
            f"builddir = {work}",
            "rule compile",
            "  command = $cc $flags -MD -MF $out.d -c $in -o $out",
            "  depfile = $out.d",
            "  deps = gcc",
            "rule link",
            "  command = $cc -shared $in $links -o $out",
        ]
        for target in targets():
            objects = []
            for source in target.sources:
                out = f"{work}/{target.module}/{source.replace('/', '_')}.o"
                objects.append(out)
                lines += [
                    f"build {out}: compile {CSRC / source}",
                    f"  cc = {target.compiler}",
                    "  flags = " + " ".join(target.flags),
                ]
            path = Path(self.get_ext_fullpath("irkernels." + target.module)).resolve()
            path.parent.mkdir(parents=True, exist_ok=True)
            lines += [
                f"build {path}: link {' '.join(objects)}",
                f"  cc = {target.compiler}",
                "  links = " + " ".join(target.links),
            ]
        (work / "build.ninja").write_text("\n".join(lines) + "\n")
        subprocess.check_call([ninja(), "-f", str(work / "build.ninja")], stdout=sys.stderr)


class Wheel(bdist_wheel):
    """The same bytes whoever builds it: no bits of permission that a clone or an umask decides."""

    def write_wheelfile(self, *arguments, **keywords):
        super().write_wheelfile(*arguments, **keywords)
        for path in Path(self.bdist_dir).rglob("*"):
            path.chmod(0o755 if path.is_dir() or path.suffix == ".so" else 0o644)


class Source(sdist):
    """The sdist holds all that builds and tests: the sources in C++, the tests, the benchmarks."""

    def make_distribution(self):
        for folder in ("csrc", "tests", "bench", "irkernels/docs"):
            found = (path for path in Path(folder).rglob("*") if path.is_file() and "__pycache__" not in path.parts)
            self.filelist.extend(sorted(map(str, found)))
        super().make_distribution()

    def make_archive(self, base_name, format, *, base_dir, **others):
        """The same bytes whoever packs it and when."""
        if format != "gztar":
            return super().make_archive(base_name, format, base_dir=base_dir, **others)
        made, when = Path(base_name + ".tar.gz"), int(os.environ["SOURCE_DATE_EPOCH"])
        made.parent.mkdir(parents=True, exist_ok=True)

        def plain(entry: tarfile.TarInfo) -> tarfile.TarInfo:
            entry.mode = 0o755 if entry.isdir() or entry.mode & 0o100 else 0o644
            entry.mtime, entry.uid, entry.gid, entry.uname, entry.gname = when, 0, 0, "", ""
            return entry

        with (
            made.open("wb") as file,
            gzip.GzipFile("", "wb", fileobj=file, mtime=when) as packed,
            tarfile.open(fileobj=packed, mode="w") as archive,
        ):
            archive.add(base_dir, filter=plain)
        return str(made)


def ninja() -> str:
    return shutil.which("ninja") or str(Path(__import__("ninja").BIN_DIR) / "ninja")


if __name__ == "__main__":
    os.environ.setdefault("SOURCE_DATE_EPOCH", "315532800")  # 1980, the first that a wheel can tell
    setup(
        ext_modules=[Extension("irkernels." + t.module, sources=[]) for t in targets()],
        cmdclass={"build_ext": Build, "bdist_wheel": Wheel, "sdist": Source},
    )
