"""What the package can reach: no network, no process, no code that comes from outside; how its modules are guarded."""

from __future__ import annotations

import ast
import os
import re
import runpy
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import irkernels as irk
from irkernels import _native

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = Path(irk.__file__).parent
MODULES = sorted(PACKAGE.glob("_*.so"))
MIB = 2**20

# modules that reach out, start something, or make code of data
REACH = {
    "asyncio", "cffi", "code", "codeop", "ctypes", "dill", "ftplib", "http", "httpx", "imaplib", "imp", "joblib",
    "marshal", "multiprocessing", "pickle", "poplib", "pty", "requests", "runpy", "shelve", "smtplib", "socket",
    "socketserver", "ssl", "subprocess", "telnetlib", "torch.hub", "torch.multiprocessing",
    "torch.utils.cpp_extension", "urllib", "urllib3", "webbrowser", "xmlrpc",
}  # fmt: skip
CODE = {"eval", "exec", "compile", "__import__"}
PROCESS = re.compile(r"^(system|popen|startfile|fork|forkpty|exec[lv]\w*|spawn[lv]\w*|posix_spawnp?)$")
LOADS = {"load_library", "init_process_group", "load_state_dict_from_url", "load_inline"}
OBJECTS = re.compile(r"^\w+_object(_list)?$")  # torch.distributed's exchanges that pickle
ENVIRONMENT = {"environ", "environb", "getenv", "getenvb", "putenv"}
ALLOWED = {
    ("_native.py", "environ"): "IRKERNELS_TARGET, a name among the package's own modules",
    ("integrations/opt_einsum.py", "import_module opt_einsum"): "the package to be served, by its fixed name",
    ("integrations/opt_einsum.py", "import_module opt_einsum.contract"): "the same",
    ("reference/paths.py", "import_module opt_einsum.paths"): "strategies by name, once one is asked for",
    ("io/named.py", "find_spec sklearn"): "where scikit-learn's images lie, without importing it",
    ("training/distributed.py", "all_gather_object"): "settings, among ranks of a group that the caller has set up",
}


def reached(text: str) -> Iterator[str]:
    """What a source imports, calls or reads that is not to be in the package."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names]
            if isinstance(node, ast.ImportFrom):
                yield from (name for name in names if PROCESS.match(name) and node.module == "os")
                names = [f"{node.module}.{name}" for name in names]
            for name in names:
                parts = name.split(".")
                yield from sorted({".".join(parts[:n]) for n in range(1, len(parts) + 1)} & REACH)
        elif isinstance(node, ast.Attribute | ast.Name):
            name = node.attr if isinstance(node, ast.Attribute) else node.id
            owner = node.value.id if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) else ""
            if name in ENVIRONMENT | LOADS or OBJECTS.match(name) or (owner == "os" and PROCESS.match(name)):
                yield name
            elif name == "hub" and owner == "torch":
                yield "torch.hub"
            elif isinstance(node, ast.Name) and name in CODE:
                yield name
        elif isinstance(node, ast.Call):
            yield from opened(node)


def opened(call: ast.Call) -> Iterator[str]:
    """Modules found by name, and readers of files that would run what a file says."""
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    owner = getattr(call.func.value, "id", "") if isinstance(call.func, ast.Attribute) else ""
    given = {word.arg: getattr(word.value, "value", None) for word in call.keywords}
    if name in ("import_module", "find_spec", "spec_from_file_location"):
        yield f"{name} {getattr(call.args[0], 'value', 'of any name')}"
    elif (owner, name) == ("torch", "load") and given.get("weights_only") is not True:
        yield "torch.load of any object"
    elif owner in ("np", "numpy") and name in ("loadtxt", "genfromtxt", "DataSource"):  # they take addresses
        yield f"numpy.{name}"
    elif owner in ("np", "numpy") and name == "load" and given.get("allow_pickle") is not False:
        yield "numpy.load of any object"


def test_the_package_reaches_nothing_outside() -> None:
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        where = path.relative_to(PACKAGE).as_posix()
        found |= {(where, what): None for what in reached(path.read_text())}
    assert len(list(PACKAGE.rglob("*.py"))) > 100
    assert sorted(found.keys() - ALLOWED.keys()) == [], "listed with its reason, or removed"
    assert sorted(ALLOWED.keys() - found.keys()) == [], "no longer there"


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("import subprocess", "subprocess"),
        ("def f():\n    from urllib.request import urlopen", "urllib"),
        ("from torch import hub", "torch.hub"),
        ("torch.hub.load('a', 'b')", "torch.hub"),
        ("from os import system", "system"),
        ("os.execvp('ls', [])", "execvp"),
        ("os.posix_spawn('ls', [], {})", "posix_spawn"),
        ("x = eval('1')", "eval"),
        ("run = exec", "exec"),
        ("__import__(name)", "__import__"),
        ("importlib.import_module(name)", "import_module of any name"),
        ("torch.load(path)", "torch.load of any object"),
        ("torch.load(path, weights_only=False)", "torch.load of any object"),
        ("np.load(path)", "numpy.load of any object"),
        ("np.loadtxt(path)", "numpy.loadtxt"),
        ("os.getenv('A')", "getenv"),
        ("torch.ops.load_library(path)", "load_library"),
        ("dist.broadcast_object_list(all)", "broadcast_object_list"),
    ],
)
def test_what_would_reach_out_is_found(text: str, what: str) -> None:
    assert what in list(reached(text))


def test_what_only_looks_alike_is_not() -> None:
    text = "re.compile('a'); model.eval(); torch.compile(f); fit.system; np.load(p, allow_pickle=False)"
    assert list(reached(text + "; torch.load(p, weights_only=True)")) == []


own = _native._built()[_native.TARGET]
paths = (str(own), f"./{own.name}", own.stem, f"../{PACKAGE.name}/{own.name}", "simt/../simt", "/")


@pytest.mark.parametrize("value", paths)
def test_a_target_is_a_name_and_never_a_file(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(PACKAGE)
    monkeypatch.setenv("IRKERNELS_TARGET", value)
    with pytest.raises(ImportError, match="not among the targets that this machine can run"):
        _native._choose()


def test_a_file_named_as_a_target_is_not_loaded(tmp_path: Path) -> None:
    stranger = shutil.copy(own, tmp_path)
    code = (
        "import sys\ntry: import irkernels\n"
        "except ImportError as e: print(e, open('/proc/self/maps').read().count(sys.argv[1]))"
    )
    environment = os.environ | {"IRKERNELS_TARGET": stranger, "PYTHONPATH": str(PACKAGE.parent)}
    command = [sys.executable, "-c", code, stranger]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert done.stdout.startswith(f"IRKERNELS_TARGET={stranger}") and done.stdout.endswith(" 0\n"), done


needs_readelf = pytest.mark.skipif(shutil.which("readelf") is None, reason="readelf is not installed")
each_module = pytest.mark.parametrize("module", MODULES, ids=lambda path: path.name.partition(".")[0])


def readelf(what: str, module: Path) -> str:
    return subprocess.run(["readelf", "-W", what, str(module)], capture_output=True, text=True, check=True).stdout


def asked_for(module: Path) -> set[str]:
    """The functions that a module takes from other libraries."""
    return set(re.findall(r" UND (\w+)", readelf("--dyn-syms", module)))


@needs_readelf
@each_module
def test_modules_are_guarded(module: Path) -> None:
    segments, dynamic = readelf("-l", module), readelf("-d", module)
    stack = re.search(r"GNU_STACK.*0x\w+ (\w+ ?\w*) +0x", segments)
    assert stack and "E" not in stack[1], "the stack is executable"
    assert not re.search(r"LOAD .* (RWE|W E) ", segments), "memory is writable and executable"
    assert "GNU_RELRO" in segments and re.search(r"FLAGS.*\bNOW\b", dynamic), "relocations stay writable"
    assert "TEXTREL" not in dynamic
    assert "__stack_chk_fail" in asked_for(module), "no stack protector"


@needs_readelf
@each_module
def test_modules_ask_for_no_process_and_no_connection(module: Path) -> None:
    if module.stem == "_target_cuda":
        pytest.skip("the CUDA runtime, linked into it, loads the driver and talks to it")
    asked = asked_for(module)
    process = r"system|popen|v?fork|clone|exec[lv]\w*|posix_spawnp?"
    connection = r"socket|connect|bind|accept4?|send\w*|recv\w*"
    outside = re.compile(f"^({process}|{connection})$")
    assert [name for name in asked if outside.match(name)] == []
    assert "dlopen" not in asked or module.name.startswith("_bind"), "only the binding loads targets"
    assert "getenv" not in asked or module.name.startswith("_target_"), "only IRKERNELS_MACHINE_CODE is read, on or off"


@needs_readelf
@each_module
def test_modules_hold_no_path_of_their_build(module: Path) -> None:
    if module.stem == "_target_cuda":
        pytest.skip("the CUDA runtime, linked into it, holds paths of its own")
    text = re.findall(rb"[ -~]{8,}", module.read_bytes())
    absolute = [string for string in text if re.match(rb"/(?!lib|proc/|usr/lib)[\w.+-]+/[\w./+-]+$", string)]
    assert absolute == []


def test_every_target_is_compiled_with_the_guards(monkeypatch: pytest.MonkeyPatch) -> None:
    if not (ROOT / "setup.py").exists():
        pytest.skip("needs setup.py")
    pytest.importorskip("pybind11")
    monkeypatch.chdir(ROOT)
    for name in ("IRKERNELS_SANITIZE", "IRKERNELS_CUDA"):
        monkeypatch.delenv(name, raising=False)
    setup = runpy.run_path("setup.py", run_name="setup_table")
    for target in setup["targets"]():  # the CUDA one too, where nvcc is found
        flags, links = ",".join(target.flags), ",".join(target.links)
        for flag in ("-fstack-protector-strong", "-D_FORTIFY_SOURCE=2", "-ffile-prefix-map="):
            assert flag in flags, (target.module, flag)
        assert all(word in links for word in ("relro", "-z,now", "noexecstack")), target.module


def test_the_installed_package_is_small() -> None:
    files = [path for path in PACKAGE.rglob("*") if path.suffix in (".py", ".pyi", ".so")]
    limit = 60 if _native._CUDA.exists() else 10
    assert sum(path.stat().st_size for path in files) < limit * MIB, "before it is packed"


def test_without_torch_the_import_says_so(tmp_path: Path) -> None:
    (tmp_path / "irkernels").symlink_to(PACKAGE)
    command = [sys.executable, "-S", "-c", "import irkernels"]  # -S: without installed packages
    done = subprocess.run(command, env={"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, timeout=60)
    last = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 1 and last.startswith("ModuleNotFoundError: irkernels") and "pip install torch" in last


def test_the_import_brings_no_other_package() -> None:
    """Beyond torch's (triton comes with its counter of flops) and numpy's: such is what an import's time goes to."""
    code = (
        "import sys, numpy, torch\nbefore = set(sys.modules)\nimport irkernels\n"
        "new = {name.partition('.')[0] for name in set(sys.modules) - before}\n"
        "print(*sorted(new - sys.stdlib_module_names - {'irkernels', 'torch', 'triton', 'numpy'}))"
    )
    environment = os.environ | {"PYTHONPATH": str(PACKAGE.parent)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout.split()) == (0, []), done
