"""Where and with what a figure was measured."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path

_PACKAGES = ("irkernels", "torch", "jax", "opt_einsum", "tensorly", "numpy")


def processor() -> str:
    """The processor's name as the system gives it."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def commit() -> str:
    """The checkout's commit, with a + where files differ from it; "unknown" outside a checkout."""
    root = Path(__file__).resolve().parent.parent
    ask = ["git", "-C", str(root), "describe", "--always", "--dirty=+", "--exclude=*"]
    try:
        return subprocess.run(ask, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return "unknown"


def versions() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def environment(threads: int) -> dict[str, object]:
    """Machine, threads, versions, commit and time, as one JSON object."""
    return {
        "machine": processor(),
        "threads": threads,
        "commit": commit(),
        "versions": versions(),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def header(threads: int) -> str:
    about = environment(threads)
    packages = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    plural = "thread" if threads == 1 else "threads"
    return f"{about['date']}  {about['machine']}, {threads} {plural}, commit {about['commit']}\n{packages}"


class OtherLoad:
    """How busy other processes kept the machine since it was made; a parallel region waits for a core they hold."""

    def __init__(self) -> None:
        self._before = _busy_and_own()

    def cores(self) -> float | None:
        """Cores' worth of work by others, once one's own children have ended; None where the system does not say."""
        now = _busy_and_own()
        if now is None or self._before is None or now[2] <= self._before[2]:
            return None
        busy, own, elapsed = (after - before for after, before in zip(now, self._before))
        return max(0.0, (busy - own) / elapsed)


def _busy_and_own() -> tuple[float, float, float] | None:
    try:
        ticks = [int(field) for field in Path("/proc/stat").read_text().split("\n")[0].split()[1:]]
    except (OSError, ValueError):
        return None
    busy = (sum(ticks[:8]) - ticks[3] - ticks[4]) / os.sysconf("SC_CLK_TCK")  # all but idle and waiting for a disk
    own = os.times()
    return busy, sum(own[:4]), own.elapsed
