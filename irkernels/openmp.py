"""The OpenMP runtimes of this process. Own kernels share torch's; beside a second one they keep to one thread."""

from __future__ import annotations

import warnings
from pathlib import Path

_NAMES = ("libgomp", "libiomp", "libomp")
_MAPS = Path("/proc/self/maps")


def runtimes() -> list[str]:
    """Files of the OpenMP runtimes that are loaded now; empty where the system does not tell."""
    if not _MAPS.exists():
        return []
    fields = (line.split(maxsplit=5) for line in _MAPS.read_text().splitlines())
    files = {Path(field[5].strip()) for field in fields if len(field) == 6}
    return sorted({str(file.resolve()) for file in files if file.name.startswith(_NAMES)})


def only_one_thread() -> bool:
    """Whether own kernels must do without threads; warns where that is so. Asked once, at import.

    Two runtimes keep two pools: their threads would compete for the same cores.
    """
    loaded = runtimes()
    if len(loaded) <= 1:
        return False
    warnings.warn(
        f"{len(loaded)} OpenMP runtimes are loaded ({', '.join(loaded)}): irkernels' own kernels use one thread",
        RuntimeWarning,
        stacklevel=2,
    )
    return True
