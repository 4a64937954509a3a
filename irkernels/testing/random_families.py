"""Random members of every family, each with the plain-torch reference of one trial's operands."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from irkernels import nn, reference
from irkernels.families.mode_tree import default_tree

_MOST_ENTRIES = 36


@dataclass(frozen=True)
class Member:
    model: Any
    value: Callable[[Sequence[Tensor]], Tensor]  # the trained operands of one trial -> W


def random_member(family: str, number: int, **options: Any) -> Member:
    """The family's member of this number: depth 1 + number % 4, float64, factors of order one; options override."""
    rng = random.Random(number)
    depth, trials = 1 + number % 4, rng.choice((None, None, 1, 3))
    options = {"trials": trials, "init_scale": 1.0, "seed": number, "dtype": torch.float64} | options
    return FAMILY_MEMBERS[family](rng, depth, options)


def _hadamard(rng: random.Random, depth: int, options: dict[str, Any]) -> Member:
    signed, shared = rng.random() < 0.5, rng.random() < 0.5
    model = nn.HadamardChain(rng.randint(1, 9), depth, shared=shared, signed=signed, **options)
    return Member(model, lambda operands: reference.hadamard_chain(operands, signed))


def _cp(rng: random.Random, depth: int, options: dict[str, Any]) -> Member:
    chains = rng.choice(("column", "factor"))
    shape, rank = _shape(rng, 1), rng.randint(1, 5)
    model = nn.CP(shape, rank, depth, chains=chains, hidden=_hidden(rng), **options)
    return Member(model, lambda operands: reference.cp(_parts(operands, depth, chains)))


def _tucker(rng: random.Random, depth: int, options: dict[str, Any]) -> Member:
    chains = rng.choice(("column", "factor"))
    shape = _shape(rng, 1)
    ranks = [rng.randint(1, 3) for _ in shape]
    model = nn.Tucker(shape, ranks, depth, chains=chains, hidden=_hidden(rng), **options)
    return Member(model, lambda operands: reference.tucker(operands[0], _parts(operands[1:], depth, chains)))


def _tensor_train(rng: random.Random, depth: int, options: dict[str, Any], ring: bool = False) -> Member:
    unfolding = rng.choice(("left", "mode"))
    shape = _shape(rng, 2)
    ranks = [rng.randint(1, 4) for _ in range(len(shape) - (not ring))]
    model = nn.TensorTrain(shape, ranks, depth, ring=ring, unfolding=unfolding, hidden=_hidden(rng), **options)
    chains = [depth] * len(shape)
    if unfolding == "left" and not ring:
        chains[-1] = 1

    def value(operands: Sequence[Tensor]) -> Tensor:
        cores = [reference.unfolded_chain(chain) for chain in _cut(operands, chains)]
        if unfolding == "mode" and depth > 1:  # [n, r_{k-1}, r_k] so far
            inner = cores if ring else cores[1:-1]
            inner = [core.transpose(0, 1) for core in inner]
            cores = inner if ring else [cores[0], *inner, cores[-1].T]
        return reference.tensor_train(cores, ring)

    return Member(model, value)


def _ring(rng: random.Random, depth: int, options: dict[str, Any]) -> Member:
    return _tensor_train(rng, depth, options, ring=True)


def _hierarchical(rng: random.Random, depth: int, options: dict[str, Any], transfer: str = "diagonal") -> Member:
    shape = _shape(rng, 2, 5)
    tree = (
        default_tree(len(shape)) if rng.random() < 0.3 else _random_tree(rng, rng.sample(range(len(shape)), len(shape)))
    )
    model = nn.HierarchicalTucker(
        shape, rng.randint(1, 3), tree, depth, transfer=transfer, hidden=_hidden(rng), **options
    )
    chains = [len(positions) for positions, _ in model.structure.parts]

    def value(operands: Sequence[Tensor]) -> Tensor:
        return reference.hierarchical(tree, [reference.unfolded_chain(c) for c in _cut(operands, chains)], transfer)

    return Member(model, value)


def _full_hierarchical(rng: random.Random, depth: int, options: dict[str, Any]) -> Member:
    return _hierarchical(rng, depth, options, transfer="full")


FAMILY_MEMBERS: dict[str, Callable[[random.Random, int, dict[str, Any]], Member]] = {
    "hadamard": _hadamard,
    "cp": _cp,
    "tucker": _tucker,
    "tensor_train": _tensor_train,
    "tensor_ring": _ring,
    "hierarchical": _hierarchical,
    "hierarchical_full": _full_hierarchical,
}


def _shape(rng: random.Random, least: int, most: int = 4) -> list[int]:
    """Extents of a tensor of few entries."""
    shape = [rng.randint(1, 4) for _ in range(rng.randint(least, most))]
    while torch.Size(shape).numel() > _MOST_ENTRIES:
        shape[rng.randrange(len(shape))] = rng.randint(1, 2)
    return shape


def _hidden(rng: random.Random) -> int | None:
    return rng.choice((None, None, rng.randint(1, 4)))


def _random_tree(rng: random.Random, nodes: list[Any]) -> Any:
    """Two or more of the nodes become one until one is left."""
    while len(nodes) > 1:
        first = rng.randrange(len(nodes) - 1)
        last = rng.randint(first + 2, len(nodes))
        nodes = [*nodes[:first], tuple(nodes[first:last]), *nodes[last:]]
    return nodes[0]


def _cut(operands: Sequence[Tensor], lengths: Sequence[int]) -> list[Sequence[Tensor]]:
    found, first = [], 0
    for length in lengths:
        found.append(operands[first : first + length])
        first += length
    return found


def _parts(operands: Sequence[Tensor], depth: int, chains: str) -> list[Tensor]:
    multiply = reference.column_chains if chains == "column" else reference.unfolded_chain
    return [multiply(chain) for chain in _cut(operands, [depth] * (len(operands) // depth))]
