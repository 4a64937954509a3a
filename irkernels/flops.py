"""What torch.utils.flop_counter counts of the leaf operators of ops.py: two for each multiply-add of their plans."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from irkernels import _launch


def value(equation: str, operands: Sequence[Tensor], at: Tensor | None = None, **_: Any) -> int:
    return _counted("value", equation, (False,) * len(operands), operands, at)


def forward(
    equation: str, wanted: Sequence[bool], operands: Sequence[Tensor], at: Tensor | None = None, **_: Any
) -> int:
    return _counted("forward", equation, wanted, operands, at)


def pullback(
    equation: str, wanted: Sequence[bool], operands: Sequence[Tensor], cotangent: Tensor, saved: Tensor | None,
    at: Tensor | None = None, **_: Any,
) -> int:  # fmt: skip
    stage = "gradients" if saved is None or saved.numel() == 0 else "backward"
    return _counted(stage, equation, wanted, operands, at)


def loss(
    equation: str, wanted: Sequence[bool], operands: Sequence[Tensor], values: Tensor, weights: Tensor | None,
    kind: str, delta: float, at: Tensor, **_: Any,
) -> int:  # fmt: skip
    return _counted("loss", equation, wanted, operands, at)


def _counted(
    stage: str, equation: str, wanted: Sequence[bool], operands: Sequence[Tensor], at: Tensor | None
) -> int:
    return 2 * _launch.multiply_adds(stage, equation, tuple(wanted), operands, -1 if at is None else at.shape[0])
