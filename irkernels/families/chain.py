"""Matrix chain, the deep matrix factorization W = F_0 F_1 ... F_{N-1}."""

from __future__ import annotations

import string
from collections.abc import Sequence
from typing import Any

import torch
from torch import Generator, Tensor

from irkernels._arguments import integer, per_trial
from irkernels.families.initialisers import INITIALISERS, Size
from irkernels.families.streams import trial_generators
from irkernels.nn.product import Product

_DEFAULT_SCALE = 1e-3


class MatrixChain(Product):
    """W = F_0 F_1 ... F_{depth-1}, rows x cols, factors in matmul order.

    In the papers' order W = W_N ... W_1, so F_0 = W_N.  hidden: one inner size, or depth - 1 of them; default
    min(rows, cols), so that the rank is not constrained.  trials: independent copies, each factor then [trials, m, n].

    init: "gaussian", "orthogonal", "identity" or "balanced" (families/initialisers.py).  init_scale: the scale alpha of
    the product, alpha^{1/depth} in each factor (default 1e-3).  init_std: the standard deviation of a factor's entries
    instead (not for "identity").  Either may be [trials].  generator: a CPU torch.Generator, or one for each trial.
    seed: an integer, trial t then draws from stream (seed, t); `trials=None, seed=(seed, t)` is that trial alone.
    Drawn in float64 on the CPU, then cast to dtype (default torch.get_default_dtype()) and device.

    Sources: Arora, Cohen, Hu, Luo, Implicit Regularization in Deep Matrix Factorization (2019), section 4; Razin,
    Cohen, Implicit Regularization in Deep Learning May Not Be Explainable by Norms (2020), balanced initialisation.
    Raises ValueError and TypeError naming the argument.
    """

    def __init__(
        self,
        rows: int,
        cols: int,
        depth: int,
        hidden: int | Sequence[int] | None = None,
        trials: int | None = None,
        init: str = "gaussian",
        init_scale: float | Sequence[float] | Tensor | None = None,
        init_std: float | Sequence[float] | Tensor | None = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
        generator: Generator | Sequence[Generator] | None = None,
        seed: int | tuple[int, int] | None = None,
    ) -> None:
        sizes = _sizes(rows, cols, depth, hidden)
        if init not in INITIALISERS:
            raise ValueError(f"unknown init {init!r}; known are {', '.join(INITIALISERS)}")
        count = 1 if trials is None else integer("trials", trials, 1)
        magnitudes = _magnitudes(init, init_scale, init_std, trials)
        generators = trial_generators(trials, generator, seed)
        # trial by trial, so that a trial of many is the single run bit for bit
        drawn = [INITIALISERS[init](sizes, magnitudes[trial], generators[trial]) for trial in range(count)]
        factors = [drawn[0][j] if trials is None else torch.stack([one[j] for one in drawn]) for j in range(depth)]
        dtype = torch.get_default_dtype() if dtype is None else dtype
        super().__init__(chain_equation(depth), *(f.to(device=device, dtype=dtype) for f in factors), trials=trials)


def chain_equation(depth: int) -> str:
    """`ab,bc,cd->ad` for depth 3.  Raises ValueError above 51 factors, where letters run out."""
    letters = string.ascii_letters[: depth + 1]
    if len(letters) <= depth:
        raise ValueError(
            f"depth must be at most {len(string.ascii_letters) - 1}, the letters of an equation, got {depth}"
        )
    return ",".join(letters[j : j + 2] for j in range(depth)) + f"->{letters[0]}{letters[depth]}"


def _sizes(rows: int, cols: int, depth: int, hidden: Any) -> list[int]:
    rows, cols, depth = integer("rows", rows, 1), integer("cols", cols, 1), integer("depth", depth, 1)
    if hidden is None:
        hidden = min(rows, cols)
    inner = list(hidden) if isinstance(hidden, Sequence) else [hidden] * (depth - 1)
    if len(inner) != depth - 1:
        raise ValueError(f"hidden: a chain of depth {depth} has {depth - 1} inner sizes, got {len(inner)}")
    return [rows, *(integer("hidden", size, 1) for size in inner), cols]


def _magnitudes(init: str, scale: Any, std: Any, trials: int | None) -> list[Size]:
    if scale is not None and std is not None:
        raise ValueError("init_scale and init_std were both given; init_scale is the product's, init_std each factor's")
    if std is not None and init == "identity":
        raise ValueError('init_std: the entries of "identity" factors are not random; give init_scale')
    if std is not None:
        return [Size(None, value) for value in per_trial("init_std", std, trials).tolist()]
    scale = _DEFAULT_SCALE if scale is None else scale
    return [Size(value, None) for value in per_trial("init_scale", scale, trials).tolist()]
