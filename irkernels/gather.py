"""Listed entries from gathered rows, for orders so high that no tensor of the contraction tree can be formed.

Each operand's output letters are replaced by one letter, the entry: y_n = P(rows of the factors at entry n).
"""

from __future__ import annotations

import torch
from torch import Tensor

from irkernels.grammar import PATH_MARK, explicit, fresh_letters
from irkernels.observed import Coordinates


def gathered(equation: str, operands: tuple[Tensor, ...], at: Coordinates) -> tuple[str, tuple[Tensor, ...]]:
    """The dense product over entries, `...` first, and its operands [nnz, rest]; differentiable in the operands."""
    left, _, output = explicit(equation).partition("->")
    output, mark, path = output.partition(PATH_MARK)
    columns = dict(zip(output.replace("...", ""), at.at.unbind(1)))
    (entry,) = fresh_letters(equation, 1)
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
    return f"{','.join(terms)}->{'...' if '...' in output else ''}{entry}{mark}{path}", tuple(rows)
