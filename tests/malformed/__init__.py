"""Malformed calls of the whole public API, one for each seed: a valid call of `calls` with one to three places of it
spoilt.

A call is a function, its arguments, and its keyword arguments; files and checkpoints are calls whose argument is the
content.
Run from the command line (`python -m malformed`), so that a process that dies tells the seed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple


class Call(NamedTuple):
    name: str
    function: Callable[..., Any]
    arguments: list[Any]
    keywords: dict[str, Any]
