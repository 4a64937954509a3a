"""opt_einsum's contractions of torch tensors computed here, as one product each.

    irkernels.integrations.opt_einsum.enable()
    opt_einsum.contract("ij,jk,kl->il", A, B, C)
    irkernels.integrations.opt_einsum.disable()

Without it `contract(..., backend="irkernels")` works too, by name alone, one pair at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib import import_module
from typing import Any

from torch import Tensor

from irkernels.functional import einsum
from irkernels.integrations.switch import Enabled, Replacement, Switch

_BACKENDS = (None, "auto", "torch", "irkernels")
_KEYWORDS = {"optimize", "use_blas", "memory_limit", "backend"}
_OWN_CHOICE = (None, True, "auto")  # `optimize` without a wish of the caller's


def enable() -> Enabled:
    """Makes irkernels compute opt_einsum.contract and contract expressions of torch tensors, for the whole process.

    The planner chooses the order unless `optimize` names one, which is then followed.  Names bound before
    (`from opt_einsum import contract`) and expressions built before are served too, along opt_einsum's path; under a
    memory limit it is opt_einsum that finds the path.  Arrays of other packages, `out=`, `optimize=False` and what
    irkernels refuses (integers, complex numbers, mixed dtypes) are computed as before.  A second call changes nothing.
    In a `with` statement it holds for the block.

    Raises ImportError where opt_einsum is not installed.
    """
    return _switch.enable()


def disable() -> None:
    """Puts back what enable() found."""
    _switch.disable()


def _replacements() -> Iterator[Replacement]:
    try:
        package, module = import_module("opt_einsum"), import_module("opt_einsum.contract")
    except ImportError as error:
        raise ImportError(
            "irkernels.integrations.opt_einsum needs opt_einsum, which is not installed (pip install opt_einsum)"
        ) from error
    contract = _whole(package.contract)
    yield package, "contract", contract
    yield module, "contract", contract
    yield module, "_core_contract", _stepwise(module._core_contract)


def _whole(original: Any) -> Any:
    """contract, before a path is searched."""

    def contract(*arguments: Any, **keywords: Any) -> Any:
        if _ours(arguments, keywords):
            optimize = keywords.get("optimize", True)
            try:
                return einsum(*arguments, path=None if _is_own_choice(optimize) else optimize)
            except (TypeError, ValueError):
                pass
        return original(*arguments, **keywords)

    contract.__doc__, contract.__name__ = original.__doc__, original.__name__
    contract.__wrapped__ = original  # type: ignore[attr-defined]
    return contract


def _stepwise(original: Any) -> Any:
    """What contract and contract expressions call with their operands and the steps of a path."""

    def core_contract(
        operands: Sequence[Any], steps: Sequence[tuple[Any, ...]], backend: Any = "auto", **keywords: Any
    ) -> Any:
        plain = all(value is None or value is False for value in keywords.values())
        if plain and steps and backend in _BACKENDS and all(isinstance(operand, Tensor) for operand in operands):
            equation, path = _read_steps(len(operands), steps)
            try:
                return einsum(equation, *operands, path=path)
            except (TypeError, ValueError):
                pass
        return original(operands, steps, backend=backend, **keywords)

    return core_contract


def _ours(arguments: tuple[Any, ...], keywords: dict[str, Any]) -> bool:
    text = arguments and isinstance(arguments[0], str)
    operands = arguments[1:] if text else arguments[: len(arguments) // 2 * 2 : 2]
    return (
        bool(operands)
        and all(isinstance(operand, Tensor) for operand in operands)
        and keywords.keys() <= _KEYWORDS
        and keywords.get("backend") in _BACKENDS
        and keywords.get("memory_limit") in (None, -1)
        and keywords.get("optimize") is not False  # numpy.einsum then, whatever the operands are
    )


def _is_own_choice(optimize: Any) -> bool:
    return any(optimize is choice or (isinstance(optimize, str) and optimize == choice) for choice in _OWN_CHOICE)


def _read_steps(count: int, steps: Sequence[tuple[Any, ...]]) -> tuple[str, list[tuple[int, ...]]]:
    """The equation of the operands and its path, from steps (positions, _, equation of these operands, ...).

    A step takes its operands away in the order of its terms and appends its result.
    """
    terms = [""] * count
    remaining: list[int] = list(range(count))  # operands not met yet; results are -1
    result = ""
    for positions, _, equation, *_ in steps:
        inputs, _, result = equation.partition("->")
        for position, term in zip(positions, inputs.split(",")):
            operand = remaining.pop(position)
            if operand >= 0:
                terms[operand] = term
        remaining.append(-1)
    return f"{','.join(terms)}->{result}", [tuple(step[0]) for step in steps]


_switch = Switch(_replacements)
