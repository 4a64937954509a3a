"""Listed entries from gathered rows, for orders so high that no tensor of the contraction tree can be formed.

Each operand's output letters are replaced by one letter, the entry: y_n = P(rows of the factors at entry n).
"""

from __future__ import annotations

import torch
from torch import Tensor

from irkernels.copies import explicit, fresh_letter
from irkernels.observed import Coordinates


def gathered(equation: str, operands: tuple[Tensor, ...], at: Coordinates) -> tuple[str, tuple[Tensor, ...]]:
    """The dense product over entries, `...` first, and its operands [nnz, rest]; differentiable in the operands."""
    left, _, output = explicit(equation).partition("->")
    columns = dict(zip(output.replace("...", ""), at.at.unbind(1)))
    entry = fresh_letter(equation)
    terms, rows = [], []
    for term, operand in zip(left.split(","), operands):
        before, dots, after = term.partition("...")
        spread = operand.dim() - len(before) - len(after) if dots else 0
        axes = [*before, *["..."] * spread, *after]
        listed = [axis for axis, letter in enumerate(axes) if letter in columns]
        if not listed:
            terms.append(term)
            rows.append(operand)
            continue
        kept = [axis for axis, letter in enumerate(axes) if letter not in columns]
        # an axis of extent 1 broadcasts: whatever the coordinate, it is read at 0
        index = tuple(torch.clamp(columns[axes[axis]], max=operand.shape[axis] - 1) for axis in listed)
        rows.append(operand.permute(*listed, *kept)[index])
        terms.append(entry + "".join(letter for letter in term if letter not in columns))
    return ",".join(terms) + "->" + ("..." if "..." in output else "") + entry, tuple(rows)
