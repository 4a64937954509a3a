"""Where random initial factors come from: one stream of random numbers for each trial."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import torch

_MASK = 0xFFFFFFFF


def seeded_generators(trials: int | None, seed: Any) -> list[torch.Generator]:
    """One generator for each trial (one in all without trials), by the seed as trial_generators reads it."""
    base, first = _checked_seed(seed)
    return [torch.Generator().manual_seed(stream(base, first + trial)) for trial in range(trials or 1)]


def trial_generators(trials: int | None, generator: Any, seed: Any) -> list[torch.Generator | None]:
    """One generator for each trial (one in all without trials); None stands for torch's global generator.

    generator: a CPU torch.Generator shared by all trials, drawn from trial by trial, or one for each trial.
    seed: an integer s, trial t then draws from stream (s, t); or a pair (s, first), trial t then draws from
    (s, first + t). So `trials=None, seed=(s, t)` is trial t of a model with seed s, bit for bit.
    Raises ValueError (both given, number of generators, another device) and TypeError.
    """
    count = 1 if trials is None else trials
    if generator is not None and seed is not None:
        raise ValueError("generator and seed were both given; give one of them")
    if seed is not None:
        return [*seeded_generators(trials, seed)]
    if isinstance(generator, Sequence):
        if len(generator) != count:
            raise ValueError(f"generator: expected one, or one for each of the {count} trials, got {len(generator)}")
        generators = list(generator)
    else:
        generators = [generator] * count
    for each in generators:
        if each is not None and not isinstance(each, torch.Generator):
            raise TypeError(f"generator must be a torch.Generator or a sequence of them, got {type(each).__name__}")
        if each is not None and each.device.type != "cpu":
            raise ValueError(f"generator must be on the CPU, where initial factors are drawn, got {each.device}")
    return generators


def stream(seed: int, trial: int) -> int:
    """The 32-bit seed of stream (seed, trial); different for every trial of one seed."""
    digest = hashlib.blake2b(str(seed).encode(), digest_size=4).digest()
    # torch's CPU generator reads 32 bits of its seed, so a hash of the pair would collide at about 10^5 trials; this
    # scrambling (MurmurHash3's finaliser) is one-to-one
    mixed = (int.from_bytes(digest, "little") + trial) & _MASK
    mixed = ((mixed ^ (mixed >> 16)) * 0x85EBCA6B) & _MASK
    mixed = ((mixed ^ (mixed >> 13)) * 0xC2B2AE35) & _MASK
    return mixed ^ (mixed >> 16)


def _checked_seed(seed: Any) -> tuple[int, int]:
    pair = seed if isinstance(seed, tuple) else (seed, 0)
    if len(pair) != 2 or any(isinstance(part, bool) or not isinstance(part, int) for part in pair):
        raise TypeError(f"seed must be an integer or a pair (seed, first trial) of integers, got {seed!r}")
    if pair[1] < 0:
        raise ValueError(f"seed: the first trial must be >= 0, got {pair[1]}")
    return pair
