"""What a run on a GPU found, summed up: the parts' verdicts, and times as ratios and as shares of the ceilings."""

from __future__ import annotations

from typing import Any

from bench.report import figure, text_table

OWN = "irkernels"
Found = dict[str, dict[str, Any]]  # item -> what was found
_TIMES = ("times", "JAX", "torch.compile")


def merged(parts: dict[str, Found]) -> Found:
    """The rows' times of all parts that took times, peers side by side."""
    rows: Found = {}
    for part in _TIMES:
        for name, found in parts.get(part, {}).items():
            row = rows.setdefault(name, {"seconds": {}, "notes": {}, "multiply-adds": 0, "bytes": 0})
            for key in ("seconds", "notes"):
                row[key] |= found.get(key, {})
            for key in ("multiply-adds", "bytes"):
                row[key] = found.get(key, row[key])
            for reason in ("failed", "skipped"):
                if reason in found:
                    row["notes"][part] = found[reason].splitlines()[0]
    return dict(sorted(rows.items(), key=lambda row: row[0][:1]))  # table A's, then B's


def ratios(row: dict[str, Any], ceilings: Found) -> dict[str, Any]:
    """The best peer's median over ours, as called and as a graph; the larger of least times over our time."""
    medians = {name: seconds[1] for name, seconds in row["seconds"].items()}
    peers = {name: median for name, median in medians.items() if not name.startswith(OWN)}
    found: dict[str, Any] = {}
    if peers:
        found["best peer"] = min(peers, key=peers.__getitem__)
    for own, name in ((OWN, "ratio"), (f"{OWN}, graphed", "ratio graphed")):
        if peers and own in medians:
            found[name] = peers[found["best peer"]] / medians[own]
    flops = ceilings.get("float32", {}).get("flops a second")
    copied = ceilings.get("copy", {}).get("bytes a second")
    if flops and copied and OWN in medians:
        least = {"arithmetic": 2 * row["multiply-adds"] / flops, "bytes": row["bytes"] / copied}
        bound = max(least, key=least.__getitem__)
        found |= {"share of the ceiling": least[bound] / medians[OWN], "ceiling": bound}
    return found


def summed_up(part: Found) -> dict[str, Any]:
    """How many items there were, which failed, were skipped, or gave other bits."""
    kinds = {"failed": [], "skipped": [], "other bits": []}
    for item, found in part.items():
        for kind, items in kinds.items():
            if found.get(kind):
                items.append(item)
    return {"items": len(part)} | {kind: items for kind, items in kinds.items() if items}


def ratio_table(rows: Found) -> str:
    """Ours in microseconds, the best peer's, both ratios and the share of the ceiling."""
    lines = []
    for name, row in rows.items():
        medians = {peer: seconds[1] for peer, seconds in row["seconds"].items()}
        about, best = row["summary"], row["summary"].get("best peer")
        cells = [_microseconds(medians.get(OWN)), _microseconds(medians.get(best)), best or "-"]
        cells += [_figure(about.get("ratio")), _figure(about.get("ratio graphed"))]
        share = about.get("share of the ceiling")
        lines.append([name, *cells, "-" if share is None else f"{100 * share:.2g} % ({about['ceiling']})"])
    header = ["row", f"{OWN}, us", "best peer, us", "which", "ratio", "ratio graphed", "share of the ceiling"]
    return text_table(header, lines)


def _figure(value: float | None) -> str:
    return "-" if value is None else figure(value)


def _microseconds(seconds: float | None) -> str:
    return _figure(None if seconds is None else seconds * 1e6)
