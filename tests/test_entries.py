"""`entries` and `completion_loss` against indexing the dense product, duplicates in the coordinates included."""

from __future__ import annotations

import random

import pytest
import torch
from torch import Tensor

import irkernels as irk
from irkernels.reference.equation import read_equation
from irkernels.testing import Product, dense_completion_loss, dense_entries, random_product, worst_ratio

RELATIVE = 1e-10
CASES = 500
LOSSES = ("mse", "half_sse", "l1", "huber")


def drawn_coordinates(rng: random.Random, shape: tuple[int, ...]) -> Tensor:
    """[nnz, order], nnz up to 12, every third entry a duplicate of an earlier one."""
    nnz = 0 if 0 in shape else rng.randint(1, 12)
    rows: list[list[int]] = []
    for entry in range(nnz):
        fresh = [rng.randrange(extent) for extent in shape]
        rows.append(rng.choice(rows) if entry % 3 == 2 else fresh)
    return torch.tensor(rows, dtype=torch.int64).reshape(nnz, len(shape))


def case_of(seed: int) -> tuple[Product, list[Tensor], Tensor, random.Random]:
    rng = random.Random(seed)
    case = random_product(20_000 + seed, trials=seed % 3 == 0)
    operands = case.operands(seed)
    return case, operands, drawn_coordinates(rng, read_equation(case.equation, tuple(operands)).shape), rng


def with_gradients(function, operands: list[Tensor]) -> tuple[Tensor, tuple[Tensor, ...]]:
    factors = [operand.detach().requires_grad_() for operand in operands]
    value = function(*factors)
    weights = torch.linspace(1, 2, value.numel(), dtype=value.dtype).reshape(value.shape)
    return value.detach(), torch.autograd.grad(
        (value * weights).sum(), factors, materialize_grads=True, allow_unused=True
    )


def hold(found, expected, scale, what: str) -> None:
    for which, (a, b, s) in enumerate(zip((found[0], *found[1]), (expected[0], *expected[1]), (scale[0], *scale[1]))):
        ratio = worst_ratio(a, b, s)
        part = "value" if which == 0 else f"gradient of operand {which - 1}"
        assert ratio <= RELATIVE, f"{part}: error {ratio:.2e} of the absolute product, {what}"


def test_entries(verbs) -> None:
    empty = duplicated = 0
    for seed in range(CASES):
        case, operands, at, _ = case_of(seed)
        empty += len(at) == 0
        duplicated += len({tuple(row) for row in at.tolist()}) < len(at)
        found = with_gradients(lambda *f: verbs.entries(case.equation, *f, at=at), operands)
        expected = with_gradients(lambda *f: dense_entries(case.equation, *f, at=at), operands)
        positive = [operand.abs() for operand in operands]
        scale = with_gradients(lambda *f: dense_entries(case.equation, *f, at=at), positive)
        hold(found, expected, scale, f"{case} at {at.tolist()}")
    assert empty > 5 and duplicated > 250


def test_completion_loss(verbs) -> None:
    for seed in range(CASES):
        case, operands, at, rng = case_of(seed)
        if len(at) == 0:
            continue
        read = read_equation(case.equation, tuple(operands))
        generator = torch.Generator().manual_seed(seed)
        loss, delta = LOSSES[seed % 4], rng.choice((0.5, 1.0, 2.0))
        leading = rng.choice(((), read.dense))
        values = torch.randn(*leading, len(at), generator=generator, dtype=torch.float64)
        weights = None
        if seed % 2:
            weights = torch.randint(0, 3, (*rng.choice(((), read.dense)), len(at)), generator=generator).double()
            weights[..., 0] = 1.5
        observed = irk.Observed(at, values, read.shape, weights)
        found = with_gradients(
            lambda *f: verbs.completion_loss(case.equation, *f, observed=observed, loss=loss, delta=delta), operands
        )

        def dense(*factors: Tensor) -> Tensor:
            return dense_completion_loss(
                case.equation, *factors, at=at, values=values, weights=weights, loss=loss, delta=delta
            )

        def bound(*factors: Tensor) -> Tensor:
            """At least the loss and its slope at the absolute product: w (y + |v| + 1)^2."""
            reach = dense_entries(case.equation, *factors, at=at) + values.abs().expand(*read.dense, len(at)) + 1
            return ((1 if weights is None else weights) * reach**2).sum(-1) * (1 + delta)

        expected = with_gradients(dense, operands)
        scale = with_gradients(bound, [operand.abs() for operand in operands])
        assert found[0].shape == read.dense
        hold(found, expected, scale, f"{loss}, weights {weights}, {case} at {at.tolist()}")


def test_sampled_cotangents(verbs) -> None:
    """A sampled cotangent is the dense one with its values added where they stand."""
    for seed in range(0, CASES, 5):
        case, operands, at, _ = case_of(seed)
        read = read_equation(case.equation, tuple(operands))
        values = torch.randn(*read.dense, len(at), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        factors = [operand.detach().requires_grad_() for operand in operands]
        sampled = dense_entries(case.equation, *factors, at=at)
        expected = torch.autograd.grad(sampled, factors, values, materialize_grads=True, allow_unused=True)
        positive = [operand.abs().detach().requires_grad_() for operand in operands]
        reach = dense_entries(case.equation, *positive, at=at)
        scales = torch.autograd.grad(reach, positive, values.abs(), materialize_grads=True, allow_unused=True)
        cotangents = [(at, values)]
        if len(at):
            cotangents.append(irk.Observed(at, values, read.shape))
        for cotangent in cotangents:
            found = verbs.gradients(case.equation, *operands, cotangent=cotangent)
            assert len(found) == len(operands)
            for p, (a, b, scale) in enumerate(zip(found, expected, scales)):
                assert worst_ratio(a, b, scale) <= RELATIVE, f"operand {p} of {case}"


def test_at_takes_coordinates_observed_and_any_integer_type(verbs) -> None:
    A, B = torch.randn(4, 3), torch.randn(3, 5)
    at = torch.tensor([[3, 4], [0, 0], [3, 4]])
    observed = irk.Observed(at, torch.zeros(3), (4, 5))
    expected = verbs.entries("ij,jk->ik", A, B, at=at)
    for other in (observed, observed.coordinates, at.to(torch.int32), at.to(torch.uint8), at.tolist(), at.numpy()):
        assert torch.equal(verbs.entries("ij,jk->ik", A, B, at=other), expected)
    strided = torch.stack((at, at), 1).reshape(6, 2)[::2]
    assert torch.equal(verbs.entries("ij,jk->ik", A, B, at=strided), expected)


def test_dots_come_first_wherever_they_stand(verbs) -> None:
    A, B = torch.randn(2, 4, 3, 2, dtype=torch.float64), torch.randn(3, 5, dtype=torch.float64)
    at = torch.tensor([[3, 4], [0, 1], [2, 2]])
    dense = torch.einsum("aijb,jk->iabk", A, B)
    found = verbs.entries("...ijb,jk->i...bk", A, B, at=torch.tensor([[3, 1, 4]]))
    assert torch.allclose(found, dense[3, :, 1, 4].unsqueeze(-1))
    found = verbs.entries("i...j,jk->k...i", A.movedim((1, 2), (0, 3)), B, at=at.flip(1))
    expected = torch.einsum("i...j,jk->...ik", A.movedim((1, 2), (0, 3)), B)[..., at[:, 0], at[:, 1]]
    assert found.shape == (2, 2, 3) and torch.allclose(found, expected)


def test_order_beyond_any_dense_product(verbs) -> None:
    """Fifty-one factors of extent 64: the dense product would hold 64^51 entries."""
    letters = "bcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
    generator = torch.Generator().manual_seed(0)
    factors = [1 + torch.randn(64, 3, dtype=torch.float64, generator=generator) / 8 for _ in letters]
    equation = ",".join(f"{letter}a" for letter in letters) + "->" + letters
    at = torch.randint(64, (20, 51), generator=generator)
    expected = torch.stack([factor[column] for factor, column in zip(factors, at.unbind(1))]).prod(0).sum(-1)
    found = verbs.entries(equation, *factors, at=at)
    assert torch.allclose(found, expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize("loss", LOSSES)
def test_losses_from_their_definition(verbs, loss: str) -> None:
    """By hand: residuals -1, 0.5 and 3 with weights 1, 2 and 1."""
    factor = torch.tensor([0.0, 1.5, 5.0], dtype=torch.float64, requires_grad=True)
    observed = irk.Observed([[0], [1], [2]], torch.tensor([1.0, 1.0, 2.0], dtype=torch.float64), (3,), [1.0, 2.0, 1.0])
    found = verbs.completion_loss("i->i", factor, observed=observed, loss=loss)
    by_hand = {
        "mse": ((1 + 2 * 0.25 + 9) / 4, [-2 / 4, 2 / 4, 6 / 4]),
        "half_sse": ((1 + 2 * 0.25 + 9) / 2, [-1, 1, 3]),
        "l1": ((1 + 2 * 0.5 + 3) / 4, [-1 / 4, 2 / 4, 1 / 4]),
        "huber": ((0.5 + 2 * 0.125 + 2.5) / 4, [-1 / 4, 1 / 4, 1 / 4]),
    }[loss]
    assert found.item() == pytest.approx(by_hand[0], rel=1e-14)
    found.backward()
    assert factor.grad.tolist() == pytest.approx(by_hand[1], rel=1e-14)
