"""What a run on a GPU needs, what the machine has, and the build for its device alone."""

from __future__ import annotations

import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from bench import machine

ROOT = Path(__file__).resolve().parent.parent
_MODULES = {
    "torch": "that the kernels are called from",
    "numpy": "that inputs are drawn with",
    "setuptools": "that setup.py is run by",
    "pybind11": "that the binding is compiled with",
    "opt_einsum": "that the rows' arithmetic is counted with",
}


def missing() -> list[str]:
    """What keeps this machine from a run, one sentence each; empty where nothing does."""
    absent = [name for name in _MODULES if importlib.util.find_spec(name) is None]
    found = [f"the Python module {name}, {_MODULES[name]}, is not installed" for name in absent]
    if not shutil.which("ninja") and importlib.util.find_spec("ninja") is None:
        found.append("ninja, which runs the compilers, is neither on the PATH nor a Python module")
    if not shutil.which(os.environ.get("CXX", "g++")):
        found.append(f"the C++ compiler {os.environ.get('CXX', 'g++')} is not on the PATH")
    if not nvcc():
        found.append("nvcc is neither in CUDA_HOME nor on the PATH nor in /usr/local/cuda")
    if "torch" not in absent:
        import torch

        if not torch.cuda.is_available():
            built = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "built without CUDA"
            found.append(f"torch {torch.__version__} ({built}) has no CUDA device")
    return found


def nvcc() -> str | None:
    """Where setup.py looks for it."""
    places = [os.environ.get("CUDA_HOME", "") + "/bin", os.environ.get("PATH", ""), "/usr/local/cuda/bin"]
    return shutil.which("nvcc", path=os.pathsep.join(places))


def architecture(capability: tuple[int, int]) -> str:
    """As setup.py names it: (9, 0) is 90a, whose instructions later devices have not."""
    name = f"{capability[0]}{capability[1]}"
    return name + "a" if name == "90" else name


def build() -> dict[str, Any]:
    """Builds the modules in place for this device alone.  Raises RuntimeError with the compiler's last words."""
    import torch

    arch = architecture(torch.cuda.get_device_capability())
    settings = os.environ | {"IRKERNELS_CUDA": "1", "IRKERNELS_CUDA_ARCHS": arch}
    start = time.perf_counter()
    command = [sys.executable, "setup.py", "build_ext", "--inplace"]
    done = subprocess.run(command, cwd=ROOT, env=settings, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"setup.py ended with status {done.returncode}: {(done.stdout + done.stderr)[-3000:]}")
    return {"architecture": arch, "seconds": round(time.perf_counter() - start, 1)}


def environment() -> dict[str, Any]:
    """Device, driver, versions, commit and date."""
    import torch

    about = machine.environment(torch.get_num_threads())
    device = torch.cuda.get_device_properties(0)
    about["python"] = platform.python_version()
    about["torch"] = torch.__version__
    about["CUDA of torch"] = torch.version.cuda
    about["nvcc"] = _said([nvcc() or "nvcc", "--version"], r"V([\d.]+)")
    about["driver"] = _said(["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"], r"([\d.]+)")
    about["device"] = {
        "name": device.name,
        "capability": f"{device.major}.{device.minor}",
        "multiprocessors": device.multi_processor_count,
        "bytes": device.total_memory,
    }
    return about


def _said(command: list[str], pattern: str) -> str:
    try:
        text = subprocess.run(command, capture_output=True, text=True, timeout=30).stdout
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    match = re.search(pattern, text)
    return match[1] if match else "unknown"
