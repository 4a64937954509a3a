"""What is measured: the rows of table A (operators) and table B (training steps), as data.

A row says how many multiply-adds and bytes it needs at least (cost.py), so that a time can be read as a share of a
limit. `tiny()` gives the same row with extents of 2 to 4, for tests that run every case once.
"""

from __future__ import annotations

import itertools
import math
import string
from dataclasses import dataclass, replace

from bench.cost import multiply_adds, pairwise_steps

_FORMED_ORDER = 20  # of the largest product that is formed


@dataclass(frozen=True)
class Product:
    """An end-to-end product: its equation, the extent of each letter, and how many independent trials."""

    name: str
    family: str  # "chain", "hadamard", "cp", "tucker", "tt", "ht", "plain": which peers have a function for it
    equation: str  # without trials
    extents: tuple[tuple[str, int], ...]
    trials: int | None = None
    trainable: tuple[int, ...] | None = None  # positions that want a gradient; None: all

    @property
    def wanted(self) -> tuple[int, ...]:
        return tuple(range(len(self.shapes))) if self.trainable is None else self.trainable

    @property
    def subscripts(self) -> str:
        """The equation with trials as a leading `...`."""
        if self.trials is None:
            return self.equation
        inputs, output = self.equation.split("->")
        return ",".join("..." + term for term in inputs.split(",")) + "->..." + output

    def _shape(self, term: str) -> tuple[int, ...]:
        extents = dict(self.extents)
        return (() if self.trials is None else (self.trials,)) + tuple(extents[letter] for letter in term)

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        return [self._shape(term) for term in self.equation.split("->")[0].split(",")]

    @property
    def output_shape(self) -> tuple[int, ...]:
        return self._shape(self.equation.split("->")[1])

    @property
    def value_multiply_adds(self) -> int:
        """Multiply-adds of the value along the cheapest pairwise order."""
        return multiply_adds(self.equation, dict(self.extents)) * (self.trials or 1)

    @property
    def multiply_adds(self) -> int:
        """Of the value and of all gradients: the down-sweep reverses each contraction by two of the same size."""
        return 3 * self.value_multiply_adds

    def bytes(self, itemsize: int) -> int:
        """Compulsory traffic: operands and cotangent read once, product and gradients written once."""
        elements = 0
        for shape in [*self.shapes, self.output_shape]:
            size = 1
            for extent in shape:
                size *= extent
            elements += size
        return 2 * elements * itemsize

    def tiny(self) -> Product:
        small = tuple((letter, 2 + place % 3) for place, (letter, _) in enumerate(self.extents))
        return replace(self, extents=small, trials=None if self.trials is None else 2)


def chain(extents: list[int], trials: int | None = None, name: str | None = None) -> Product:
    """A matrix chain of len(extents) - 1 factors, factor k of shape (extents[k], extents[k + 1])."""
    letters = string.ascii_letters[: len(extents)]
    equation = ",".join(a + b for a, b in itertools.pairwise(letters)) + "->" + letters[0] + letters[-1]
    depth = len(extents) - 1
    if name is None:
        name = f"chain {depth} x ({extents[0]}x{extents[0]})"
        name = name if trials is None else f"{trials} chains of {depth} x ({extents[0]}x{extents[0]})"
    return Product(name, "chain", equation, tuple(zip(letters, extents)), trials)


def plain(equation: str, **extents: int) -> Product:
    """Any equation, of no family."""
    sizes = ", ".join(f"{letter} {extent}" for letter, extent in extents.items())
    return Product(f"{equation}, {sizes}", "plain", equation, tuple(extents.items()))


def cp(order: int, size: int, rank: int) -> Product:
    letters = "".join(chr(0x100 + mode) for mode in range(order)) if order > 8 else "abcdefgh"[:order]
    equation = ",".join(letter + "r" for letter in letters) + "->" + letters
    extents = (*tuple((letter, size) for letter in letters), ("r", rank))
    return Product(f"CP order {order}, {size}, R {rank}", "cp", equation, extents)


def tucker(size: int, rank: int) -> Product:
    extents = tuple((letter, size) for letter in "abc") + tuple((letter, rank) for letter in "pqs")
    return Product(f"Tucker {size}^3, rank {rank}", "tucker", "pqs,ap,bq,cs->abc", extents)


def tensor_train(size: int, rank: int) -> Product:
    extents = tuple((letter, size) for letter in "abcd") + tuple((letter, rank) for letter in "ijk")
    return Product(f"TT order 4, {size}, rank {rank}", "tt", "ai,ibj,jck,kd->abcd", extents)


def hierarchical(size: int, width: int) -> Product:
    """Order 4: leaves ap, bp, cr, dr; two inner nodes pq, rq; a root vector q."""
    extents = tuple((letter, size) for letter in "abcd") + tuple((letter, width) for letter in "pqr")
    return Product(f"HT order 4, {size}, widths {width}", "ht", "ap,bp,pq,cr,dr,rq,q->abcd", extents)


def transfer_tensors(size: int, rank: int) -> Product:
    """Order 4 with full transfer tensors: leaves ap, bq, cr, ds; inner nodes pqx, rsy; a root xy."""
    extents = tuple((letter, size) for letter in "abcd") + tuple((letter, rank) for letter in "pqrsxy")
    return Product(f"HT order 4, {size}, transfer {rank}^3", "ht", "ap,bq,pqx,cr,ds,rsy,xy->abcd", extents)


def deep(product: Product, depth: int) -> Product:
    """CP or Tucker with a chain of `depth` operands for each column of a factor: [rank, d, d] .. and [d, rank]."""
    inputs, output = product.equation.split("->")
    extents, unused = dict(product.extents), iter(sorted(set(string.ascii_letters) - set(product.equation)))
    terms = []
    for term in inputs.split(","):
        if not set(term) & set(output):  # a core
            terms.append(term)
            continue
        left, rank = term
        for _ in range(depth - 1):
            right = next(unused)
            extents[right] = extents[term[0]]
            terms.append(rank + left + right)
            left = right
        terms.append(left + rank)
    equation = f"{','.join(terms)}->{output}"
    return Product(f"{product.name}, depth {depth}", "deep", equation, tuple(extents.items()))


def hadamard(size: int, depth: int) -> Product:
    equation = ",".join("i" * depth) + "->i"
    return Product(f"Hadamard chain {depth} x {size}", "hadamard", equation, (("i", size),))


OPERATORS = [
    *(chain([n] * 4) for n in (4, 16, 64, 100, 256, 1024)),
    chain([16] * 4, trials=64),
    chain([100] * 4, trials=64),
    chain([32] * 7),
    chain([2000, 16, 16, 2000], name="2000x16, 16x16, 16x2000"),
    cp(3, 16, 256),
    cp(4, 10, 1000),
    cp(3, 300, 50),
    tucker(25, 25),
    tucker(100, 10),
    tensor_train(10, 8),
    hierarchical(8, 64),
]

CALLS = [
    Product("one product (4x4)", "chain", "ij,jk->ik", (("i", 4), ("j", 4), ("k", 4))),
    chain([4] * 4),
]

# Orders beyond the registry's, for the cost of all gradients (families.py adds the registry's own).
HIGH_ORDER = [
    chain([64] * 51),
    hadamard(20_000, 64),
    deep(cp(3, 40, 60), 3),
    deep(tucker(25, 25), 4),
    cp(6, 6, 64),
    cp(7, 5, 32),
]


@dataclass(frozen=True)
class Completion:
    """A step of gradient descent on the mean squared error over observed entries of an n x n matrix chain."""

    n: int
    observed: int
    depth: int
    given_steps: int | None = None  # steps in one run; None: each peer takes as many as it needs to be timed

    @property
    def name(self) -> str:
        return f"n {self.n}, {self.observed} observed, depth {self.depth}"

    @property
    def multiply_adds(self) -> int:
        """The root is needed at observed entries only; a dense root wins where almost everything is observed."""
        root = min(self.observed * self.n, self.n**3)
        return 3 * ((self.depth - 2) * self.n**3 + root)

    @property
    def steps(self) -> int:
        """Steps in one compiled run, about 20 ms of work."""
        if self.given_steps is not None:
            return self.given_steps
        return max(8, min(1_000_000, int(2e-2 / (3e-8 + self.multiply_adds / 3e10))))

    def tiny(self) -> Completion:
        return replace(self, n=min(self.n, 4), observed=min(self.observed, 7), given_steps=5)


TRIALS, MANY_TRIALS = 16, 256
TRAINING = [
    Completion(2, 3, 3),
    Completion(10, 50, 3),
    Completion(30, 300, 3),
    Completion(64, 2048, 3),
    Completion(100, 2000, 2),
    Completion(100, 2000, 3),
    Completion(100, 2000, 4),
    Completion(300, 20000, 3),
]


@dataclass(frozen=True)
class TensorCompletion:
    """A step of gradient descent on the mean squared error over observed entries of a product of some order."""

    product: Product
    observed: int
    given_steps: int | None = None  # as in Completion

    @property
    def name(self) -> str:
        return f"{self.product.name}, {self.observed} observed"

    @property
    def formed(self) -> bool:
        """Whether it can be: of higher orders no entry has a number, and no order of contractions is searched for."""
        return len(self.product.output_shape) <= _FORMED_ORDER

    @property
    def multiply_adds(self) -> int:
        """Of the dense product and its gradients, the last meeting only where an entry is observed.

        Of a product that is not formed: those of its rows at the entries.
        """
        if not self.formed:
            return 3 * self.observed * sum(math.prod(shape[1:]) for shape in self.product.shapes)
        _, last = pairwise_steps(self.product.equation, dict(self.product.extents))[-1]
        extents = dict(self.product.extents)
        root = math.prod(extents[letter] for letter in set(last) - set(",->"))
        entries = math.prod(self.product.output_shape)
        return 3 * (self.product.value_multiply_adds - root + root // entries * min(self.observed, entries))

    @property
    def steps(self) -> int:
        """Steps in one compiled run, about 20 ms of work."""
        return self.given_steps or max(8, min(100_000, int(2e-2 / (3e-8 + self.multiply_adds / 1e10))))

    def tiny(self) -> TensorCompletion:
        return replace(self, product=self.product.tiny(), observed=7, given_steps=5)


TENSORS = [
    TensorCompletion(cp(3, 8, 64), 100),
    TensorCompletion(cp(4, 8, 512), 1000),
    TensorCompletion(cp(4, 10, 1000), 2000),
    TensorCompletion(cp(3, 16, 256), 2048),
    TensorCompletion(tucker(25, 25), 10_937),
    TensorCompletion(deep(tucker(25, 25), 2), 10_937),
    TensorCompletion(tensor_train(10, 8), 2000),
    TensorCompletion(hierarchical(8, 512), 2048),
]
