"""Text tables, geometric means, targets and JSON rows."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.measure import Measurement


@dataclass(frozen=True)
class Target:
    """A goal of the tables: what was measured, the bound, and which side of it is good."""

    name: str
    measured: float
    bound: float
    at_least: bool = True  # else: at most
    where: str = ""  # the row that decides

    @property
    def met(self) -> bool:
        return self.measured >= self.bound if self.at_least else self.measured <= self.bound

    def line(self) -> str:
        sign, verdict = ("at least" if self.at_least else "at most"), ("met" if self.met else "NOT MET")
        where = f" ({self.where})" if self.where else ""
        return f"- {verdict}: {self.name}: {figure(self.measured)}, {sign} {figure(self.bound)}{where}"


def figure(value: float) -> str:
    """Three significant digits, without an exponent."""
    if value == 0 or not math.isfinite(value):
        return f"{value:.0f}"
    return f"{value:.{max(0, 2 - math.floor(math.log10(abs(value))))}f}"


def microseconds(seconds: float) -> str:
    return figure(seconds * 1e6)


def geometric_mean(values: Sequence[float]) -> float:
    return math.exp(sum(math.log(value) for value in values) / len(values)) if values else math.nan


def text_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """An aligned Markdown table: first column to the left, the others to the right."""
    widths = [max(len(line[column]) for line in [header, *rows]) for column in range(len(header))]

    def line(cells: Sequence[str]) -> str:
        first, *others = zip(cells, widths)
        padded = [first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)]
        return f"| {' | '.join(padded)} |"

    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return "\n".join([line(header), line(rule), *map(line, rows)])


def spread(done: Measurement, peer: str) -> str:
    """Median and quartiles in microseconds, a dash where the peer has no figure."""
    if peer not in done.seconds:
        return "-"
    low, middle, high = (figure(seconds * 1e6) for seconds in done.quartiles(peer))
    return f"{middle} ({low}-{high})"


def times(measurements: Sequence[Measurement], peers: Sequence[str], own: Sequence[str]) -> str:
    """Median microseconds, ours with quartiles."""
    lines = []
    for done in measurements:
        medians = [microseconds(done.median(peer)) if peer in done.seconds else "-" for peer in peers]
        lines.append([done.row.name, *medians, *(spread(done, peer) for peer in own)])
    return text_table(["row", *peers, *own], lines)


def ratio(done: Measurement, peer: str | None, own: str) -> str:
    """Median of the peer's time over ours, with quartiles."""
    if peer not in done.seconds or own not in done.seconds:
        return "-"
    low, middle, high = map(figure, done.ratio(peer, own))
    return f"{middle} ({low}-{high})"


def print_beside(title: str, found: list[Measurement], names: list[str], own: str) -> None:
    """Times, and ratios of the peers' to ours."""
    print(f"\n{title}, median microseconds\n")
    print(times(found, names, [own]))
    print("\nPeer's time over ours, median of the rounds (best peer with quartiles)\n")
    print(ratio_table(found, names, own))


def ratio_table(measurements: Sequence[Measurement], peers: Sequence[str], own: str) -> str:
    """Each peer's time over ours, the best peer's with quartiles, and geometric means over the rows that a peer has."""
    lines = []
    columns: dict[str, list[float]] = {peer: [] for peer in [*peers, "best"]}
    for done in measurements:
        best, cells = done.best(list(peers)), [done.row.name]
        for peer in peers:
            shared = peer in done.seconds and own in done.seconds
            if shared:
                columns[peer].append(done.ratio(peer, own)[1])
            cells.append(figure(columns[peer][-1]) if shared else "-")
        if best is not None and own in done.seconds:
            columns["best"].append(done.ratio(best, own)[1])
        lines.append([*cells, ratio(done, best, own), best or "-"])
    means = [figure(geometric_mean(column)) if column else "-" for column in columns.values()]
    return text_table(["row", *peers, "best peer", "which"], [*lines, ["geometric mean", *means, ""]])


def notes(measurements: Sequence[Measurement]) -> str:
    """Per peer: what its notes say, with the rows they belong to."""
    gathered: dict[tuple[str, str], list[str]] = {}
    for done in measurements:
        for peer, note in done.notes.items():
            gathered.setdefault((peer, note), []).append(done.row.name)
    lines = []
    for (peer, note), rows in sorted(gathered.items()):
        where = "; ".join(rows[:3]) + (f"; and {len(rows) - 3} more" if len(rows) > 3 else "")
        where = "every row" if len(rows) == len(measurements) > 1 else where
        lines.append(f"- {peer}: {note} ({where})")
    return "\n".join(lines)


def json_rows(table: str, done: Measurement, about: dict[str, Any], **more: Any) -> list[dict[str, Any]]:
    """One row a peer: quartiles in seconds, with machine, threads, commit and date."""
    rows = []
    for peer in done.seconds:
        low, middle, high = done.quartiles(peer)
        found = {"table": table, "row": done.row.name, "peer": peer, "q25": low, "median": middle, "q75": high}
        found |= {"rounds": len(done.seconds[peer]), "note": done.notes.get(peer, "")}
        rows.append(found | more | {name: about[name] for name in ("machine", "threads", "commit", "date")})
    return rows


def write_json(path: str, about: dict[str, Any], rows: list[dict[str, Any]], targets: Sequence[Target]) -> None:
    found = {"environment": about, "rows": rows, "targets": [asdict(each) | {"met": each.met} for each in targets]}
    Path(path).write_text(json.dumps(found, indent=1) + "\n")
