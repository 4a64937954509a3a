"""A fit shared by the processes of torch.distributed: whole trials, or the observations of each of them.

Trials: every rank holds all of them and trains its own; what they have become is exchanged at the end, bit for bit what
one process gets.  Observations: every rank takes every step of all trials with the gradient of all ranks' observations,
the mean over all of them and the penalties on the product, in a Python loop with an all-reduce a step.
"""

from __future__ import annotations

import os
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from irkernels.observed import Observed

MODES = ("trials", "observations")


class Ranks:
    """This process among those that share a fit; alone where none does."""

    def __init__(self, mode: str | None = None) -> None:
        self.mode = mode
        self.rank, self.count = (dist.get_rank(), dist.get_world_size()) if mode else (0, 1)

    @property
    def shares_trials(self) -> bool:
        return self.mode == "trials"

    @property
    def shares_observations(self) -> bool:
        return self.mode == "observations"

    @property
    def device(self) -> torch.device:
        """Where the group's backend wants its tensors."""
        nccl = dist.get_backend() == "nccl"
        return torch.device("cuda", torch.cuda.current_device()) if nccl else torch.device("cpu")

    def own(self, trials: int) -> slice:
        """The trials that this rank trains."""
        return self._share(self.rank, trials) if self.shares_trials else slice(0, trials)

    def _share(self, rank: int, trials: int) -> slice:
        return slice(trials * rank // self.count, trials * (rank + 1) // self.count)

    def file(self, path: str | os.PathLike[str] | None) -> str | os.PathLike[str] | None:
        """Each rank has a checkpoint of its own."""
        return path if path is None or self.mode is None else f"{os.fspath(path)}.{self.rank}-of-{self.count}"

    def settings(self) -> dict[str, Any]:
        return {"distributed": self.mode and [self.mode, self.rank, self.count]}

    def check_alike(self, described: dict[str, Any]) -> None:
        """Raises ValueError, on every rank, naming the first thing in which the ranks differ."""
        if self.mode is None:
            return
        all_described: list[Any] = [None] * self.count
        dist.all_gather_object(all_described, described)
        for rank, other in enumerate(all_described):
            for name, value in other.items():
                if value != all_described[0][name]:
                    raise ValueError(
                        f"distributed: {name} is {all_described[0][name]} on rank 0, but {value} on rank {rank};"
                        " all ranks call fit with the same arguments"
                    )

    def agree(self, steps: int, interrupted: bool) -> tuple[int, bool]:
        """The fewest steps of any rank, and whether any was interrupted; of ranks that step together."""
        if not self.shares_observations:
            return steps, interrupted
        agreed = torch.tensor([-steps, int(interrupted)], device=self.device)
        dist.all_reduce(agreed, op=dist.ReduceOp.MAX)
        return -int(agreed[0]), bool(agreed[1])

    def largest(self, value: int) -> int:
        """Of ranks that do not step together: the largest value of any."""
        if not self.shares_trials:
            return value
        values = torch.tensor([value], device=self.device)
        dist.all_reduce(values, op=dist.ReduceOp.MAX)
        return int(values)

    def gather(self, tensor: Tensor, axis: int = 0) -> None:
        """Writes every other rank's trials, along this axis, into the tensor, in place."""
        if not self.shares_trials:
            return
        trials = tensor.shape[axis]
        for rank in range(self.count):
            share = self._share(rank, trials)
            part = tensor.narrow(axis, share.start, share.stop - share.start)
            sent = part.to(self.device, copy=True, memory_format=torch.contiguous_format)
            sent = sent.view(torch.uint8) if sent.dtype == torch.bool else sent
            if sent.numel():
                dist.broadcast(sent, src=rank)
            part.copy_(sent.view(tensor.dtype) if tensor.dtype == torch.bool else sent)

    def add(self, tensors: list[Tensor]) -> list[Tensor]:
        """The sums over all ranks, in one exchange."""
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors]).to(self.device)
        dist.all_reduce(flat)
        parts = flat.to(tensors[0].device).split([tensor.numel() for tensor in tensors])
        return [part.reshape(tensor.shape) for part, tensor in zip(parts, tensors)]


def read_ranks(distributed: Any) -> Ranks:
    """distributed: None, "trials" or "observations". Raises ValueError (unknown), RuntimeError (no process group)."""
    if distributed is None:
        return Ranks()
    if distributed not in MODES:
        raise ValueError(f"distributed must be None, {' or '.join(map(repr, MODES))}, got {distributed!r}")
    if not dist.is_available() or not dist.is_initialized():
        raise RuntimeError(
            f"distributed={distributed!r} needs a process group: start with torchrun and call"
            " torch.distributed.init_process_group() first"
        )
    return Ranks(distributed)


def observations_share(ranks: Ranks, data: Any, loss: str, trials: int) -> Tensor:
    """[T] float64: what this rank's loss counts in that of all ranks, whose mean is over all their observations."""
    if not isinstance(data, Observed):
        raise TypeError(f'distributed="observations" takes an irkernels.Observed, got {type(data).__name__}')
    device = data.values.device
    if loss == "half_sse":
        return torch.ones(trials, dtype=torch.float64, device=device)
    weights = torch.ones(data.nnz, dtype=torch.float64) if data.weights is None else data.weights.double()
    own = weights.sum(-1).to(device).expand(trials).clone()
    return own / ranks.add([own])[0]

