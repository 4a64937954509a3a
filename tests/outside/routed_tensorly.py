"""A pytest plug-in (-p) under which TensorLy's own tests run with irkernels on (TENSORLY_BACKEND=pytorch).

The counts of calls that irkernels answered are printed last; a call that it refused is TensorLy's and not counted.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable
from typing import Any

from irkernels.integrations import tensorly as integration

_calls: Counter[str] = Counter()


def _counted(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def call(*arguments: Any, **keywords: Any) -> Any:
        result = function(*arguments, **keywords)
        _calls[name] += 1
        return result

    return call


def pytest_terminal_summary(terminalreporter: Any) -> None:
    terminalreporter.write_line("irkernels calls: " + ", ".join(f"{count} {name}" for name, count in _calls.items()))


integration.einsum = _counted("einsum", integration.einsum)
integration.FUNCTIONS = {name: _counted(name, function) for name, function in integration.FUNCTIONS.items()}
integration.enable()
