"""The rows that the step loop has noted, over all its calls."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from irkernels._watching import Records, Watching
from irkernels.training.distributed import Ranks


class Ledger:
    """Numbers of the probes at recorded steps, on the CPU, as blocks [probes, T, records]."""

    def __init__(self, names: list[str], records: Records | None) -> None:
        self._names, self._records = names, records
        self._blocks: list[Tensor] = []
        self._steps: list[range | Tensor] = []

    def add(self, watching: Watching, running: Tensor, reached: int) -> None:
        """The rows of a call before step `reached`; a trial not running when it began repeats what it last had."""
        if self._records is None or (count := watching.row(reached)) == 0:
            return
        rows = watching.rows[..., :count]
        if not running.all():
            rows = torch.where(running[:, None], rows, self._records.now[..., None])
        every = self._records.every
        first = -(-watching.first // every)
        self._append(rows, first, first + count, every)

    def extend(self, first: int, last: int) -> None:
        """Rows of the steps from `first` to before `last`, in which no trial of this process ran any more."""
        if self._records is not None:
            every = self._records.every
            begin, end = -(-first // every), -(-last // every)
            self._append(self._records.now[..., None].expand(-1, -1, end - begin), begin, end, every)

    def gather(self, ranks: Ranks) -> None:
        """The rows of all ranks' trials."""
        if self._records is not None:
            self._blocks, self._steps = [self._rows(self._records)], [self.steps]
            ranks.gather(self._blocks[0], axis=1)

    def close(self, step: int) -> None:
        """The state at the end, as the last row."""
        if self._records is not None:
            self._blocks.append(self._records.now[..., None].cpu().clone())
            self._steps.append(torch.tensor([step], device="cpu"))

    def _append(self, rows: Tensor, begin: int, end: int, every: int) -> None:
        """Rows of these multiples of `every`."""
        self._blocks.append(rows.cpu())
        self._steps.append(range(begin * every, end * every, every))

    @property
    def steps(self) -> Tensor:
        """int64 [records]"""
        empty = torch.empty(0, dtype=torch.int64, device="cpu")
        return torch.cat([empty, *map(_numbers, self._steps)])

    def arrays(self, trials: int | None) -> dict[str, Tensor]:
        """name -> [records, trials], [records] without trials."""
        if self._records is None:
            return {}
        arrays, empty = {}, self._records.now.cpu().new_empty(self._records.now.shape[1], 0)
        for p, name in enumerate(self._names):
            rows = torch.cat([empty, *(block[p] for block in self._blocks)], dim=-1)  # each trial's lie together
            arrays[name] = rows[0] if trials is None else rows.T
        return arrays

    def _rows(self, records: Records) -> Tensor:
        """[probes, T, records]"""
        empty = records.now.cpu().new_empty(*records.now.shape, 0)
        return torch.cat([empty, *self._blocks], dim=-1)

    def drop_from(self, step: int) -> None:
        """Forget the rows from `step` on, which the next call notes again."""
        if self._records is not None:
            kept = self.steps < step
            self._blocks, self._steps = [self._rows(self._records)[..., kept]], [self.steps[kept]]

    def state(self) -> dict[str, Any] | None:
        if self._records is None:
            return None
        return {"steps": self.steps, "rows": self._rows(self._records), "now": self._records.now.cpu()}

    def load(self, state: dict[str, Any] | None) -> None:
        if state is not None and self._records is not None:
            self._blocks, self._steps = [state["rows"]], [state["steps"]]
            self._records.now.copy_(state["now"])


def _numbers(steps: range | Tensor) -> Tensor:
    if isinstance(steps, Tensor):
        return steps
    return torch.arange(steps.start, steps.stop, steps.step, device="cpu")
