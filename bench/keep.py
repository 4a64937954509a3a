"""Results kept in a folder: a JSON file a table, one line a row, and the sweep's picture.

{"environment": {...}, "targets": [...],
 "rows": [{"table", "row", "mode", "dtype", "microseconds": {peer: [q25, median, q75]}}, ...]}
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.report import Target

_COLUMNS = ("table", "row", "mode", "dtype")
_DIGITS = 4


def keep(folder: Path, name: str, about: dict[str, Any], rows: Sequence[dict], targets: Sequence[Target]) -> Path:
    """Writes `name`.json from rows as report.json_rows makes them; returns its path."""
    folder.mkdir(parents=True, exist_ok=True)
    lines: dict[tuple[str, ...], dict[str, list[float]]] = {}
    for row in rows:
        key = tuple(row[column] for column in _COLUMNS)
        lines.setdefault(key, {})[row["peer"]] = [_rounded(row[name] * 1e6) for name in ("q25", "median", "q75")]
    found = [dict(zip(_COLUMNS, key)) | {"microseconds": peers} for key, peers in lines.items()]
    goals = [asdict(target) | {"met": target.met} for target in targets]
    parts = [
        f'{{"environment": {json.dumps(about)}',
        f'"targets": {_one_a_line(goals)}',
        f'"rows": {_one_a_line(found)}}}',
    ]
    path = folder / f"{name}.json"
    path.write_text(",\n".join(parts) + "\n")
    return path


def _one_a_line(found: list[dict]) -> str:
    return "[\n" + ",\n".join(map(json.dumps, found)) + "\n]"


def _rounded(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")
