"""Who may know whom (csrc/README.md): every include and import line is read, and an offending one is named."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
CSRC, PACKAGE = ROOT / "csrc", ROOT / "irkernels"
HARD_LIMIT = 400  # lines a file
SOURCES = (".h", ".cpp", ".cu", ".py")

# what a layer of csrc may include of csrc; plan's headers of plain data (step lists) are what run, steps and fast read
PLAIN_DATA = ("plan/program.h", "plan/fit_program.h", "plan/records.h", "plan/tape.h", "plan/steps.h")
ALLOWED: dict[str, tuple[str, ...]] = {
    "core": ("core/",),
    "plan": ("plan/", "core/"),
    "team": ("team/", "core/"),
    "steps": ("steps/", "team/", "core/", *PLAIN_DATA),
    "fast": ("fast/", "steps/", "team/", "core/", *PLAIN_DATA),
    "run": ("run/", "fast/", "steps/", "team/", "core/", *PLAIN_DATA),
    "targets": ("targets/", "run/", "fast/", "steps/", "team/", "core/", *PLAIN_DATA),
    "bind": ("bind/", "targets/", "plan/", "core/"),
}
TORCH = re.compile(r"^(torch|ATen|c10|caffe2)\b")
PYTHON = re.compile(r"^(pybind11/|Python\.h|numpy/)")
# headers of one machine, system or runtime
MACHINE = re.compile(
    r"^(omp\.h|pthread\.h|sched\.h|unistd\.h|dlfcn\.h|immintrin\.h|arm_\w+\.h|cuda\w*\.h|sys/|ucontext\.h|thread$|mutex$)"
)
MACHINE_ALLOWED = {
    "core": r"immintrin|arm_|cuda",
    "team": r"sched|thread",
    "fast": r".*",
    "targets": r".*",
    "bind": r"dlfcn|mutex|pthread|unistd|sys/",
}


def sources(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.suffix in SOURCES and "__pycache__" not in path.parts)


def includes() -> Iterator[tuple[str, str, str]]:
    """(layer, where, what) of every include line."""
    for path in sources(CSRC):
        for number, line in enumerate(path.read_text().splitlines(), 1):
            found = re.match(r'\s*#\s*include\s*([<"])([^>"]+)[>"]', line)
            if found:
                yield path.relative_to(CSRC).parts[0], f"{path.relative_to(ROOT)}:{number}: {line.strip()}", found[2]


def imports(path: Path) -> Iterator[tuple[str, str]]:
    """(where, module) of every import that runs; those for type checkers only do not."""
    tree = ast.parse(path.read_text())
    typing_only = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in typing_only or not isinstance(node, (ast.Import, ast.ImportFrom)):
            continue
        where = f"{path.relative_to(ROOT)}:{node.lineno}: {ast.unparse(node)}"
        if isinstance(node, ast.Import):
            yield from ((where, alias.name) for alias in node.names)
        else:
            package = ".".join(path.relative_to(ROOT).parts[: -node.level]) + "." if node.level else ""
            base = (package + (node.module or "")).rstrip(".")
            yield from ((where, f"{base}.{alias.name}") for alias in node.names)


def test_csrc_has_the_known_layers_only() -> None:
    if not CSRC.exists() or not sources(CSRC):
        pytest.skip("csrc is not part of this checkout")
    strangers = {layer for layer, _, _ in includes()} - set(ALLOWED)
    assert not strangers, f"csrc/{', '.join(sorted(strangers))}: no rule says what these may include"


def test_no_torch_header_in_csrc() -> None:
    offending = [where for _, where, what in includes() if TORCH.match(what)]
    assert not offending, "\n".join(offending)


def test_only_bind_knows_python() -> None:
    offending = [where for layer, where, what in includes() if PYTHON.match(what) and layer != "bind"]
    assert not offending, "\n".join(offending)


def test_each_layer_includes_what_it_may() -> None:
    offending = []
    for layer, where, what in includes():
        local = (CSRC / what).exists() or what.split("/")[0] in ALLOWED
        if local and not what.startswith(ALLOWED[layer]):
            offending.append(where)
        no_machine = layer == "plan" and what == "mutex"  # for the plan cache
        if MACHINE.match(what) and not re.match(MACHINE_ALLOWED.get(layer, r"(?!)"), what) and not no_machine:
            offending.append(where)
    assert not offending, "\n".join(offending)


def test_plan_data_is_plain() -> None:
    """What executors read of the plan includes the standard library and core only."""
    for header in PLAIN_DATA:
        if not (CSRC / header).exists():
            continue
        for line in (CSRC / header).read_text().splitlines():
            found = re.match(r'\s*#\s*include\s*"([^"]+)"', line)
            assert not found or found[1].startswith("core/") or found[1] in PLAIN_DATA, f"csrc/{header}: {line}"


def test_families_are_unknown_to_csrc() -> None:
    """A family is an equation: nothing in the core may know one by name."""
    family = re.compile(r"\b(matrix_?chain|hadamard|tucker|tensor_?train|hierarchical|khatri_?rao)\b", re.IGNORECASE)
    offending = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in sources(CSRC)
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if family.search(line.partition("//")[0])
    ]
    assert not offending, "\n".join(offending)


def test_reference_imports_torch_and_observed_only() -> None:
    may = ("torch", "irkernels.observed", "irkernels.grammar", "irkernels.reference", "irkernels.remembered")
    for path in sources(PACKAGE / "reference"):
        for where, module in imports(path):
            known = module.split(".")[0] in sys.stdlib_module_names or module.startswith(may)
            assert known, f"the reference knows torch, observed entries and the call forms only: {where}"


def test_one_file_imports_compiled_modules_and_one_calls_it() -> None:
    compiled = re.compile(r"^irkernels\._(native_|C|kernels|cpu|cuda|simt|bind|module|core)\w*")
    for path in sources(PACKAGE):
        name = path.relative_to(PACKAGE).as_posix()
        for where, module in imports(path):
            if module.startswith("irkernels._native") and not module.startswith("irkernels._native_"):
                assert name in ("_launch.py", "_fit.py", "_batches.py", "_long_steps.py", "_native.py"), (
                    f"only _launch.py and, for training, _fit.py, _batches.py and _long_steps.py call _native: {where}"
                )
            assert not compiled.match(module) or name == "_native.py", (
                f"only _native.py imports compiled modules: {where}"
            )
        if name not in ("_native.py",):
            text = path.read_text()
            assert "ExtensionFileLoader" not in text, f"{name}: only _native.py loads compiled modules"


def test_derivative_rules_do_not_read_addresses() -> None:
    """What torch may trace goes through execute.py, which sees whether somebody looks on."""
    for name in ("autograd.py", "functional.py", "ops.py", "autocast.py", "trials.py"):
        for where, module in imports(PACKAGE / name):
            native = module.startswith(("irkernels._launch", "irkernels._fit"))
            assert not native, f"{name} computes through execute.py: {where}"


def test_observed_knows_torch_only() -> None:
    for where, module in imports(PACKAGE / "observed.py"):
        assert module.split(".")[0] in {"torch", *sys.stdlib_module_names}, f"observed.py knows torch only: {where}"


def test_factored_tensors_and_integrations_know_the_verbs_only() -> None:
    """A factored tensor is an equation; another package is asked for when it is switched on, never at import."""
    may = ("torch", "irkernels.functional", "irkernels.grammar", "irkernels.reference.operands", "irkernels.tensors",
           "irkernels.remembered")  # fmt: skip
    for folder, more in (("tensors", ()), ("integrations", ("irkernels.integrations", "tensorly"))):
        for path in sources(PACKAGE / folder):
            for where, module in imports(path):
                known = module.split(".")[0] in sys.stdlib_module_names or module.startswith((*may, *more))
                assert known or module == f"irkernels.{folder}", f"{folder}/ knows einsum and factored tensors: {where}"


def test_dynamics_and_spectra_know_the_verbs_and_families_structure_only() -> None:
    """Training measures spectra; dynamics know both, and neither reaches behind the public verbs."""
    verbs = ("torch", "irkernels._arguments", "irkernels.functional", "irkernels.grammar", "irkernels.observed")
    verbs += ("irkernels.spectrum",)
    structure = ("bonds", "balance", "mode_tree", "structure")
    families = tuple(f"irkernels.families.{name}" for name in structure)
    outside = {"spectrum": ("tensorly",), "dynamics": ("scipy", "irkernels.dynamics")}
    for folder, more in outside.items():
        for path in sources(PACKAGE / folder):
            for where, module in imports(path):
                known = module.split(".")[0] in sys.stdlib_module_names or module.startswith((*verbs, *families, *more))
                assert known, f"{folder}/ knows the verbs, families' structure and {more[0]}: {where}"


def test_curvature_and_measures_are_made_of_the_verbs() -> None:
    """Second derivatives walk the planner's tree, which one file asks for; measures know products, not plans."""
    verbs = ("torch", "irkernels.functional", "irkernels.grammar", "irkernels._arguments")
    below = ("autograd", "eager", "execute", "gather", "observed", "measurements", "reference", "curvature")
    may = {"measures": (*verbs, "irkernels.measures"), "curvature": (*verbs, *(f"irkernels.{name}" for name in below))}
    for folder, allowed in may.items():
        for path in sources(PACKAGE / folder):
            for where, module in imports(path):
                known = module.split(".")[0] in sys.stdlib_module_names or module.startswith(allowed)
                tree = (folder, path.name, module) == ("curvature", "tree.py", "irkernels._launch")
                assert known or tree, f"{folder}/ is made of verbs: {where}"


def test_no_file_is_named_utils() -> None:
    named = [path for folder in (CSRC, PACKAGE, ROOT / "tests", ROOT / "bench") for path in sources(folder)]
    offending = [str(path.relative_to(ROOT)) for path in named if re.search("utils?|helpers?|misc", path.stem)]
    assert not offending, f"a file is named after what it holds: {', '.join(offending)}"


def test_files_are_short() -> None:
    long = []
    for folder in ("csrc", "irkernels", "tests", "bench"):
        for path in sources(ROOT / folder):
            lines = len(path.read_text().splitlines())
            if lines > HARD_LIMIT:
                long.append(f"{path.relative_to(ROOT)}: {lines} lines, at most {HARD_LIMIT}")
    assert not long, "\n".join(long)
