"""Matrix chain, the deep matrix factorization W = F_0 F_1 ... F_{N-1}."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Generator, Tensor

from irkernels._arguments import integer
from irkernels.families.arguments import one_of
from irkernels.families.drawing import initial_factors
from irkernels.families.initialisers import INITIALISERS
from irkernels.grammar import symbol
from irkernels.nn.product import Product


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
        initialise = INITIALISERS[one_of("init", init, INITIALISERS)]
        factors = initial_factors(
            lambda size, generator: initialise(sizes, size, generator),
            trials=trials,
            init_scale=init_scale,
            init_std=init_std,
            dtype=dtype,
            device=device,
            generator=generator,
            seed=seed,
        )
        super().__init__(chain_equation(depth), *factors, trials=trials)


def chain_equation(depth: int) -> str:
    """`ab,bc,cd->ad` for depth 3; letters beyond a-z and A-Z are those of grammar.symbol."""
    letters = [symbol(j) for j in range(depth + 1)]
    return ",".join(map("".join, itertools.pairwise(letters))) + f"->{letters[0]}{letters[-1]}"


def _sizes(rows: int, cols: int, depth: int, hidden: Any) -> list[int]:
    rows, cols, depth = integer("rows", rows, 1), integer("cols", cols, 1), integer("depth", depth, 1)
    if hidden is None:
        hidden = min(rows, cols)
    inner = list(hidden) if isinstance(hidden, Sequence) else [hidden] * (depth - 1)
    if len(inner) != depth - 1:
        raise ValueError(f"hidden: a chain of depth {depth} has {depth - 1} inner sizes, got {len(inner)}")
    return [rows, *(integer("hidden", size, 1) for size in inner), cols]
