"""The page of public names, from their docstrings: python -m bench.api_page writes irkernels/docs/api.md."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import irkernels

PAGE = Path(__file__).resolve().parent.parent / "irkernels" / "docs" / "api.md"


def signature(value: Any) -> str:
    """As it is written, without the annotations, which the docstring tells in shapes and types."""
    if inspect.isclass(value) and issubclass(value, Exception):
        return ""
    plain = inspect.signature(value)
    bare = [each.replace(annotation=each.empty) for each in plain.parameters.values()]
    return str(plain.replace(parameters=bare, return_annotation=plain.empty))


def entry(path: str, value: Any) -> Iterator[str]:
    yield f"### `{path}{signature(value) if callable(value) else ''}`\n"
    yield (inspect.getdoc(value) or "") + "\n"


def page() -> str:
    """Verbs and classes first, then every module of the package's `__all__`."""
    names = {name: getattr(irkernels, name) for name in irkernels.__all__}
    lines = ["# Public names\n", "Made by `python -m bench.api_page`.\n", "## irkernels\n"]
    for name, value in names.items():
        if not isinstance(value, ModuleType):
            lines += entry(f"irk.{name}", value)
    for name, module in names.items():
        if isinstance(module, ModuleType):
            lines += [f"## irk.{name}\n", (inspect.getdoc(module) or "") + "\n"]
            if module is not irkernels.reference:  # the same names and signatures
                for inner in getattr(module, "__all__", ()):
                    value = getattr(module, inner)
                    lines += [] if isinstance(value, ModuleType) else entry(f"irk.{name}.{inner}", value)
    return "\n".join(lines)


if __name__ == "__main__":
    PAGE.write_text(page())
