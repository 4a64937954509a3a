"""Initial factors of all trials: the arguments that every family takes, and drawing trial by trial."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

import torch
from torch import Generator, Tensor

from irkernels._arguments import integer, per_trial
from irkernels.families.streams import trial_generators
from irkernels.reference.operands import DTYPES

_DEFAULT_SCALE = 1e-3


class Drawing(TypedDict, total=False):
    """The keyword arguments that every family takes beside `init`.

    trials: independent copies, each factor then begins with a trial axis.  init_scale: the scale alpha of the product,
    alpha^{1/N} in each of its N operands (default 1e-3).  init_std: the standard deviation of a factor's entries
    instead.  init_mean: their mean, with init_std (default 0).  init_scale and init_std may be [trials].  generator: a
    CPU torch.Generator, or one for each trial.  seed: an integer, trial t then draws from stream (seed, t);
    `trials=None, seed=(seed, t)` is that trial alone.  Drawn in float64 on the CPU, then cast to dtype (default
    torch.get_default_dtype()) and device.
    """

    trials: int | None
    init_scale: float | Sequence[float] | Tensor | None
    init_std: float | Sequence[float] | Tensor | None
    init_mean: float
    dtype: torch.dtype | None
    device: torch.device | str | None
    generator: Generator | Sequence[Generator] | None
    seed: int | tuple[int, int] | None


@dataclass(frozen=True)
class Size:
    """How large initial factors are: the scale of the product, or the standard deviation of a factor's entries."""

    scale: float | None  # alpha
    std: float | None
    mean: float = 0.0

    def gain(self, operands: int) -> float:
        """alpha^{1/N}, for factors that take no init_std."""
        if self.scale is None:
            raise ValueError("init_std: the entries of such factors are not random; give init_scale")
        gain: float = self.scale ** (1 / operands)
        return gain


Initialise = Callable[[Size, "Generator | None"], list[Tensor]]


def initial_factors(
    initialise: Initialise,
    *,
    trials: int | None = None,
    init_scale: Any = None,
    init_std: Any = None,
    init_mean: float = 0.0,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
    generator: Any = None,
    seed: Any = None,
) -> list[Tensor]:
    """The factors that `initialise` draws for each trial, [*extents], or [trials, *extents] where trials are given.

    Raises ValueError and TypeError naming the argument.
    """
    count = 1 if trials is None else integer("trials", trials, 1)
    sizes = _sizes(init_scale, init_std, init_mean, trials)
    generators = trial_generators(trials, generator, seed)
    dtype = torch.get_default_dtype() if dtype is None else dtype
    if dtype not in DTYPES:
        raise TypeError(f"dtype must be float16, bfloat16, float32 or float64, got {dtype!r}")
    device = _device(device)
    # trial by trial, so that a trial of many is the single run bit for bit
    with torch.device("cpu"):  # where the generators are, whatever device is the default
        drawn = [initialise(sizes[trial], generators[trial]) for trial in range(count)]
        factors = drawn[0] if trials is None else [torch.stack(copies) for copies in zip(*drawn)]
    return [factor.to(device=device, dtype=dtype) for factor in factors]


def _device(given: Any) -> torch.device:
    try:
        return torch.get_default_device() if given is None else torch.device(given)
    except (RuntimeError, TypeError, ValueError):
        raise ValueError(f"device must be a torch.device or the name of one, got {given!r:.60}") from None


def _sizes(scale: Any, std: Any, mean: Any, trials: int | None) -> list[Size]:
    if scale is not None and std is not None:
        raise ValueError("init_scale and init_std were both given; init_scale is the product's, init_std each factor's")
    if isinstance(mean, bool) or not isinstance(mean, (int, float)) or not math.isfinite(mean):
        raise ValueError(f"init_mean must be a finite number, got {mean!r}")
    if mean and std is None:
        raise ValueError("init_mean: the mean of a factor's entries goes with their init_std, which was not given")
    if std is not None:
        return [Size(None, value, float(mean)) for value in per_trial("init_std", std, trials).tolist()]
    scale = _DEFAULT_SCALE if scale is None else scale
    return [Size(value, None) for value in per_trial("init_scale", scale, trials).tolist()]
