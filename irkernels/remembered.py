"""A cache for functions of hashable arguments that torch.compile looks through; of functools' own it warns users."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import Any, ParamSpec, TypeVar, cast

import torch

_Given = ParamSpec("_Given")
_Found = TypeVar("_Found")
_MOST = 1024  # results of one function


def remembered(function: Callable[_Given, _Found]) -> Callable[_Given, _Found]:
    """The function, computed once for each of the last arguments."""
    kept: Callable[_Given, _Found] = cast(Any, lru_cache(_MOST)(function))

    @wraps(function)
    def found(*given: _Given.args, **named: _Given.kwargs) -> _Found:
        return function(*given, **named) if torch.compiler.is_compiling() else kept(*given, **named)

    return found
