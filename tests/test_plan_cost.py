"""What plans cost: gradients in proportion to values, the cheapest tree, and nothing that trials or strides decide."""

from __future__ import annotations

import itertools
import math
import random
import re
from collections.abc import Iterator, Sequence

import pytest
import torch

import irkernels as irk
from irkernels import _launch, nn
from irkernels.info import contiguous_view
from irkernels.testing import FAMILIES, STRIDES, Product

WRITE = 4  # csrc/plan/cost.h, kWrite: writing one element of a result, in multiply-adds
LARGE = 20_000  # multiply-adds from which a family counts as grown
HIGH_ORDERS = (2, 3, 5, 11, 12, 13, 26, 27, 40, 53, 64)  # around the limits of the search, and of a-z and a-zA-Z

Equation = tuple[list[str], str]  # terms and output; a letter is one code point


def explained(terms: Sequence[str], output: str, sizes: dict[str, int]) -> _launch.Explanation:
    shapes = [tuple(sizes[letter] for letter in term if letter != ".") for term in terms]
    return explained_shapes(",".join(terms) + "->" + output, shapes)


def explained_shapes(
    equation: str, shapes: Sequence[tuple[int, ...]], wanted: Sequence[bool] | None = None
) -> _launch.Explanation:
    views = [contiguous_view(shape) for shape in shapes]
    return _launch.explain(equation, wanted or (True,) * len(views), views, torch.float32, -1)


def letters(n: int) -> list[str]:
    return [chr(ord("a") + i) if i < 26 else chr(0x4E00 + i) for i in range(n)]


def chain(n: int) -> Equation:
    names = letters(n + 1)
    return [a + b for a, b in itertools.pairwise(names)], names[0] + names[-1]


def tree_of(text: str, terms: Sequence[str]) -> list[tuple[set[str], set[str], set[str]]]:
    """(left, right, result) letters of every meeting that a plan in words names."""
    side = r"(operand \d+|\[[^]]*\])"
    found = []
    for line in text.splitlines():
        match = re.match(rf"  \[([^]]*)\] = {side} x {side}", line)
        if match:
            left, right = (
                set(terms[int(s[8:])]) if s.startswith("o") else set(s[1:-1]) - {"1"} for s in match.groups()[1:]
            )
            found.append((left, right, set(match[1]) - {"1"}))
    return found


def volume(names: set[str], sizes: dict[str, int]) -> int:
    return math.prod(sizes[name] for name in names)


def tree_cost(tree: Sequence[tuple[set[str], set[str], set[str]]], sizes: dict[str, int]) -> int:
    """Multiply-adds of value and all gradients, and the planner's term for writing: every node is met three times."""
    return sum(3 * (volume(left | right, sizes) + WRITE * volume(result, sizes)) for left, right, result in tree)


def test_gradients_of_every_family_cost_twice_the_value() -> None:
    for product in FAMILIES:
        found = explained_shapes(product.equation, product.shapes)
        assert found.value_work > 0
        assert 0 < found.gradient_work <= 2.0 * found.value_work, product.name
        large = grown(product)
        found = explained_shapes(large.equation, large.shapes)
        assert found.gradient_work <= 2.0 * found.value_work, f"{product.name} at {large.shapes}"


def grown(product: Product) -> Product:
    """The same family with larger extents, one factor for all letters."""
    for factor in itertools.count(2):
        trials = product.trials is not None
        shapes = tuple(
            (*shape[:trials], *(extent * factor if extent > 1 else 1 for extent in shape[trials:]))
            for shape in product.shapes
        )
        work = explained_shapes(product.equation, shapes).value_work // (product.trials or 1)
        if work >= LARGE:
            return Product(product.name, product.equation, shapes)
    raise AssertionError


def high_order(order: int) -> Iterator[tuple[str, Equation, dict[str, int]]]:
    """Families of any order whose outputs stay small, with balanced and with unbalanced extents."""
    draw = random.Random(order)
    names = letters(3 * order + 2)
    ranks, modes = names[: order + 1], names[order + 1 : 2 * order + 2]
    for balanced in (True, False):

        def sizes(equation: Equation, outer: int = 0) -> dict[str, int]:
            free = {name: 1 if at >= outer else 2 for at, name in enumerate(equation[1])} if outer else {}
            return {
                name: free.get(name, 40 if balanced else draw.choice((1, 2, 7, 30, 97)))
                for name in sorted(set("".join(equation[0])))
            }

        matrices = chain(order)
        yield "chain", matrices, sizes(matrices)
        yield "trace of a chain", ([*matrices[0], ranks[-1] + ranks[0]], ""), sizes(matrices)
        hadamard = (["i"] * order, "i")
        yield "Hadamard chain", hadamard, {"i": 30_000 if balanced else 20_001}
        rank = names[-1]
        cp = ([mode + rank for mode in modes[:order]], "".join(modes[:order]))
        yield "CP", cp, sizes(cp, outer=10) | {rank: 40 if balanced else 33}
        train = ([ranks[i] + modes[i] + ranks[i + 1] for i in range(order)], "".join(modes[:order]))
        yield "tensor train", (train[0], ranks[0] + train[1] + ranks[-1]), sizes((train[0], train[1]), outer=8)
        half = order // 2
        above = dict(zip(ranks, names[2 * order + 1 :]))
        cores = train[0][:half]
        pair = (cores + [above[core[0]] + core[1] + above[core[2]] for core in cores], ranks[0] + ranks[half])
        yield "two trains", pair, {name: min(size, 7) for name, size in sizes(pair).items()}
        yield "hierarchical", *hierarchical(order, sizes)


def hierarchical(order: int, sizes) -> tuple[Equation, dict[str, int]]:
    """A binary tree of transfer tensors over vectors given for each mode: a hierarchical Tucker tensor, contracted."""
    names = iter(letters(4 * order + 2))
    level, terms = [], []
    for _ in range(order):
        mode, rank = next(names), next(names)
        terms.append(mode + rank)
        level.append(rank)
    output = "".join(term[0] for term in terms)
    while len(level) > 1:
        above = []
        for left, right in zip(level[::2], level[1::2]):
            above.append(next(names))
            terms.append(left + right + above[-1])
        level = above + level[len(level) - len(level) % 2 :]
    equation = ([*terms, level[0]], output)
    return equation, {name: min(size, 12) for name, size in sizes(equation, outer=8).items()}


@pytest.mark.parametrize("order", HIGH_ORDERS)
def test_gradients_of_any_order_cost_twice_the_value(order: int) -> None:
    for name, (terms, output), sizes in high_order(order):
        if len(terms) < 2:
            continue
        found = explained(terms, output, sizes)
        assert 0 < found.gradient_work <= 2.0 * found.value_work, f"{name} of order {order}"


def deep_families(order: int) -> Iterator[nn.Product]:
    """Every family and its deep forms; modes beyond the eighth have extent 1, so that the product stays small."""
    shape = [3 if mode < 8 else 1 for mode in range(order)]
    for rank, depth in ((2, 1), (7, 2), (12, 3)) if order <= 13 else ((7, 2),):
        for chains in ("column", "factor"):
            yield nn.CP(shape, rank, depth, chains=chains)
            if order <= 8:  # the core has an extent for each mode
                yield nn.Tucker(shape, 3, depth, chains=chains)
        yield nn.TensorTrain(shape, rank, depth)
        yield nn.TensorTrain(shape, rank, depth, ring=True, unfolding="mode")
        yield nn.HierarchicalTucker(shape, rank, None, depth)
        yield nn.HierarchicalTucker(shape, rank, None, depth, transfer="full")
    yield nn.HadamardChain(500, order, shared=True, signed=True)


@pytest.mark.parametrize("order", (2, 3, 5, 8, 13, 64))
def test_gradients_of_deep_families_cost_twice_the_value(order: int) -> None:
    for model in deep_families(order):
        found = explained_shapes(model.equation, [tuple(operand.shape) for operand in model.operands()])
        assert 0 < found.gradient_work <= 2.0 * found.value_work, str(model)


def test_the_work_that_is_told_is_that_of_the_tree() -> None:
    for order in (2, 3, 7, 12, 30):
        for name, (terms, output), sizes in high_order(order):
            if (
                len(terms) < 2 or name == "two trains"
            ):  # letters of one operand alone are summed before it meets another
                continue
            found = explained(terms, output, sizes)
            meetings = tree_of(found.value, terms)
            assert len(meetings) == len(terms) - 1, name
            meant = sum(volume(left | right, sizes) for left, right, _ in meetings)
            assert found.value_work == meant, f"{name} of order {order}"


def textbook_chain(extents: list[int]) -> int:
    """The cheapest order of a chain of matrices [n_0, n_1], [n_1, n_2], ...: the O(N^3) recurrence over intervals."""
    n = len(extents) - 1
    best = [[0] * (n + 1) for _ in range(n + 1)]
    for length in range(2, n + 1):
        for i in range(n - length + 1):
            j = i + length
            write = WRITE * extents[i] * extents[j]
            best[i][j] = min(
                best[i][m] + best[m][j] + 3 * (extents[i] * extents[m] * extents[j] + write) for m in range(i + 1, j)
            )
    return best[0][n]


def test_the_tree_of_a_chain_is_the_cheapest() -> None:
    draw = random.Random(0)
    for n in (2, 3, 4, 6, 9, 11, 12, 13, 17, 24, 31, 40):
        for spread in ((2, 9), (2, 1000)):
            extents = [draw.randint(*spread) for _ in range(n + 1)]
            terms, output = chain(n)
            sizes = dict(zip(letters(n + 1), extents))
            found = tree_cost(tree_of(explained(terms, output, sizes).value, terms), sizes)
            assert found == textbook_chain(extents), f"{n} matrices of {extents}"


def random_equation(draw: random.Random) -> tuple[Equation, dict[str, int]]:
    names = letters(draw.randint(3, 6))
    sizes = {name: draw.choice((2, 3, 5, 8, 30)) for name in names}
    terms = ["".join(draw.sample(names, draw.randint(1, 3))) for _ in range(draw.randint(3, 6))]
    used = sorted(set("".join(terms)))
    return (terms, "".join(draw.sample(used, draw.randint(0, min(3, len(used)))))), sizes


def every_tree(parts: list[frozenset[int]]) -> Iterator[list[tuple[frozenset[int], frozenset[int]]]]:
    """All binary trees over the parts, as lists of meetings."""
    if len(parts) == 1:
        yield []
        return
    first, rest = parts[0], parts[1:]
    for mask in range(2 ** len(rest) - 1):
        left = [first] + [part for at, part in enumerate(rest) if mask >> at & 1]
        right = [part for at, part in enumerate(rest) if not mask >> at & 1]
        meeting = (frozenset().union(*left), frozenset().union(*right))
        for a in every_tree(left):
            for b in every_tree(right):
                yield [*a, *b, meeting]


def cheapest_tree(terms: list[str], output: str, sizes: dict[str, int]) -> int:
    everyone = frozenset(range(len(terms)))

    def kept(inside: frozenset[int]) -> set[str]:
        outside = set(output).union(*(terms[i] for i in everyone - inside))
        return set().union(*(terms[i] for i in inside)) & outside

    trees = every_tree([frozenset({i}) for i in range(len(terms))])
    return min(tree_cost([(kept(a), kept(b), kept(a | b)) for a, b in tree], sizes) for tree in trees)


def test_no_tree_of_few_operands_is_cheaper() -> None:
    draw = random.Random(1)
    for _ in range(60):
        (terms, output), sizes = random_equation(draw)
        used = {letter: sum(letter in term for term in terms) for letter in sizes}
        # a letter of one operand only is summed out before anything meets
        kept = ["".join(c for c in term if used[c] > 1 or c in output) for term in terms]
        found = tree_cost(tree_of(explained(terms, output, sizes).value, kept), sizes)
        assert found == cheapest_tree(terms, output, sizes), f"{terms} -> {output}, {sizes}"


@pytest.mark.parametrize("product", [each for each in FAMILIES if each.trials is None], ids=lambda each: each.name)
def test_a_tree_depends_on_neither_trials_nor_strides(product: Product) -> None:
    def tree(case: Product) -> list[str]:
        views = [(tuple(o.shape), o.stride()) for o in case.operands()]
        wanted = tuple(position in case.trained for position in range(len(views)))
        found = _launch.explain(case.equation, wanted, views, torch.float64, -1)
        return [line.replace("(...-1)", "").replace("[]", "[1]") for line in found.value.splitlines() if " = " in line]

    alone = tree(product)
    for trials in (1, 2, 100):
        assert tree(product.with_trials(trials)) == alone, f"{trials} trials"
    for how in STRIDES:
        assert tree(product.with_strides(how)) == alone, how


@pytest.mark.parametrize("power", (21, 25, 30, 31))
def test_sizes_beyond_63_bits_are_an_error(power: int) -> None:
    """Of views that cover no memory: neither a wrong number nor a workspace that is too small."""
    n = 2**power
    wide = torch.ones(1, 1).expand(n, n)
    with pytest.raises(OverflowError, match="2\\^63"):
        irk.explain("ab,bc,ca->", wide, wide, wide)
    with pytest.raises(OverflowError, match="2\\^63"):
        irk.einsum("ab,bc,ca->", wide, wide, wide)
    trials = torch.ones(1, 1, 1).expand(2**20, 2**15, 2**15)
    with pytest.raises(OverflowError, match="2\\^63"):
        irk.explain("...ab,...bc->...ac", trials, trials)
    with pytest.raises(OverflowError, match="2\\^63"):
        irk.explain("ab,bc->ac", wide, wide, nnz=2**62)
