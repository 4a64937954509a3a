"""An axis of independent copies: what torch's legacy batching (is_grads_batched=True) hides inside a tensor.

Such a tensor has no address. Its copies are brought out as one more `...` axis of every operand and of the output, so that
the product of all copies is one native call; results are hidden again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from irkernels.grammar import explicit, fresh_letters

is_copied = torch._C._functorch.is_legacy_batchedtensor

_DOTS = "..."


@dataclass(frozen=True)
class Copies:
    """The innermost level of legacy batching in force, and how many copies it has."""

    level: int
    count: int

    @classmethod
    def of(cls, tensors: Sequence[Tensor]) -> Copies:
        """The level and number of copies of the tensors that have them."""
        level = torch._C._vmapmode_increment_nesting() - 1
        torch._C._vmapmode_decrement_nesting()
        copied = next(tensor for tensor in tensors if is_copied(tensor))
        return cls(level, torch._remove_batch_dim(copied, level, 0, 0).shape[0])

    def unwrap(self, tensor: Tensor) -> Tensor:
        """[copies, ...], a view with stride 0 for a tensor without copies."""
        if is_copied(tensor):
            return torch._remove_batch_dim(tensor, self.level, self.count, 0)
        return tensor.expand(self.count, *tensor.shape)

    def wrap(self, tensor: Tensor, axis: int) -> Tensor:
        return torch._add_batch_dim(tensor, axis, self.level)

    def spread(self, equation: str, operands: Sequence[Tensor]) -> Spread:
        """The product of all copies: one equation whose `...` begins with them."""
        left, _, output = explicit(equation).partition("->")
        terms = [term.partition(_DOTS) for term in left.split(",")]
        physical = [self.unwrap(operand) for operand in operands]
        dots = [tensor.dim() - 1 - len(before) - len(after) for (before, _, after), tensor in zip(terms, physical)]
        most = max(dots)
        if _DOTS not in output:  # summed `...` axes become letters, and the copies are all of `...`
            fresh = fresh_letters(equation, most)
            named = [before + "".join(fresh[most - n :]) + after for (before, _, after), n in zip(terms, dots)]
            return Spread(",".join(_DOTS + term for term in named) + "->" + _DOTS + output, tuple(physical), (0,) * len(terms), 0)
        views, axes = [], []
        for (before, _, _), n, tensor in zip(terms, dots, physical):
            axis = len(before)
            moved = tensor.movedim(0, axis)
            views.append(moved[(slice(None),) * (axis + 1) + (None,) * (most - n)])
            axes.append(axis)
        joined = ",".join(before + _DOTS + after for before, _, after in terms)
        return Spread(f"{joined}->{output}", tuple(views), tuple(axes), output.index(_DOTS))


@dataclass(frozen=True)
class Spread:
    """A product of copies: the equation, its operands, and the axis of the copies in each of them and in the output."""

    equation: str
    operands: tuple[Tensor, ...]
    axes: tuple[int, ...]
    output_axis: int
