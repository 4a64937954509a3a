"""Axes of independent copies: what torch.func.vmap and legacy batching (is_grads_batched=True) hide inside tensors.

Copies are brought out as one more `...` axis of the operands that have them and of the output, so that the product of
all copies is one native call. A tensor of legacy batching has no address: it is unwrapped, and results are wrapped.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from irkernels.grammar import explicit, fresh_letters
from irkernels.reference.equation import read_equation

is_copied = torch._C._functorch.is_legacy_batchedtensor

_DOTS = "..."


@dataclass(frozen=True)
class Spread:
    """The product of all copies: equation, operands, and where the copies are in each of them and in the output."""

    equation: str
    operands: tuple[Tensor, ...]
    axes: tuple[int, ...]  # of operands that have copies
    output_axis: int

    @classmethod
    def of(cls, equation: str, operands: Sequence[Tensor], copied: Sequence[bool]) -> Spread:
        """operands: [copies, ...] where `copied`, else as the equation takes them. Raises what the product raises."""
        left, _, output = explicit(equation).partition("->")
        terms = [term.partition(_DOTS) for term in left.split(",")]
        dots = _dots(equation, terms, operands, copied)
        most = max(dots)
        if _DOTS not in output:  # summed `...` axes become letters, and the copies are all of `...`
            fresh = fresh_letters(equation, most)
            named = [before + "".join(fresh[most - n :]) + after for (before, _, after), n in zip(terms, dots)]
            joined = ",".join(_DOTS + term if c else term for term, c in zip(named, copied))
            return cls(f"{joined}->{_DOTS}{output}", tuple(operands), (0,) * len(terms), 0)
        axes = tuple(len(before) for before, _, _ in terms)
        views = [
            tensor.movedim(0, axis)[(slice(None),) * (axis + 1) + (None,) * (most - n)] if c else tensor
            for tensor, c, axis, n in zip(operands, copied, axes, dots)
        ]
        joined = ",".join(
            before + (_DOTS if c else dotted) + after for (before, dotted, after), c in zip(terms, copied)
        )
        return cls(f"{joined}->{output}", tuple(views), axes, output.index(_DOTS))


def _dots(
    equation: str, terms: list[tuple[str, str, str]], operands: Sequence[Tensor], copied: Sequence[bool]
) -> list[int]:
    """How many `...` axes each operand has, copies not counted."""
    named = [len(before) + len(after) for before, _, after in terms]
    dots = [tensor.dim() - c - n for tensor, c, n in zip(operands, copied, named)]
    fits = len(terms) == len(operands) and all(n == 0 or (n > 0 and term[1]) for term, n in zip(terms, dots))
    if not fits:
        one = tuple(tensor.new_empty(tensor.shape[int(c) :]) for tensor, c in zip(operands, copied))
        read_equation(equation, one)  # raises: in terms of what the caller sees, one copy
    return dots


@dataclass(frozen=True)
class Copies:
    """A level of legacy batching, and how many copies it has."""

    level: int
    count: int

    @classmethod
    def of(cls, tensors: Sequence[Tensor]) -> Copies:
        """The innermost level that some of the tensors have."""
        innermost = torch._C._vmapmode_increment_nesting() - 1
        torch._C._vmapmode_decrement_nesting()
        for level in range(innermost, 0, -1):
            counts = [count for tensor in tensors if (count := _count(tensor, level)) is not None]
            if counts:
                return cls(level, counts[0])
        raise RuntimeError("a tensor of legacy batching is used outside of the call that batched it")

    def bring_out(self, tensors: Sequence[Tensor]) -> tuple[list[Tensor], list[bool]]:
        """The tensors, [copies, ...] where they have copies at this level, and whether they have."""
        copied = [_count(tensor, self.level) is not None for tensor in tensors]
        bare = [
            torch._remove_batch_dim(tensor, self.level, self.count, 0) if c else tensor
            for tensor, c in zip(tensors, copied)
        ]
        return bare, copied

    def hide(self, tensor: Tensor, axis: int) -> Tensor:
        """The tensor with the copies on its axis hidden; first in memory, where torch needs them for as_strided."""
        return torch._add_batch_dim(tensor.movedim(axis, 0).contiguous(), 0, self.level)


def _count(tensor: Tensor, level: int) -> int | None:
    """Copies of a tensor at a level of legacy batching: None without."""
    if not is_copied(tensor):
        return None
    # a tensor without the level is expanded to the size asked for
    first, second = (torch._remove_batch_dim(tensor, level, size, 0).shape[0] for size in (0, 1))
    return first if first == second else None
