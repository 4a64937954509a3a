"""What an operand may be: a strided torch.Tensor of a supported dtype, all of one dtype on one device."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from irkernels.observed import was_freed

DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def check_operands(operands: tuple[Any, ...]) -> None:
    """Raises TypeError (kind, layout, dtype) and ValueError (device), naming the operand, both sides and the rule."""
    for position, operand in enumerate(operands):
        check_kind(position, operand)
        if operand.dtype not in DTYPES:
            raise TypeError(
                f"operand {position} is {operand.dtype}; supported are float16, bfloat16, float32 and float64"
            )
        first = operands[0]
        if operand.dtype != first.dtype:
            raise TypeError(f"operand {position} is {operand.dtype}, operand 0 is {first.dtype} (dtypes must be equal)")
        if operand.device != first.device:
            raise ValueError(
                f"operand {position} is on {operand.device}, operand 0 is on {first.device} (devices must be equal)"
            )


def check_kind(position: int, operand: Any) -> None:
    """Raises TypeError for what is not a strided tensor, ValueError for one whose memory was given back."""
    if not isinstance(operand, Tensor):
        name = type(operand).__name__
        advice = {"ndarray": "torch.from_numpy", "list": "torch.tensor", "tuple": "torch.tensor"}.get(name)
        convert = f" (convert it with {advice})" if advice else ""
        raise TypeError(f"operand {position} must be a torch.Tensor, got {name}{convert}")
    if operand.layout != torch.strided:
        raise TypeError(
            f"operand {position} is {operand.layout}; supported is torch.strided (convert it with .to_dense())"
        )
    if was_freed(operand):
        raise ValueError(f"operand {position} has elements, but no memory (its storage was resized to nothing)")
