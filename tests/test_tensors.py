"""TensorLy's functions in our words: values against plain torch, derivatives, argument forms, memory."""

from __future__ import annotations

import doctest
import itertools
import math
from collections.abc import Callable, Sequence
from functools import reduce

import pytest
import torch
from test_memory import most_alive
from torch import Tensor

import irkernels as irk
from irkernels.tensors import columns, modes, trains, trees

RANK = 3
each_order = pytest.mark.parametrize("order", (1, 2, 3, 4))
each_weights = pytest.mark.parametrize("weighted", (False, True), ids=("", "weights"))


def randn(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def equal(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def cp(order: int, weighted: bool) -> tuple[Tensor | None, list[Tensor]]:
    return randn(RANK) if weighted else None, [randn(n, RANK) for n in (4, 2, 5, 3)[:order]]


def outer(vectors: Sequence[Tensor]) -> Tensor:
    return reduce(lambda a, b: a.unsqueeze(-1) * b, vectors)


def components(weights: Tensor | None, factors: Sequence[Tensor]) -> list[Tensor]:
    scales = torch.ones(RANK, dtype=torch.float64) if weights is None else weights
    return [scales[r] * outer([factor[:, r] for factor in factors]) for r in range(RANK)]


def along(tensor: Tensor, factor: Tensor, mode: int) -> Tensor:
    product = torch.tensordot(tensor, factor, ([mode], [factor.dim() - 1]))
    return product.movedim(-1, mode) if factor.dim() == 2 else product


def train(cores: Sequence[Tensor]) -> Tensor:
    return reduce(lambda a, b: torch.tensordot(a, b, 1), cores)


@each_order
@each_weights
def test_cp(order: int, weighted: bool) -> None:
    weights, factors = cp(order, weighted)
    full = sum(components(weights, factors))
    equal(irk.cp_to_tensor((weights, factors)), full)
    mask = torch.rand(full.shape[-1:]) > 0.5
    equal(irk.cp_to_tensor((weights, factors), mask=mask), full * mask)


@each_order
@each_weights
def test_khatri_rao(order: int, weighted: bool) -> None:
    weights, factors = cp(order, weighted)
    rows = torch.stack([part.flatten() for part in components(weights, factors)], 1)
    equal(irk.khatri_rao(factors, weights), rows)
    mask = torch.rand([len(factor) for factor in factors]) > 0.5
    equal(irk.khatri_rao(factors, weights, mask=mask), rows * mask.reshape(-1, 1))
    for skip in range(order if order > 1 else 0):
        rest = [factor for position, factor in enumerate(factors) if position != skip]
        equal(irk.khatri_rao(factors, weights, skip), irk.khatri_rao(rest, weights))
        equal(irk.khatri_rao(factors, weights, skip - order), irk.khatri_rao(factors, weights))  # as TensorLy


def test_one_matrix_alone_is_returned_and_vectors_are_columns() -> None:
    matrix, vectors = randn(4, 3), [randn(4), randn(2)]
    assert irk.khatri_rao([matrix]) is matrix and irk.khatri_rao([matrix, matrix], skip_matrix=1) is matrix
    equal(irk.khatri_rao(vectors), outer(vectors).reshape(-1, 1))
    equal(irk.cp_to_tensor((None, vectors)), outer(vectors))
    tensor = randn(4, 2)
    equal(irk.unfolding_dot_khatri_rao(tensor, (None, vectors), 0), (tensor @ vectors[1]).unsqueeze(1))


@pytest.mark.parametrize("order", (2, 3, 4))
@each_weights
def test_mttkrp(order: int, weighted: bool) -> None:
    weights, factors = cp(order, weighted)
    tensor = randn(*(len(factor) for factor in factors))
    for mode in range(order):
        unfolded = tensor.movedim(mode, 0).reshape(len(factors[mode]), -1)
        others = [None if position == mode else factor for position, factor in enumerate(factors)]
        expected = unfolded @ irk.khatri_rao(factors, weights, mode)
        equal(irk.unfolding_dot_khatri_rao(tensor, (weights, others), mode), expected)
        equal(irk.unfolding_dot_khatri_rao(tensor, (weights, others), mode - order), expected)


@pytest.mark.parametrize(
    "shapes, given",
    [
        (((5, 2), (6, 3), (2, 4)), None),
        (((5, 2), (3,), (2, 4)), None),
        (((2,), (3,), (4,)), None),
        (((5, 2), (6, 3)), None),
        (((5, 4), (3,)), (2, 1)),
        (((5, 4), (6, 2)), (-1, 0)),
        (((4,), (2,)), (-1, -3)),
        (((5, 3), (6, 5), (6,)), (1, 1, 1)),  # one after the other along one mode
        (((7, 4),), (2,)),
    ],
    ids=str,
)
@pytest.mark.parametrize("transpose", (False, True), ids=("", "transposed"))
def test_mode_products(shapes: tuple[tuple[int, ...], ...], given: tuple[int, ...] | None, transpose: bool) -> None:
    tensor, factors = randn(2, 3, 4), [randn(*shape) for shape in shapes]
    order = sorted(range(len(factors)), key=lambda p: (p if given is None else given[p] % 3))
    for skip in (None, *range(len(factors) if given != (1, 1, 1) else 0)):
        expected, gone = tensor, 0
        for place, p in enumerate(order):
            if place != skip:
                expected = along(expected, factors[p], (p if given is None else given[p] % 3) - gone)
                gone += factors[p].dim() == 1
        turned = [factor.T if transpose and factor.dim() == 2 else factor for factor in factors]
        equal(irk.multi_mode_dot(tensor, turned, modes=given, skip=skip, transpose=transpose), expected)


def test_mode_product_of_nothing_is_the_tensor() -> None:
    tensor = randn(2, 3)
    assert irk.multi_mode_dot(tensor, []) is tensor and irk.multi_mode_dot(tensor, [randn(4, 2)], skip=0) is tensor
    equal(irk.mode_dot(tensor, tensor, 0, transpose=True), tensor.T @ tensor)


def test_tucker() -> None:
    core, factors = randn(2, 3, 2), [randn(4, 2), randn(5, 3), randn(3, 2)]
    full = reduce(lambda t, mode: along(t, factors[mode], mode), range(3), core)
    equal(irk.tucker_to_tensor((core, factors)), full)
    equal(irk.tucker_to_tensor((core, [factor.T for factor in factors]), transpose_factors=True), full)
    equal(irk.tucker_to_tensor((core, factors), skip_factor=1), along(along(core, factors[0], 0), factors[2], 2))


@pytest.mark.parametrize("shape", [(4,), (4, 3), (2, 4, 3), (2,) * 5], ids=str)
def test_trains_and_rings(shape: tuple[int, ...]) -> None:
    ranks = (2, 3, 4, 2, 3)[: len(shape)]
    ring = [randn(ranks[k - 1] if k else ranks[-1], n, ranks[k]) for k, n in enumerate(shape)]
    equal(irk.tr_to_tensor(ring), train(ring).diagonal(dim1=0, dim2=-1).sum(-1))
    line = [ring[0][:1], *ring[1:]]
    line[-1] = line[-1][..., :1]
    equal(irk.tt_to_tensor(line), train(line)[0, ..., 0])
    pairs = [core.unsqueeze(2) * randn(2).reshape(2, 1) for core in line]  # [r, n, 2, r]
    turned = [*range(0, 2 * len(shape), 2), *range(1, 2 * len(shape), 2)]
    equal(irk.tt_matrix_to_tensor(pairs), train(pairs)[0, ..., 0].permute(*turned))


def tree(node: object) -> Tensor:
    """[n_1, ..., n_m, r] of a node, in plain torch; a diagonal transfer is written out."""
    if isinstance(node, Tensor):
        return node
    transfer, factors = node
    parts = [tree(factor) for factor in factors]
    if transfer.dim() < len(parts) + 1:
        units = torch.eye(len(transfer), dtype=torch.float64)
        transfer = torch.stack([outer([unit] * len(parts)) for unit in units], -1) @ transfer
    for part in parts:  # a part's modes go to the end, its columns meet the transfer's first axis
        transfer = torch.tensordot(transfer, part, ([0], [part.dim() - 1]))
    return transfer.movedim(0, -1)


FULL, WIDE = (randn(2, 3, 4), [randn(5, 2), randn(3, 3)]), (randn(2, 2, 2, 3), [randn(2, 2), randn(3, 2), randn(2, 2)])
LOCAL = (randn(3, 4), [randn(5, 3), randn(2, 3), randn(2, 3)])
TREES = {
    "Tucker": (randn(2, 3, 1), [randn(4, 2), randn(5, 3)]),
    "CP": (randn(3, 1), [randn(4, 3), randn(5, 3), randn(2, 3)]),
    "binary": (randn(4, 3, 1), [FULL, WIDE]),
    "local components": (randn(4, 1), [LOCAL, FULL]),
    "deep": (randn(2, 4, 1), [randn(2, 2), (randn(3, 3, 4), [WIDE, (randn(4, 3), [LOCAL])])]),
}


@pytest.mark.parametrize("name", TREES)
def test_hierarchical(name: str) -> None:
    core, factors = TREES[name]
    full = tree((core, factors))[..., 0]
    equal(irk.ht_to_tensor((core[..., 0], factors)), full)
    order = list(range(full.dim()))[::-1]
    equal(irk.ht_to_tensor((core[..., 0], factors), modes=order), full.permute(order))


def test_a_tree_without_core_is_cp() -> None:
    weights, factors = cp(3, True)
    equal(irk.ht_to_tensor((None, factors)), irk.cp_to_tensor((None, factors)))
    equal(irk.ht_to_tensor((weights, factors)), irk.cp_to_tensor((weights, factors)))


DIFFERENTIABLE: dict[str, tuple[Callable[..., Tensor], tuple[tuple[int, ...], ...]]] = {
    "cp_to_tensor": (lambda w, *f: irk.cp_to_tensor((w, f)), ((2,), (2, 2), (3, 2), (2, 2))),
    "khatri_rao": (lambda w, *f: irk.khatri_rao(f, w), ((2,), (2, 2), (3, 2))),
    "unfolding_dot_khatri_rao": (
        lambda t, w, *f: irk.unfolding_dot_khatri_rao(t, (w, [f[0], None, f[1]]), 1), ((2, 3, 2), (2,), (2, 2), (2, 2))
    ),
    "multi_mode_dot": (lambda t, *f: irk.multi_mode_dot(t, f, modes=[2, 0]), ((2, 2, 3), (2, 3), (2,))),
    "tucker_to_tensor": (lambda c, *f: irk.tucker_to_tensor((c, f)), ((2, 2), (3, 2), (2, 2))),
    "tt_to_tensor": (lambda *f: irk.tt_to_tensor(f), ((1, 2, 2), (2, 3, 2), (2, 2, 1))),
    "tr_to_tensor": (lambda *f: irk.tr_to_tensor(f), ((2, 2, 2), (2, 3, 2))),
    "tt_matrix_to_tensor": (lambda *f: irk.tt_matrix_to_tensor(f), ((1, 2, 2, 2), (2, 2, 2, 1))),
    "ht_to_tensor": (
        lambda c, t, *f: irk.ht_to_tensor((c, [(t, f[:2]), f[2]])), ((2, 2), (2, 2, 2), (2, 2), (2, 2), (2, 2))
    ),
}


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_derivatives(name: str) -> None:
    function, shapes = DIFFERENTIABLE[name]
    operands = [randn(*shape).requires_grad_() for shape in shapes]
    assert torch.autograd.gradcheck(function, operands)
    assert torch.autograd.gradgradcheck(function, operands, fast_mode=True)
    copies = [torch.stack([operand.detach(), randn(*shape)]) for operand, shape in zip(operands, shapes)]
    equal(torch.func.vmap(function)(*copies)[1], function(*(copy[1] for copy in copies)))


def test_large_orders_have_letters_enough() -> None:
    cores = [randn(1, 1, 2), *(randn(2, 1, 2) for _ in range(70)), randn(2, 1, 1)]
    equal(irk.tt_to_tensor(cores).flatten(), reduce(torch.matmul, [core[:, 0] for core in cores]).flatten())


@pytest.mark.parametrize("mode, gradients", list(itertools.product(range(3), (False, True))))
def test_mttkrp_forms_no_khatri_rao_product_of_all_other_modes(mode: int, gradients: bool) -> None:
    """tensorly#618, scaled: beside results and gradients at most a tenth of the tensor, or 1 MiB."""
    shape, rank = (12, 400, 400), 20
    tensor = torch.randn(shape)
    factors = [torch.randn(n, rank, requires_grad=gradients) for n in shape]

    def call() -> object:
        product = irk.unfolding_dot_khatri_rao(tensor, (None, factors), mode)
        return torch.autograd.grad(product.sum(), factors[:mode] + factors[mode + 1 :]) if gradients else product

    results = 4 * rank * sum(shape)
    others = 4 * rank * math.prod(n for k, n in enumerate(shape) if k != mode)
    bound = max(tensor.numel() * 4 // 10, 1 << 20) + results
    assert most_alive(call) <= bound
    assert mode > 0 or bound < others  # so that forming it would be seen


@pytest.mark.parametrize("module", (columns, modes, trains, trees), ids=lambda module: module.__name__)
def test_examples(module: object) -> None:
    found = doctest.testmod(module, extraglobs={"torch": torch})
    assert found.attempted and not found.failed
