"""Mini-batches: which observations a step uses, a pure function of (seed, step), shared by all trials.

An epoch is a permutation of all `count` observations keyed by (seed, epoch), as DataLoader(shuffle=True) makes one;
its batches are slices of it, all of one size: what is left beyond the last whole batch waits for another epoch's
permutation (drop_last=True). So a batch repeats no observation, and an epoch none either.

The permutation is a Feistel network on the least power of two that holds `count`, walked until it falls below `count`:
nothing is carried from step to step, so a resumed run draws what it would have drawn.  Integers are 64 bits and wrap.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from irkernels.observed import Observed, unchecked_coordinates, unchecked_observed

if TYPE_CHECKING:
    from irkernels._problem import Problem

_ROUNDS, _MORE_ROUNDS = 6, 12
_FEW = 256  # halves of so few bits need more rounds until all orders are about equally likely


def batch_of(problem: Problem, step: int) -> Problem:
    """The problem that this step sees: all of it, or one mini-batch of its observations or measurements."""
    if problem.batch_size is None:
        return problem
    if isinstance(problem.data, Observed):
        chosen = batch_indices(problem.data.nnz, problem.batch_size, problem.sampler_seed, step)
        return replace(problem, data=observed_batch(problem.data, chosen.to(problem.data.device)))
    count = problem.constants[problem.rows[0]].shape[0]
    chosen = batch_indices(count, problem.batch_size, problem.sampler_seed, step).to(problem.data.device)
    rows = {position: problem.constants[position][chosen] for position in problem.rows}
    axis = problem.data.dim() - len(problem.equation.partition("->")[2])
    return replace(problem, data=problem.data.index_select(axis, chosen), constants={**problem.constants, **rows})


def observed_batch(observed: Observed, chosen: Tensor) -> Observed:
    """These observations alone."""
    weights = None if observed.weights is None else observed.weights[..., chosen]
    at = unchecked_coordinates(observed.at[chosen], observed.shape)
    return unchecked_observed(at, observed.values[..., chosen], weights)


def batch_indices(count: int, size: int, seed: int, step: int) -> Tensor:
    """int64 [size]: the observations, of `count`, that step number `step` of a run uses."""
    each = count // size
    epoch, slot = divmod(step, each)
    return permuted(torch.arange(slot * size, (slot + 1) * size), count, seed, epoch)


def permuted(positions: Tensor, count: int, seed: int, epoch: int) -> Tensor:
    """Where the permutation of 0..count-1 keyed by (seed, epoch) sends these positions, int64."""
    bits = max(2, (count - 1).bit_length())
    key = _splitmix(_splitmix(torch.tensor(seed)) ^ epoch)
    keys = _splitmix(key ^ torch.arange(_MORE_ROUNDS if count <= _FEW else _ROUNDS))
    found = _network(positions, bits, keys)
    while (outside := found >= count).any():
        found = torch.where(outside, _network(found, bits, keys), found)
    return found


def _network(x: Tensor, bits: int, keys: Tensor) -> Tensor:
    """A bijection of 0..2^bits-1: each half in turn is changed by what the other one is."""
    low_bits = bits // 2
    low_mask, high_mask = (1 << low_bits) - 1, (1 << (bits - low_bits)) - 1
    low, high = x & low_mask, x >> low_bits
    for round in range(0, len(keys), 2):
        high = high ^ (_splitmix(low ^ keys[round]) & high_mask)
        low = low ^ (_splitmix(high ^ keys[round + 1]) & low_mask)
    return (high << low_bits) | low


def _splitmix(x: Tensor) -> Tensor:
    """The finaliser of splitmix64, a bijection of 64 bits."""
    x = x + _signed(0x9E3779B97F4A7C15)
    x = (x ^ _shifted(x, 30)) * _signed(0xBF58476D1CE4E5B9)
    x = (x ^ _shifted(x, 27)) * _signed(0x94D049BB133111EB)
    return x ^ _shifted(x, 31)


def _shifted(x: Tensor, by: int) -> Tensor:
    """x >> by as if unsigned."""
    return (x >> by) & ((1 << (64 - by)) - 1)


def _signed(x: int) -> int:
    return x - (1 << 64) if x >> 63 else x
