"""Functions of another package that are ours for a while, and then again what they were."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterable
from typing import Any

_ABSENT = object()
Replacement = tuple[Any, str, Any]  # owner, attribute, what it is while switched on


class Switch:
    """Turns replacements on and off; each is undone exactly, to an attribute of a class or none at all too.

    What somebody else has replaced in the meantime stays theirs.
    """

    def __init__(self, replacements: Callable[[], Iterable[Replacement]]) -> None:
        self._replacements = replacements
        self._lock = threading.Lock()
        self._undo: list[tuple[Any, str, Any, Any]] = []

    def enable(self) -> Enabled:
        """Switches on, if that was not done before; in a `with` statement for its block only."""
        with self._lock:
            if self._undo:
                return Enabled(None)
            for owner, name, ours in list(self._replacements()):
                self._undo.append((owner, name, ours, vars(owner).get(name, _ABSENT)))
                setattr(owner, name, ours)
        return Enabled(self)

    def disable(self) -> None:
        """Switches off; does nothing where nothing is on."""
        with self._lock:
            while self._undo:
                owner, name, ours, before = self._undo.pop()
                if vars(owner).get(name) is not ours:
                    continue
                if before is _ABSENT:
                    delattr(owner, name)
                else:
                    setattr(owner, name, before)


class Enabled:
    """What enable() returns: leaving its `with` block switches off what entering it had switched on."""

    def __init__(self, switch: Switch | None) -> None:
        self._switch = switch

    def __enter__(self) -> None:
        return None

    def __exit__(self, *error: Any) -> None:
        if self._switch is not None:
            self._switch.disable()


def first_ours(ours: Callable[..., Any], original: Callable[..., Any]) -> Callable[..., Any]:
    """A call by our function, by the original where ours refuses the arguments: its callers know its errors."""

    @functools.wraps(original)
    def routed(*arguments: Any, **keywords: Any) -> Any:
        try:
            return ours(*arguments, **keywords)
        except (TypeError, ValueError):
            return original(*arguments, **keywords)

    return routed
