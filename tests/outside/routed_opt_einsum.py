"""A pytest plug-in (-p) that gives opt_einsum's own tests irkernels.einsum in place of opt_einsum.contract.

Loaded before the test modules, which bind the name at import. Calls with floating-point arrays and no keyword but those
below are ours, the `optimize` argument becoming the path; all others are the original's. The counts are printed last.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import opt_einsum
import torch

import irkernels as irk

_KEYWORDS = {"optimize", "use_blas", "backend", "memory_limit"}
_FLOATS = (np.float32, np.float64)
_original = opt_einsum.contract
_calls = {"routed": 0, "along a path": 0, "left": 0}


def contract(*arguments: Any, **keywords: Any) -> Any:
    """opt_einsum.contract by irkernels where it is about floating-point arrays."""
    if not _is_ours(arguments, keywords):
        _calls["left"] += 1
        return _original(*arguments, **keywords)
    _calls["routed"] += 1
    optimize = keywords.get("optimize", True)
    path = None if isinstance(optimize, bool) else optimize
    _calls["along a path"] += path is not None
    operands = [torch.from_numpy(a.copy()) if isinstance(a, np.ndarray) else a for a in arguments]
    return irk.einsum(*operands, path=path).numpy()


def _is_ours(arguments: tuple[Any, ...], keywords: dict[str, Any]) -> bool:
    text = arguments and isinstance(arguments[0], str)
    operands = arguments[1:] if text else arguments[: len(arguments) // 2 * 2 : 2]
    arrays = all(isinstance(operand, np.ndarray) and operand.dtype in _FLOATS for operand in operands)
    return (
        bool(operands)
        and arrays
        and keywords.keys() <= _KEYWORDS
        and keywords.get("backend") in (None, "auto", "numpy")
    )


def pytest_terminal_summary(terminalreporter: Any) -> None:
    terminalreporter.write_line("irkernels calls: " + ", ".join(f"{count} {kind}" for kind, count in _calls.items()))


opt_einsum.contract = contract
