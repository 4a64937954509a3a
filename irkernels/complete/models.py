"""The families that `irkernels complete --model` knows: what each is fitted to, its ranks, how it is built."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from irkernels.complete.folding import Folding, flattened, unchanged
from irkernels.io import DataError
from irkernels.nn import CP, HadamardChain, HierarchicalTucker, MatrixChain, Product, TensorTrain, Tucker

Shape = tuple[int, ...]
Ranks = int | tuple[int, ...]

_WIDEST = 64  # a rank by default: more than a completion can use, and a step stays affordable
_CORE = 2**14  # elements of a Tucker core by default


@dataclass(frozen=True)
class Model:
    """One family: a row of MODELS."""

    family: type[Product]
    folding: Callable[[Folding], Folding]  # of the tensor to what is fitted, given its unfolding to a matrix
    ranks: Callable[[Shape], Ranks | None]  # by default; None: the family has none
    build: Callable[..., Product]  # (shape, ranks, depth, **drawing), shape that of the folding
    depths: tuple[int, ...]  # tried by default
    note: str = ""  # what its user should know


def build(name: str, shape: Shape, ranks: Ranks | None, depth: int, **drawing: Any) -> Product:
    """The model of that name.  Raises what its family does."""
    return MODELS[name].build(shape, ranks, depth, **drawing)


def check(name: str, order: int, ranks: Ranks | None, depth: int) -> None:
    """Raises DataError, before anything is fitted, where the family refuses these ranks or depth for `order` axes."""
    try:
        build(name, (1,) * order, ranks, depth)
    except (TypeError, ValueError) as error:
        axes = "one axis" if order == 1 else f"{order} axes"
        raise DataError(f"--model {name} with {axes}, rank {ranks}, depth {depth}: {error}") from None


def given_or_default(name: str, shape: Shape, given: Sequence[int] | None) -> Ranks | None:
    """What --rank says, one number or a list, or the family's default.  Raises DataError where it has no rank."""
    default = MODELS[name].ranks(shape)
    if given is None:
        return default
    if default is None:
        raise DataError(f"--rank: --model {name} has no rank, it multiplies entry by entry")
    return given[0] if len(given) == 1 else tuple(given)


def _tensor(unfolding: Folding) -> Folding:
    return unchanged(unfolding.tensor_shape)


def _vector(unfolding: Folding) -> Folding:
    return flattened(unfolding.tensor_shape)


def _chain(shape: Shape, ranks: Any, depth: int, **drawing: Any) -> Product:
    rows, columns = shape
    return MatrixChain(rows, columns, depth, hidden=ranks, **drawing)


def _cp(shape: Shape, ranks: Any, depth: int, **drawing: Any) -> Product:
    return CP(shape, ranks, depth, **drawing)


def _tucker(shape: Shape, ranks: Ranks, depth: int, **drawing: Any) -> Product:
    return Tucker(shape, ranks, depth, **drawing)


def _train(shape: Shape, ranks: Ranks, depth: int, **drawing: Any) -> Product:
    return TensorTrain(shape, ranks, depth, **drawing)


def _hierarchical(shape: Shape, ranks: Ranks, depth: int, **drawing: Any) -> Product:
    return HierarchicalTucker(shape, ranks, depth=depth, **drawing)


def _hadamard(shape: Shape, ranks: None, depth: int, **drawing: Any) -> Product:
    (size,) = shape
    return HadamardChain(size, depth, **drawing)


def _one_rank(shape: Shape) -> int:
    """No tensor needs more than its entries over its longest axis, no matrix more than its shorter side."""
    return min(_WIDEST, math.prod(shape) // max(shape))


def _mode_ranks(shape: Shape) -> Shape:
    """Every axis's own length, cut to one number so that the core has at most _CORE elements."""
    most = _WIDEST
    while math.prod(min(extent, most) for extent in shape) > _CORE and most > 2:
        most -= 1
    return tuple(min(extent, most) for extent in shape)


def _bond_ranks(shape: Shape) -> Shape:
    """No bond needs more than the entries on its smaller side."""
    return tuple(min(_WIDEST // 2, math.prod(shape[:cut]), math.prod(shape[cut:])) for cut in range(1, len(shape)))


MODELS = {
    "chain": Model(MatrixChain, lambda unfolding: unfolding, _one_rank, _chain, (2, 3)),
    "hadamard": Model(
        HadamardChain, _vector, lambda shape: None, _hadamard, (2, 3),
        "a Hadamard chain has weights of its own for every entry, so it says nothing of entries it has not seen",
    ),
    "cp": Model(CP, _tensor, _one_rank, _cp, (1,)),
    "tucker": Model(Tucker, _tensor, _mode_ranks, _tucker, (1,)),
    "tt": Model(TensorTrain, _tensor, _bond_ranks, _train, (1,)),
    "ht": Model(HierarchicalTucker, _tensor, _one_rank, _hierarchical, (1,)),
}  # fmt: skip
