"""One run on a machine with a GPU: build, bits against the CPU, sanitizers, times against peers, one JSON.

`python -m bench.gpu [--out FILE.json] [--quick]`. Where something is missing it says what, and ends with status 2.
A part that fails is recorded as text and the others go on; status 1 tells that one did, or that bits differ.

{"environment": {...}, "quick": bool, "seconds": {part: seconds},
 "parts": {part: {item: {...} or {"failed": text} or {"skipped": text}}},
 "rows": {row: {"seconds": {contender: [q25, median, q75]}, "notes", "summary"}}, "summary": {part: {...}}}
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench import gpu_machine, gpu_report
from bench.gpu_parts import DEVICE_LOST, PARTS, read, record

_LOOK = 0.2  # seconds between two looks at a part's process
_RESTARTS = 40  # of one part: a device that fails every item costs a process each


def run_part(name: str, quick: bool, folder: Path) -> dict[str, Any]:
    """What a part's processes wrote; an item that ended its process, or took too long, is a failure of that item."""
    part, file = PARTS[name], folder / f"{name}.jsonl"
    seconds = part.seconds[not quick]
    end = time.monotonic() + seconds
    for _ in range(_RESTARTS):
        status, said = _process(name, file, quick, end, part.patience)
        begun, found = read(file)
        if status == 0:
            return found
        over, open_items = time.monotonic() > end, [item for item in begun if item not in found]
        for item in open_items:
            record(file, item, {"skipped": f"the part's {seconds} seconds were over"} if over else {"failed": said})
        begun, found = read(file)
        if over:
            return found | {"the rest": {"skipped": f"the part's {seconds} seconds were over"}}
        if status != DEVICE_LOST and not open_items:
            return found | {"the part": {"failed": said}}
    return found | {"the rest": {"failed": f"{_RESTARTS} processes ended early"}}


def _process(name: str, file: Path, quick: bool, end: float, patience: float) -> tuple[int, str]:
    """Its exit status and last words; it is killed at `end`, or when its file has not grown for `patience` seconds."""
    command = [sys.executable, "-m", "bench.gpu_parts", name, str(file), *(["--quick"] if quick else [])]
    # first on the path: the modules are built in place; JAX shall leave room for torch
    path = os.pathsep.join([str(gpu_machine.ROOT), os.environ.get("PYTHONPATH", "")])
    settings = os.environ | {"PYTHONPATH": path, "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    lines, since, told, reason = -1, time.monotonic(), set(read(file)[1]), ""
    with tempfile.TemporaryFile("w+") as words:
        running = subprocess.Popen(
            command, cwd=gpu_machine.ROOT, env=settings, stdout=words, stderr=words, start_new_session=True
        )
        try:
            ended = False
            while not ended:
                time.sleep(_LOOK)
                ended = running.poll() is not None  # before the last look at its file
                begun, found = read(file)
                for item in [item for item in found if item not in told]:
                    print(f"[{name}] {item}: {_verdict(found[item])}", file=sys.stderr, flush=True)
                told |= found.keys()
                if len(begun) + len(found) != lines:
                    lines, since = len(begun) + len(found), time.monotonic()
                if not ended and time.monotonic() > min(end, since + patience):
                    reason = "it took too long and was ended; "
                    break
        finally:
            if running.poll() is None:
                os.killpg(running.pid, signal.SIGKILL)  # compilers and sanitizers that it started too
                running.wait()
        words.seek(0)
        return running.returncode, f"{reason}status {running.returncode}: {words.read()[-2000:]}"


def _verdict(found: dict[str, Any]) -> str:
    for kind in ("failed", "skipped"):
        if kind in found:
            return f"{kind}: {found[kind].splitlines()[0][:160]}"
    return f"{found['other bits']} of {found['results']} with other bits" if "other bits" in found else "done"


def summary(parts: dict[str, Any]) -> dict[str, Any]:
    """The rows with their ratios, and each part's verdict."""
    rows = gpu_report.merged(parts)
    for row in rows.values():
        row["summary"] = gpu_report.ratios(row, parts.get("ceilings", {}))
    return {"rows": rows, "summary": {name: gpu_report.summed_up(part) for name, part in parts.items()}}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.gpu", description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("gpu.json"), metavar="FILE.json")
    parser.add_argument("--quick", action="store_true", help="under five minutes: fewer rows and products")
    options = parser.parse_args(arguments)
    if absent := gpu_machine.missing():
        print("this machine cannot run it:\n" + "\n".join(f"- {each}" for each in absent), file=sys.stderr)
        return 2
    found: dict[str, Any] = {"environment": gpu_machine.environment(), "quick": options.quick}
    found |= {"seconds": {}, "parts": {}}
    with tempfile.TemporaryDirectory() as folder:
        for name in PARTS:
            start = time.monotonic()
            found["parts"][name] = run_part(name, options.quick, Path(folder))
            found["seconds"][name] = round(time.monotonic() - start, 1)
            found |= summary(found["parts"])
            options.out.write_text(json.dumps(found, indent=1) + "\n")  # kept even if a later part ends this process
            print(f"[{name}] {found['seconds'][name]} s", file=sys.stderr, flush=True)
            if name == "build" and found["summary"][name].get("failed"):
                break
    print(gpu_report.ratio_table(found["rows"]))
    print(json.dumps(found["summary"], indent=1))
    bad = [name for name, verdict in found["summary"].items() if verdict.get("failed") or verdict.get("other bits")]
    print(f"kept in {options.out}" + (f"; not sound: {', '.join(bad)}" if bad else ""))
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
