"""Checks of the arguments that families share: extents, ranks, depth and chains."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from torch import Tensor

from irkernels._arguments import integer, real


def one_of(name: str, value: Any, known: Collection[str]) -> str:
    """The value.  Raises ValueError naming what is known."""
    if not isinstance(value, str) or value not in known:
        raise ValueError(f"unknown {name} {value!r}; known are {', '.join(known)}")
    return value


def extents(name: str, given: Any, count: int | None = None) -> list[int]:
    """Positive integers, `count` of them if given.  Raises TypeError and ValueError naming the argument."""
    if isinstance(given, str) or not isinstance(given, Sequence):
        raise TypeError(f"{name} must be a sequence of integers, got {given!r}")
    if not given:
        raise ValueError(f"{name} must have at least one entry")
    if count is not None and len(given) != count:
        raise ValueError(f"{name} must have {count} entries, got {len(given)}")
    return [integer(f"{name}[{i}]", each, 1) for i, each in enumerate(given)]


def each_or_all(name: str, given: Any, count: int) -> list[int]:
    """`count` positive integers, or one that stands for all."""
    return extents(name, given, count) if isinstance(given, Sequence) else [integer(name, given, 1)] * count


def pair(name: str, given: Any) -> tuple[Any, Any]:
    """The two parts of a factored tensor, (weights or core, factors).  Raises TypeError."""
    try:
        first, second = given
    except (TypeError, ValueError):
        raise TypeError(f"{name} must be a pair, (weights or core, factors), got {type(given).__name__}") from None
    return first, second


def tensors(name: str, given: Any, dims: int) -> list[Tensor]:
    """A sequence of one tensor at least, each of so many dimensions, of one dtype and device.

    Raises TypeError and ValueError naming the tensor by position.
    """
    if isinstance(given, (str, Tensor)) or not hasattr(given, "__iter__"):
        raise TypeError(f"{name} must be a sequence of tensors, got {type(given).__name__}")
    found: list[Tensor] = list(given)
    if not found:
        raise ValueError(f"{name} must have at least one entry")
    for position, each in enumerate(found):
        if real(f"{name}[{position}]", each).dim() != dims:
            raise ValueError(f"{name}[{position}] must have {dims} dimensions, got shape {list(each.shape)}")
        if each.dtype != found[0].dtype or each.device != found[0].device:
            raise TypeError(
                f"{name}[{position}] is {each.dtype} on {each.device}, {name}[0] is {found[0].dtype} on"
                f" {found[0].device} (must be equal)"
            )
    return found


def chained_by(depth: Any, chains: Any, hidden: Any) -> dict[str, Any]:
    """Arguments of Structure.chain: how deep, one chain for each factor or one for each column, how wide inside."""
    columns = one_of("chains", chains, ("column", "factor")) == "column"
    hidden = None if hidden is None else integer("hidden", hidden, 1)
    return {"depth": integer("depth", depth, 1), "hidden": hidden, "columns": columns}
