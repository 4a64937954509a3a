"""The parts of a run on a GPU. Each is a process of its own, so that what goes wrong on the device ends there.

`python -m bench.gpu_parts PART FILE [--quick]` does the part's items that FILE has not yet, and adds two lines of JSON
for each: that it begins, and what was found, a failure as text. After a failure that the device does not outlive the
process ends with status 3; gpu.py starts another for the items that are left.
"""

from __future__ import annotations

import argparse
import json
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.peer import Absent

DEVICE_LOST = 3


@dataclass(frozen=True)
class Part:
    items: Callable[[bool], list[str]]  # quick -> names
    run: Callable[[str], dict[str, Any]]
    seconds: tuple[int, int]  # for the whole part: quick, full
    patience: int = 60  # seconds for one item


def _timing(how: str) -> Callable[[str], dict[str, Any]]:
    def run(name: str) -> dict[str, Any]:
        from bench import gpu_peers, gpu_rows

        row = gpu_rows.rows(False)[name]
        about = {"multiply-adds": row.multiply_adds, "bytes": row.bytes(4)}
        return about | getattr(gpu_peers, how)(row)

    return run


def _rows(quick: bool) -> list[str]:
    from bench import gpu_rows

    return list(gpu_rows.rows(quick))


def _of(module: str, name: str) -> Callable[..., Any]:
    """A function that is imported when it is called: the build comes before what imports irkernels."""

    def call(*arguments: Any) -> Any:
        return getattr(__import__(f"bench.{module}", fromlist=[name]), name)(*arguments)

    return call


PARTS = {
    "build": Part(lambda quick: ["build"], lambda _: _of("gpu_machine", "build")(), (280, 280), patience=280),
    "ceilings": Part(_of("gpu_timing", "ceilings"), _of("gpu_timing", "ceiling"), (15, 20)),
    "registry": Part(_of("gpu_checks", "products"), _of("gpu_checks", "compare_product"), (25, 60)),
    "training": Part(_of("gpu_checks", "trainings"), _of("gpu_checks", "compare_training"), (25, 40)),
    "times": Part(_rows, _timing("timed"), (45, 130)),
    "sanitizer": Part(_of("gpu_checks", "sanitizers"), _of("gpu_checks", "sanitize"), (30, 80), patience=80),
    "JAX": Part(_rows, _timing("jax"), (20, 70)),
    "torch.compile": Part(_rows, _timing("compiled"), (20, 70)),
}


def serve(part: Part, file: Path, quick: bool) -> int:
    """Does what is left of a part; the process's exit status."""
    begun, _ = read(file)
    for item in part.items(quick):
        if item in begun:
            continue
        record(file, item)
        try:
            found = part.run(item)
        except Absent as reason:
            found = {"skipped": str(reason)}
        except Exception as error:
            text = "".join(traceback.format_exception(error))
            found = {"failed": f"{type(error).__name__}: {error}"[:3000], "trace": text[-1500:]}
        record(file, item, found)
        if "failed" in found and item != "build" and _of("gpu_timing", "device_lost")():
            return DEVICE_LOST
    return 0


def read(file: Path) -> tuple[list[str], dict[str, Any]]:
    """The items that began, and what was found of those that ended; a line that is not whole is none."""
    begun, found = [], {}
    for text in file.read_text().splitlines() if file.exists() else []:
        try:
            line = json.loads(text)
        except ValueError:
            continue
        if "found" in line:
            found[line["item"]] = line["found"]
        else:
            begun.append(line["item"])
    return begun, found


def record(file: Path, item: str, found: dict[str, Any] | None = None) -> None:
    """A line of its own, whatever was left before it: that an item begins, or what was found."""
    line = {"item": item} if found is None else {"item": item, "found": found}
    with file.open("a") as out:
        out.write("\n" + json.dumps(line) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m bench.gpu_parts", description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("file", type=Path)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    sys.exit(serve(PARTS[options.part], options.file, options.quick))
