"""`path=`: followed by value and gradients, in every spelling, whatever it costs."""

from __future__ import annotations

import importlib
import random
import re
import sys
from itertools import combinations

import pytest
import torch
from torch import Tensor

import irkernels as irk
from irkernels.grammar import PATH_MARK
from irkernels.reference.paths import read_path
from irkernels.testing import absolute_product, factor_gradients, random_product, worst_ratio

CHAIN = "ij,jk,kl->il"
SHAPES = ((2, 3), (3, 40), (40, 5))
LEFT, RIGHT = ((0, 1), (0, 1)), ((1, 2), (0, 1))  # (AB)C, A(BC)
WORK = {LEFT: 2 * 3 * 40 + 2 * 40 * 5, RIGHT: 3 * 40 * 5 + 2 * 3 * 5}
RELATIVE = 1e-10


def factors() -> list[Tensor]:
    return [torch.randn(*shape, dtype=torch.float64) for shape in SHAPES]


def value_work(text: str) -> int:
    return int(re.search(r"value +([\d,]+) multiply-adds", text)[1].replace(",", ""))


def random_path(rng: random.Random, operands: int) -> list[tuple[int, ...]]:
    """Steps of one, two or more positions in any order."""
    path, left = [], operands
    while left > 1:
        step = tuple(rng.sample(range(left), min(left, rng.choice((1, 2, 2, 2, 3)))))
        path.append(step)
        left -= len(step) - 1
    return path + [(0,)] * rng.randint(0, 1)


@pytest.mark.parametrize("path", WORK)
def test_the_tree_follows_the_path(path: tuple) -> None:
    text = irk.explain(CHAIN, *SHAPES, path=path)
    assert value_work(text) == WORK[path] and "path given" in text and "\x01" not in text
    assert ("[ik] = operand 0 x operand 1" in text) == (path == LEFT)
    # down the tree: two contractions for each on the way up
    assert f"gradients   {2 * WORK[path]:,} multiply-adds" in text


def test_three_at_once_meet_in_their_cheapest_order() -> None:
    assert value_work(irk.explain(CHAIN, *SHAPES, path=[(0, 1, 2)])) == min(WORK.values())
    four = "ij,jk,kl,lm->im"
    shapes = (*SHAPES, (5, 7))
    inner = value_work(irk.explain("jk,kl,lm->jm", *shapes[1:]))
    assert value_work(irk.explain(four, *shapes, path=[(1, 2, 3), (0, 1)])) == inner + 2 * 3 * 7


def test_random_products_along_random_paths(verbs) -> None:
    followed = 0
    for seed in range(300):
        rng = random.Random(seed)
        case = random_product(seed)
        operands = case.operands(seed, torch.float64)
        path = random_path(rng, len(operands))
        leaves = [operand.requires_grad_() for operand in operands]
        found = verbs.einsum(case.equation, *leaves, path=path)
        exact = [operand.detach() for operand in operands]
        expected = torch.einsum(case.equation, *exact)
        assert worst_ratio(found.detach(), expected, absolute_product(case.equation, exact)) <= RELATIVE, (case, path)
        cotangent = torch.randn(expected.shape, dtype=torch.float64)
        gradients = torch.autograd.grad(found, leaves, cotangent)
        exacts = factor_gradients(case.equation, exact, cotangent)
        scales = factor_gradients(case.equation, [each.abs() for each in exact], cotangent.abs())
        for gradient, right, scale in zip(gradients, exacts, scales):
            assert worst_ratio(gradient, right, scale) <= RELATIVE, (case, path)
        followed += len(operands) > 2
    assert followed > 100


@pytest.mark.parametrize("path", [LEFT, RIGHT, [(0, 1, 2)], [(0,), (0, 2), (1, 0)]], ids=str)
def test_derivatives_of_any_order_and_batched(path) -> None:
    operands = [torch.randn(*shape, dtype=torch.float64, requires_grad=True) for shape in ((2, 3), (3, 2), (2, 2))]

    def product(*leaves: Tensor) -> Tensor:
        return irk.einsum("...ij,jk,kl->...il", *leaves, path=path)

    assert torch.autograd.gradcheck(product, operands, check_batched_grad=True)
    assert torch.autograd.gradgradcheck(product, operands, check_batched_grad=True)


@pytest.mark.parametrize("path", [LEFT, RIGHT, "greedy"], ids=str)
def test_transforms_take_the_path(path) -> None:
    """vmap, jvp and Hessians of a product along a path."""
    a, b, c = factors()
    many = torch.randn(6, *a.shape, dtype=torch.float64)

    def product(*operands: Tensor) -> Tensor:
        return irk.einsum(CHAIN, *operands, path=path)

    torch.testing.assert_close(torch.func.vmap(product, (0, None, None))(many, b, c), many @ b @ c)
    torch.testing.assert_close(torch.func.vmap(product, (None, 2, None))(a, b[..., None], c), (a @ b @ c)[None])
    _, pushed = torch.func.jvp(product, (a, b, c), (many[0], b, torch.zeros_like(c)))
    torch.testing.assert_close(pushed, many[0] @ b @ c + a @ b @ c)
    found = torch.func.hessian(lambda b: product(a, b, c).square().sum())(b)
    expected = torch.func.hessian(lambda b: (a @ b @ c).square().sum())(b)
    torch.testing.assert_close(found, expected)


def test_gradients_verb_takes_the_path(verbs) -> None:
    operands = factors()
    cotangent = torch.randn(2, 5, dtype=torch.float64)
    expected = factor_gradients(CHAIN, operands, cotangent)
    for path in (*WORK, "greedy"):
        torch.testing.assert_close(list(verbs.gradients(CHAIN, *operands, cotangent=cotangent, path=path)), expected)
    at = torch.tensor([[0, 1], [1, 4]])
    listed = verbs.gradients(CHAIN, *operands, cotangent=(at, cotangent[tuple(at.T)]), path=RIGHT)
    alone = torch.zeros_like(cotangent).index_put(tuple(at.T), cotangent[tuple(at.T)])
    torch.testing.assert_close(list(listed), factor_gradients(CHAIN, operands, alone))


def test_a_path_belongs_to_one_call() -> None:
    """The same product along two paths, again and again: the plan cache tells them apart."""
    operands = factors()
    with irk.deterministic():
        values = {path: irk.einsum(CHAIN, *operands, path=path) for path in WORK}
        assert not torch.equal(values[LEFT], values[RIGHT])  # other roundings
        for path in (*WORK, *WORK):
            assert torch.equal(irk.einsum(CHAIN, *operands, path=path), values[path])
        assert torch.equal(irk.einsum(CHAIN, *operands), values[min(WORK, key=WORK.get)])


def spelled() -> dict:
    opt_einsum = pytest.importorskip("opt_einsum")
    info = opt_einsum.contract_path(CHAIN, *SHAPES, shapes=True, optimize="optimal")
    names = ("optimal", "greedy", "dp", "auto", "auto-hq", "branch-all", "branch-2", "random-greedy", "eager")
    return {
        **{name: name for name in names},
        "lists": [[0, 1], [0, 1]],
        "numpy's": ["einsum_path", (0, 1), (0, 1)],
        "optimizer": opt_einsum.DynamicProgramming(minimize="size"),
        "random optimizer": opt_einsum.RandomGreedy(max_repeats=4),
        "branching optimizer": opt_einsum.paths.BranchBound(),
        "function": lambda inputs, output, sizes, memory_limit: [(0, 1), (0, 1)],
        "PathInfo": info[1],
        "pair": info,
    }


def test_every_spelling_is_read(verbs) -> None:
    operands = factors()
    expected = torch.linalg.multi_dot(operands)
    for name, path in spelled().items():
        torch.testing.assert_close(verbs.einsum(CHAIN, *operands, path=path), expected, msg=name)
        for equation in ("ij", "ij,jk->ik"):  # nothing to order
            few = operands[: equation.count(",") + 1]
            if name in ("optimal", "greedy", "optimizer", "function"):
                torch.testing.assert_close(
                    verbs.einsum(equation, *few, path=path), torch.einsum(equation, *few), msg=name
                )


def test_optimizers_see_letters_extents_and_dots() -> None:
    seen = []

    def optimizer(inputs, output, sizes, memory_limit):
        seen.append(([{sizes[letter] for letter in term} for term in inputs], {sizes[letter] for letter in output}))
        return [(0, 1), (0, 1)]

    operands = (torch.ones(7, 2, 3), torch.ones(1, 3), torch.ones(11, 1, 3, 5))
    irk.einsum("...ij,ij,...jk->...k", *operands, path=optimizer)
    assert seen == [([{7, 2, 3}, {2, 3}, {11, 7, 3, 5}], {11, 7, 5})]


def test_interleaved_operands_take_a_path(verbs) -> None:
    a, b, c = factors()
    for path in (LEFT, "greedy"):
        found = verbs.einsum(a, ["x", "y"], b, ["y", "z"], c, ["z", "w"], ["x", "w"], path=path)
        torch.testing.assert_close(found, a @ b @ c)


@pytest.mark.filterwarnings("ignore:Couldn.t import")
def test_cotengra_trees_and_optimizers(verbs) -> None:
    cotengra = pytest.importorskip("cotengra")
    rng = random.Random(0)
    edges = rng.sample(list(combinations(range(8), 2)), 12)  # a graph of 8 tensors, a letter for each edge
    terms = ["".join(chr(97 + e) for e, ends in enumerate(edges) if v in ends) for v in range(8)]
    terms = [term for term in terms if term]
    sizes = {chr(97 + e): rng.choice((2, 3)) for e in range(len(edges))}
    operands = [torch.randn([sizes[letter] for letter in term], dtype=torch.float64) for term in terms]
    tree = cotengra.array_contract_tree([tuple(term) for term in terms], (), sizes)
    equation = ",".join(terms) + "->"
    expected = torch.einsum(equation, *operands)
    optimizers = cotengra.GreedyOptimizer(), cotengra.HyperOptimizer(max_repeats=2, progbar=False, parallel=False)
    for path in (tree, *optimizers):
        torch.testing.assert_close(verbs.einsum(equation, *operands, path=path), expected)


@pytest.mark.parametrize("steps", ["9", "0+0;0", "a", ";", "0+1;0+1", "0+1+2", "0+-1", "9" * 30, "0 +1", "0"])
def test_a_path_that_does_not_fit_never_reaches_a_kernel(steps: str) -> None:
    """As an equation carries it, of two operands: the planner looks again."""
    with pytest.raises(ValueError, match="path"):
        irk.einsum(f"ij,jk->ik{PATH_MARK}{steps}", *factors()[:2])


def test_strategies_need_opt_einsum(verbs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opt_einsum.paths", None)
    with pytest.raises(ImportError, match=r"path='greedy'.*opt_einsum.*pip install opt_einsum"):
        verbs.einsum(CHAIN, *factors(), path="greedy")
    torch.testing.assert_close(verbs.einsum(CHAIN, *factors(), path=LEFT).shape, torch.Size([2, 5]))


def test_a_strategy_is_asked_once_for_each_product(monkeypatch: pytest.MonkeyPatch) -> None:
    paths = importlib.import_module("opt_einsum.paths") if importlib.util.find_spec("opt_einsum") else None
    if paths is None:
        pytest.skip("opt_einsum is not installed")
    asked = []

    def strategy(inputs, output, sizes, memory_limit=None):
        asked.append(sizes)
        return [(0, 1), (0, 1)]

    monkeypatch.setitem(paths._PATH_OPTIONS, "counted", strategy)
    operands = factors()
    for _ in range(3):
        assert read_path("counted", CHAIN, tuple(operands)) == LEFT
    assert len(asked) == 1
