"""An experiment's parameters from the command line: `--depth 2,3,4 --init-scale 1e-3,1e-4`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

SCALES = ("quick", "paper")


def parameters_of(experiment: Any, scale: str, given: Mapping[str, Any], words: Sequence[str] = ()) -> dict[str, Any]:
    """Those of the scale, changed by what is given by name and by words of the command line.

    A list is for a parameter that may be swept: one that is a tuple, or "paper", by default.  Raises ValueError.
    """
    found = {**experiment.PARAMETERS, **(experiment.QUICK if scale == "quick" else {})}
    found |= {name: value for name, value in given.items() if value is not None}
    for name, text in _pairs(words):
        if name not in found:
            known = ", ".join("--" + each.replace("_", "-") for each in found)
            raise ValueError(f"unknown option --{name.replace('_', '-')}; this experiment has {known}")
        found[name] = _read(name, text, experiment.PARAMETERS[name])
    return found


def sweepable(experiment: Any) -> list[str]:
    """The parameters that take a list."""
    return [name for name, value in experiment.PARAMETERS.items() if isinstance(value, tuple) or value == "paper"]


def _pairs(words: Sequence[str]) -> list[tuple[str, str]]:
    rest, pairs = list(words), []
    while rest:
        word = rest.pop(0)
        if not word.startswith("--"):
            raise ValueError(f"unexpected {word!r}; a list of values has commas and no spaces, as in --depth 2,3,4")
        name, equals, value = word[2:].partition("=")
        if not equals:
            if not rest:
                raise ValueError(f"{word}: a value is missing")
            value = rest.pop(0)
        pairs.append((name.replace("-", "_"), value))
    return pairs


def _read(name: str, text: str, default: Any) -> Any:
    option, like = f"--{name.replace('_', '-')}", default[0] if isinstance(default, tuple) else default
    values = tuple(_value(option, part.strip(), like) for part in text.split(","))
    if isinstance(default, tuple) or default == "paper":
        if len(set(values)) < len(values):
            raise ValueError(f"{option} {text}: a value is there twice")
        if "paper" in values and len(values) > 1:
            raise ValueError(f"{option} {text}: paper stands alone")
        return text if values == ("paper",) else values
    if len(values) > 1:
        raise ValueError(f"{option} {text}: takes one value")
    return values[0]


def _value(option: str, text: str, like: Any) -> Any:
    if isinstance(like, str) and like != "paper":
        return text
    if text == "paper" == like:
        return text
    try:
        value = int(text) if isinstance(like, int) else float(text)
    except ValueError:
        kind = "whole number" if isinstance(like, int) else "number"
        raise ValueError(f"{option}: expected a {kind}, got {text!r}") from None
    if not math.isfinite(value) or value < 0:
        raise ValueError(f"{option}: expected a finite number, not negative, got {text}")
    return value
