"""What is noted of every step and when a trial stops, in plain torch: what every native step loop must equal."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from irkernels._watching import Limits, Number, Records, Watching

_CONVERGED, _DIVERGED = 1, 2

_BINARY: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "add": torch.add,
    "subtract": torch.sub,
    "multiply": torch.mul,
    "divide": torch.div,
    "less": lambda a, b: (a < b).to(a.dtype),
    "at_most": lambda a, b: (a <= b).to(a.dtype),
}


_UNARY = {"absolute": torch.abs, "root": torch.sqrt}


def count(numbers: list[Number], losses: Tensor, watched: Tensor, determinants: Tensor) -> list[Tensor]:
    """Each number, [T], from losses [T], watched entries [T, n] and determinants [T]."""
    values: list[Tensor] = []
    for word, a, b, constant in numbers:
        if word in _BINARY:
            value = _BINARY[word](values[a], values[b])
        elif word in _UNARY:
            value = _UNARY[word](values[a])
        elif word == "power":
            value = values[a] ** b
        elif word == "choose":
            value = torch.where(values[b] != 0, values[a], constant)
        elif word == "watched":
            value = watched[:, a]
        else:
            value = {"loss": losses, "determinant": determinants}.get(word, torch.full_like(losses, constant))
        values.append(value)
    return values


class Watch:
    """One engine call's looks at its steps; product: W [T, ...] of the factors as they stand."""

    def __init__(self, watching: Watching, steps: int, product: Callable[[], Tensor]) -> None:
        self._watching, self._product = watching, product
        self._end = watching.first + steps

    def look(self, step: int, losses: Tensor, active: Tensor) -> Tensor:
        """Notes what is due; which trials go on to their update."""
        records, limits = self._watching.records, self._watching.limits
        if records is not None:
            due = step == self._end or step % records.every == 0
            if due or records.each_step:
                self._note(records, losses, active, due)
            if due and step < self._end:
                row = self._watching.row(step)
                self._write(records, row, row + 1, active)
        if limits is None or step % limits.every or step <= limits.checked:
            return active
        verdicts = _judge(limits, losses, active)
        for verdict in (_CONVERGED, _DIVERGED):
            self.leave(step, losses, verdicts == verdict, verdict)
        return active & (verdicts == 0)

    def leave(self, step: int, losses: Tensor, which: Tensor, verdict: int = _DIVERGED) -> None:
        """These trials stop at `step`: what is there to note of it stands in all their rows to come."""
        if not which.any():
            return
        self._watching.verdicts[which] = verdict
        records = self._watching.records
        if records is not None:
            self._note(records, losses, which, due=True)
            self._write(records, self._watching.row(step), self._watching.row(self._end), which)

    def _note(self, records: Records, losses: Tensor, which: Tensor, due: bool) -> None:
        numbers = records.numbers if due else records.numbers[: records.each_step]
        watched = determinants = losses
        if records.watches(len(numbers)):
            watched, determinants = _watched(records, self._product())
        values = count(numbers, losses, watched, determinants)
        for p, (number, keep) in enumerate(records.probes):
            if number >= len(numbers) or (keep == "value" and not due):
                continue
            value = values[number].to(records.now.dtype)
            if keep != "value":
                value = (torch.minimum if keep == "least" else torch.maximum)(records.now[p], value)
            records.now[p] = torch.where(which, value, records.now[p])

    def _write(self, records: Records, first: int, last: int, which: Tensor) -> None:
        rows = self._watching.rows[..., first:last]
        rows.copy_(torch.where(which[:, None], records.now[..., None], rows))


def _watched(records: Records, product: Tensor) -> tuple[Tensor, Tensor]:
    """The watched entries [T, n], and the determinants [T] where some probe asks for them."""
    if records.entries is not None:
        watched = torch.stack([product.movedim(0, -1)[at] for at in records.entries], dim=1)
        return watched, watched[:, 0]
    watched = product.flatten(1)
    if not records.order:
        return watched, watched[:, 0]
    wide = product.float() if product.dtype in (torch.float16, torch.bfloat16) else product
    return watched, torch.linalg.det(wide)


def _judge(limits: Limits, losses: Tensor, active: Tensor) -> Tensor:
    """uint8 [T]: 0 where the trial goes on."""
    streak = torch.where(losses < limits.below, limits.streak + 1, torch.zeros_like(limits.streak))
    limits.streak.copy_(torch.where(active, streak, limits.streak))
    verdicts = torch.zeros_like(active, dtype=torch.uint8)
    verdicts[active & (losses > limits.above)] = _DIVERGED
    verdicts[active & (limits.streak >= limits.patience)] = _CONVERGED
    return verdicts
