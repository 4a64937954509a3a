"""Products too large or too small for their dtype: sign and logarithm, computed from the logarithms of the factors.

    sum_k a_k b_k = sign * exp(logabs),  logabs = m + log |sum_k s_k exp(log|a_k| + log|b_k| - m)|,  m the largest of
    the k
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from irkernels.reference.entries import gather, read_coordinates
from irkernels.reference.equation import ELLIPSIS, Term, read_equation


class LogScaled(NamedTuple):
    """A product as sign (-1, 0, 1) and logabs = log |product|, -inf where it is 0."""

    sign: Tensor
    logabs: Tensor


def log_einsum(equation: str, *operands: Tensor) -> LogScaled:
    """Sign and log of the dense product, each of its shape.  Raises what einsum raises."""
    read = read_equation(equation, operands)
    return _contract(read.terms, read.output, operands)


def log_entries(equation: str, *operands: Tensor, at: Any) -> LogScaled:
    """Sign and log of the entries, each [..., nnz].  Raises what entries raises."""
    read = read_equation(equation, operands)
    coordinates = read_coordinates(at, read)
    columns = dict(zip(read.letters, coordinates.at.unbind(1)))
    if not columns:
        value = _contract(read.terms, read.output, operands)
        return LogScaled(*(each.unsqueeze(-1).expand(*each.shape, coordinates.nnz) for each in value))
    entry = read.letters[0]
    gathered = [gather(entry, term, operand, columns) for term, operand in zip(read.terms, operands)]
    output = (ELLIPSIS, entry) if ELLIPSIS in read.output else (entry,)
    return _contract([term for term, _ in gathered], output, [factor for _, factor in gathered])


def _contract(terms: Sequence[Term], output: Term, operands: Sequence[Tensor]) -> LogScaled:
    """From left to right; a letter is summed with the last operand that has it."""
    spread = max(
        operand.dim() - sum(letter != ELLIPSIS for letter in term) if ELLIPSIS in term else 0
        for term, operand in zip(terms, operands)
    )
    dots = tuple(f"{ELLIPSIS}{i}" for i in range(spread))  # `...` as letters of its own
    spelled = [_spelled(term, dots, operand.dim()) for term, operand in zip(terms, operands)]
    result = _spelled(output, dots, len(dots) + len(output) - 1)
    letters: tuple[str, ...] = ()
    sign = operands[0].new_ones(())
    logabs = operands[0].new_zeros(())
    for position, (term, operand) in enumerate(zip(spelled, operands)):
        term, operand = _without_diagonals(term, operand)
        needed = set(result).union(*spelled[position + 1 :])
        both = (*letters, *(letter for letter in term if letter not in letters))
        sign = _aligned(sign, letters, both) * _aligned(operand.sign(), term, both)
        logabs = _aligned(logabs, letters, both) + _aligned(operand.abs().log(), term, both)
        summed = [axis for axis, letter in enumerate(both) if letter not in needed]
        if summed:
            sign, logabs = torch.broadcast_tensors(sign, logabs)
            sign, logabs = _log_sum(sign, logabs, summed)
        letters = tuple(letter for letter in both if letter in needed)
    order = [letters.index(letter) for letter in result]
    return LogScaled(*(each.permute(order) for each in torch.broadcast_tensors(sign, logabs)))


def _log_sum(sign: Tensor, logabs: Tensor, axes: list[int]) -> tuple[Tensor, Tensor]:
    if any(logabs.shape[axis] == 0 for axis in axes):
        total = logabs.sum(axes)
        return torch.zeros_like(total), torch.full_like(total, -torch.inf)
    most = logabs.detach().amax(axes, keepdim=True)
    most = torch.where(most.isinf(), 0, most)  # of zeros alone
    total = (sign * (logabs - most).exp()).sum(axes)
    return total.sign(), most.squeeze(tuple(axes)) + total.abs().log()


def _spelled(term: Term, dots: tuple[str, ...], dims: int) -> tuple[str, ...]:
    """The term with the innermost of the `...` letters that it has."""
    own = dims - (len(term) - 1) if ELLIPSIS in term else 0
    return tuple(each for letter in term for each in (dots[len(dots) - own :] if letter == ELLIPSIS else (letter,)))


def _without_diagonals(term: tuple[str, ...], operand: Tensor) -> tuple[tuple[str, ...], Tensor]:
    for letter in dict.fromkeys(term):
        while term.count(letter) > 1:
            first = term.index(letter)
            second = term.index(letter, first + 1)
            operand = operand.diagonal(dim1=first, dim2=second)
            term = (*(each for axis, each in enumerate(term) if axis not in (first, second)), letter)
    return term, operand


def _aligned(tensor: Tensor, letters: tuple[str, ...], both: tuple[str, ...]) -> Tensor:
    """The tensor with an axis for each letter of `both`, of size 1 where it has none."""
    present = [letter for letter in both if letter in letters]
    tensor = tensor.permute([letters.index(letter) for letter in present])
    return tensor[tuple(slice(None) if letter in present else None for letter in both)]
