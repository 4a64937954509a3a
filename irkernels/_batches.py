"""Mini-batches for the native step loop: those of many steps at once, into memory taken once, shared by all trials.

For each step: the observations drawn (csrc/plan/sampler.h), their coordinates and sorted orders as the plan reads them
(csrc/plan/listing.h), their values and weights, and their rows of the measurements' constants.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from irkernels import _native
from irkernels._problem import Problem
from irkernels._watching import Watching
from irkernels.observed import Coordinates, Observed

_BYTES = 4 << 20  # of all steps drawn at once: a native call's own cost no longer counts, and near caches hold them
_MOST_STEPS = 4096


def observations(problem: Problem) -> tuple[Tensor, Tensor | None]:
    """Values [1 or T, n, ...] and weights [1 or T, n] of the n observed entries, or of a dense target's rows."""
    data = problem.data
    if isinstance(data, Observed):
        return data.values.view(-1, data.nnz), None if data.weights is None else data.weights.view(-1, data.nnz)
    order = len(problem.equation.partition("->")[2])
    data = data.contiguous()
    return data.view(-1, *data.shape[data.dim() - order :]) if order else data.view(-1, 1), None


def strided(rows: Tensor | None) -> tuple[Tensor | None, int]:
    """With the elements from one trial's rows to the next's, 0 where they share."""
    return rows, 0 if rows is None or len(rows) == 1 else rows[0].numel()


def in_batches(
    batches: Batches,
    operands: tuple[Tensor, ...],
    watching: Watching,
    steps: int,
    active: Tensor,
    run: Callable[..., None],
) -> Tensor:
    """`steps` steps from watching.first on, in native calls of as many as there is room for: updates of each trial [T].

    run(operands, entries, target, begin, steps, active, done, batches, look_back) is one such call.
    """
    # what follows takes no memory: as many native calls as one may have to be made
    active, going, some = active.clone(), torch.empty_like(active), active.new_empty(())
    done, made, all_made = torch.zeros(3, len(active), dtype=torch.int64, device=active.device).unbind()
    # to look back takes a batch too
    begins = [*range(0, steps, batches.steps), *([steps] if watching.look_back else [])]
    for begin in begins:
        now = min(batches.steps, steps - begin)
        made.zero_()
        target, rows, drawn = batches.draw(watching.first + begin, max(now, 1))
        chosen = tuple(rows.get(p, operand) for p, operand in enumerate(operands))
        run(chosen, (-1, None, ()), target, begin, now, active, made, drawn, now == 0)
        done += made
        active &= torch.eq(made, all_made.fill_(now), out=going)  # the others have stopped
        if not torch.any(active, 0, out=some).item():
            break
    return done


class Batches:
    """Room for batches of `size` observations of a problem, of as many steps at once as `steps` says.

    orders: the columns of each sorted order of the entries that the plan reads.  limit: bytes, or None.
    Raises MemoryError where the limit has no room for the batch of one step.
    """

    def __init__(self, problem: Problem, size: int, orders: Sequence[Sequence[int]], limit: int | None) -> None:
        data, (values, weights) = problem.data, observations(problem)
        self._size = size
        self._seed, self._count = problem.sampler_seed, values.shape[1]
        self._values = _Gathered(values, size)
        self._weights = None if weights is None else _Gathered(weights, size)
        self._constants = {
            position: _Gathered(problem.constants[position].unsqueeze(0), size) for position in problem.rows
        }
        self._entries = _Entries(data.coordinates, orders, size) if isinstance(data, Observed) else None
        parts: list[_Gathered | _Entries] = [self._values, *self._constants.values()]
        parts += [part for part in (self._weights, self._entries) if part is not None]
        step_bytes = size * torch.int64.itemsize + sum(part.step_bytes for part in parts)
        fixed_bytes = 0 if self._entries is None else self._entries.fixed_bytes
        if limit is not None and fixed_bytes + step_bytes > limit:
            raise MemoryError(
                f"memory_limit leaves {max(limit, 0)} bytes for mini-batches,"
                f" but those of one step need {fixed_bytes + step_bytes}"
            )
        room = _BYTES if limit is None else min(_BYTES, limit - fixed_bytes)
        self.steps = max(1, min(_MOST_STEPS, room // step_bytes))
        self.bytes = fixed_bytes + self.steps * step_bytes
        self._indices = torch.empty(self.steps, size, dtype=torch.int64, device="cpu")
        for part in parts:
            part.allocate(self.steps)

    def draw(self, first: int, steps: int) -> tuple[tuple[Any, ...], dict[int, Tensor], tuple[Any, ...]]:
        """The batches of `steps` steps from step `first` on.

        Returns values and weights with their strides between trials; the gathered constants by position; and what
        csrc/bind/batches.h reads.
        """
        _native.draw_batches(self._indices, steps, self._size, self._count, self._seed, first)
        chosen = self._indices[:steps].view(-1).to(self._values.device)
        values, values_trial, values_step = self._values.take(chosen)
        weights, weights_trial, weights_step = (None, 0, 0) if self._weights is None else self._weights.take(chosen)
        taken = {position: each.take(chosen) for position, each in self._constants.items()}
        entries = None if self._entries is None else self._entries.listed(self._indices, steps, self._count)
        rows = tuple((position, step) for position, (_, _, step) in taken.items())
        constants = {position: tensor[0, : self._size] for position, (tensor, _, _) in taken.items()}
        target = (values, values_trial, weights, weights_trial)
        return target, constants, (self._size, entries, values_step, weights_step, rows)


class _Gathered:
    """Rows of a tensor [lead, count, ...], those of many steps side by side: [lead, steps * size, ...]."""

    def __init__(self, source: Tensor, size: int) -> None:
        self._source, self._size, self._rest, self.device = source, size, source.shape[2:], source.device
        self.step_bytes = source.shape[0] * size * math.prod(self._rest) * source.itemsize

    def allocate(self, steps: int) -> None:
        self._room = self._source.new_empty(steps * self.step_bytes // self._source.itemsize)

    def take(self, chosen: Tensor) -> tuple[Tensor, int, int]:
        """The rows, the elements between trials (0 where they share) and those between steps."""
        lead, row = self._source.shape[0], math.prod(self._rest)
        room = self._room[: lead * len(chosen) * row].view(lead, len(chosen), *self._rest)
        torch.index_select(self._source, 1, chosen, out=room)
        return room, 0 if lead == 1 else len(chosen) * row, self._size * row


class _Entries:
    """Coordinates of the drawn entries and their sorted orders, in the coordinates' own integer type.

    They are listed on the CPU, and from there go to where the coordinates are.
    """

    def __init__(self, at: Coordinates, orders: Sequence[Sequence[int]], size: int) -> None:
        self._at, self._orders, self._size = at, [tuple(order) for order in orders], size
        self._columns = len(at.shape)
        index = at.columns.itemsize
        each = (2 + self._columns) * size * index + index + torch.int64.itemsize
        self.step_bytes = self._columns * size * index + len(orders) * each
        self.fixed_bytes = len(orders) * at.nnz * index + 4 * size * torch.int64.itemsize  # ranks, room to sort

    def allocate(self, steps: int) -> None:
        self._all = self._at.columns.cpu()
        new, size = self._all.new_empty, self._size
        columns = max(1, self._columns)  # an axis of none has strides of its own
        self._drawn = new(steps, columns, size)
        self._work = torch.empty(4 * size, dtype=torch.int64, device="cpu")
        self._sorted = [
            (self._ranks(order), list(order), new(steps, size), new(steps, size + 1), new(steps, columns, size),
             torch.empty(steps, dtype=torch.int64, device="cpu"))
            for order in self._orders
        ]  # fmt: skip

    def _ranks(self, order: tuple[int, ...]) -> Tensor:
        """Where each entry stands among all in this order."""
        perm = self._at.sorted_by(order).perm.cpu()
        return torch.empty_like(perm).scatter_(0, perm.long(), torch.arange(len(perm), dtype=perm.dtype, device="cpu"))

    def listed(self, indices: Tensor, steps: int, count: int) -> tuple[Tensor, tuple[Any, ...]]:
        _native.list_batches(
            indices, steps, self._size, count, self._columns, self._all, self._drawn, tuple(self._sorted), self._work,
        )  # fmt: skip
        there = self._at.columns.device
        orders = ((*(part.to(there) for part in parts), groups) for _, _, *parts, groups in self._sorted)
        return self._drawn.to(there), tuple(orders)
