"""Observed entries in the order in which a training plan visits them: most of a step then reads memory in sequence."""

from __future__ import annotations

import torch
from torch import Tensor

from irkernels.observed import Coordinates, Sorted

# From so many entries on, what a step notes of each no longer lies in a core's own cache. The loss is then added up in
# another order, so this is a function of the number of entries alone.
_MANY = 2**18


def arrangement_bytes(at: Coordinates, orders: list[list[int]], values: Tensor, weights: Tensor | None) -> int:
    """What `arranged` keeps beside what it is given."""
    if at.nnz < _MANY or not orders:
        return 0
    numbers = sum(each.numel() * each.itemsize for each in (values, weights) if each is not None)
    return numbers + len(orders) * at.nnz * at.columns.itemsize


def arranged(
    at: Coordinates, orders: list[list[int]], values: Tensor, weights: Tensor | None
) -> tuple[tuple[int, Tensor, tuple[Sorted, ...]], Tensor, Tensor | None]:
    """What a native call reads of many entries: (nnz, columns, orders), values and weights [1 or T, nnz].

    Entries are numbered by their place in the plan's first order, which its products take; the groups of the others
    keep their members and the members' order, so gradients keep their bits. Few entries stay as they are.
    """
    found = [at.sorted_by(tuple(columns)) for columns in orders]
    if at.nnz < _MANY or not found:
        return (at.nnz, at.columns, tuple(found)), values, weights
    perm = found[0].perm.long()
    place = torch.empty_like(found[0].perm)
    place[perm] = torch.arange(at.nnz, dtype=place.dtype, device=place.device)
    entries = (at.nnz, found[0].columns, tuple(each._replace(perm=place[each.perm.long()]) for each in found))
    return entries, values[:, perm], None if weights is None else weights[:, perm]
