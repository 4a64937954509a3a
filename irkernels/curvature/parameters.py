"""The operands that move as one vector for each trial: [trials, P]."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import reduce
from operator import add

import torch
from torch import Tensor

from irkernels.curvature.problem import Problem
from irkernels.reference.equation import ELLIPSIS


class Parameters:
    """`trials`, the number of losses, and `count`, the elements P of one trial's parameters.

    A tensor at several positions is one parameter.  Raises ValueError for an operand that trials share.
    """

    def __init__(self, problem: Problem) -> None:
        self._dense, self._operands = problem.dense, len(problem.operands)
        self.trials = math.prod(self._dense)
        self._places: dict[int, list[int]] = {}  # of each parameter, by the tensor's identity
        for position, (tensor, wanted) in enumerate(zip(problem.given, problem.wanted)):
            if wanted:
                self._places.setdefault(id(tensor), []).append(position)
                _check_trials(position, tensor, problem.terms[position], self._dense)
        firsts = [positions[0] for positions in self._places.values()]
        self._shapes = [problem.given[first].shape[len(self._dense) :] for first in firsts]
        self._sizes = [math.prod(shape) for shape in self._shapes]
        self.count = sum(self._sizes)

    def split(self, vectors: Tensor) -> list[Tensor | None]:
        """[trials, P] -> a tangent for each operand of the problem."""
        tangents: list[Tensor | None] = [None] * self._operands
        parts = vectors.split(self._sizes, dim=1)
        for part, shape, positions in zip(parts, self._shapes, self._places.values()):
            for position in positions:
                tangents[position] = part.reshape(*self._dense, *shape)
        return tangents

    def join(self, found: Sequence[Tensor | None]) -> Tensor:
        """One result for each operand -> [trials, P]; those of one parameter add."""
        parts = []
        for first, *others in self._places.values():
            added = [part for p in (*others, first) if (part := found[p]) is not None]
            parts.append(reduce(add, added).reshape(self.trials, -1))
        return torch.cat(parts, dim=1)


def _check_trials(position: int, operand: Tensor, term: str, dense: tuple[int, ...]) -> None:
    if dense and not (term.startswith(ELLIPSIS) and operand.shape[: len(dense)] == dense):
        raise ValueError(
            f"operand {position} of shape {list(operand.shape)} is shared by trials {list(dense)}: each trial's"
            " parameters are its own (leave the operand out of wrt, or expand it)"
        )
