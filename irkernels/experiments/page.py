"""Results as pages of Markdown: one for each experiment, and one that gathers all that a folder has."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

INDEX = "README.md"


def write(summary: dict[str, Any], text: str, folder: Path) -> list[Path]:
    """NAME.json and NAME.md of an experiment's summary, and the page that gathers the folder's.

    text: what the experiment is, for its page.
    """
    name = summary["experiment"]
    data, page = folder / f"{name}.json", folder / f"{name}.md"
    data.write_text(json.dumps(summary, indent=1, allow_nan=False, default=str) + "\n")
    page.write_text(_page(summary, text))
    return [data, page, gather(folder)]


def gather(folder: Path) -> Path:
    """The page that gathers all experiments of a folder, from their .json files."""
    found = [json.loads(path.read_text()) for path in sorted(folder.glob("E*.json"))]
    rows = [_line(summary) for summary in found]
    missed = [
        [f"[{summary['experiment']}]({summary['experiment']}.md)", each["name"], _number(each["value"]), each["bound"]]
        for summary in found
        for each in summary["criteria"]
        if not each["pass"]
    ]
    parts = [
        "# Published experiments, repeated",
        "Made by `irkernels reproduce NAME --scale quick|paper --out DIR`; a page for each"
        " has its figure and its numbers.",
        _table(
            (
                "experiment",
                "what it shows",
                "scale",
                "criteria met",
                "training, s",
                "steps a second",
                "eager PyTorch, s",
                "times as long",
            ),
            rows,
        ),
        "Steps a second are of one trial, all trials together. Eager PyTorch's time is extrapolated from the number"
        " of steps that each page states, all trials of a fit at once. A page names the machine and, where it was"
        " measured, its load before the command began: at a load above the number of cores times are of a busy"
        " machine, too long.",
    ]
    if missed:
        parts += ["## Criteria not met", _table(("experiment", "criterion", "ours", "bound"), missed)]
    for summary in found:
        name = summary["experiment"]
        parts.append(
            f"## {name}: {summary['title']}\n\n{summary['paper']} ([numbers]({name}.md))\n\n"
            f"![{name}]({summary['picture']})"
        )
    path = folder / INDEX
    path.write_text("\n\n".join(parts) + "\n")
    return path


def _line(summary: dict[str, Any]) -> list[str]:
    name, criteria = summary["experiment"], summary["criteria"]
    passed = sum(each["pass"] for each in criteria)
    return [
        f"[{name}]({name}.md)", summary["title"], summary["scale"], f"{passed} of {len(criteria)}",
        _number(summary["training seconds"]), f"{summary['steps a second']:,.0f}",
        f"{summary['eager seconds']:,.0f}", _number(summary["speed-up"]),
    ]  # fmt: skip


def _page(summary: dict[str, Any], text: str) -> str:
    name = summary["experiment"]
    criteria = [
        [
            each["name"],
            each["paper"] or "-",
            _number(each["value"]),
            each["bound"],
            "pass" if each["pass"] else "**fail**",
        ]
        for each in summary["criteria"]
    ]
    parts = [
        f"# {name}: {summary['title']}",
        text.strip(),
        f"![{name}]({summary['picture']})",
        f"`{summary['command']}`, {summary['date']}, {summary['machine']}",
        "## Criteria",
        _table(("criterion (worst trial)", "paper", "ours", "bound", ""), criteria)
        if criteria
        else "None is for these parameters.",
        *(["\n".join(f"- {note}" for note in summary["notes"])] if summary["notes"] else []),
        "## Time",
        summary["beside eager"] + ".",
        "## All settings at the end",
        "Least and greatest of the runs where they differ.",
        *_settings(summary["settings"]),
        "## Parameters",
        "\n".join(f"- {key}: {_listed(value)}" for key, value in summary["parameters"].items()),
    ]
    return "\n\n".join(parts) + "\n"


def _settings(rows: Sequence[dict[str, Any]]) -> list[str]:
    """A table for each set of columns."""
    heads = list(dict.fromkeys(tuple(row) for row in rows))
    return [
        _table(head, [[_listed(value) for value in row.values()] for row in rows if tuple(row) == head])
        for head in heads
    ]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(each).replace("|", "\\|") for each in line) + " |" for line in lines)


def _listed(value: Any) -> str:
    return (
        " to ".join(map(_number, value))
        if isinstance(value, list) and len(value) == 2
        else (", ".join(map(_number, value)) if isinstance(value, (list, tuple)) else _number(value))
    )


def _number(value: Any) -> str:
    return "not finite" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
