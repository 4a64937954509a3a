"""Native training on listed entries: the arithmetic of plain torch, and the bits of one thread for teams of several."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

import irkernels as irk

RATE, STEPS = 0.05, 12


@dataclass(frozen=True)
class Case:
    """A product whose root is sampled, unless almost every entry is observed."""

    equation: str
    shapes: tuple[tuple[int, int], ...]
    shape: tuple[int, ...]
    observed: int
    constants: tuple[int, ...] = ()


# more than the multiply-adds from which members of a team share one trial
LARGE = [
    Case("ij,jk,kl->il", ((70, 70),) * 3, (70, 70), 1500),
    Case("ij,jk,kl->il", ((64, 64),) * 3, (64, 64), 4000),
    Case("ij,jk,kl,lm->im", ((50, 50), (50, 60), (60, 50), (50, 41)), (50, 41), 900),
    Case("ij,jk->ik", ((30, 1500), (1500, 30)), (30, 30), 500),
    Case("ar,br,cr,dr->abcd", ((6, 300),) * 4, (6,) * 4, 700),
]
# rows that end inside a pack, beyond what registers hold, beyond a block; groups of one entry; one side constant
SMALL = [
    Case("ij,jk->ik", ((12, depth), (depth, 9)), (12, 9), observed)
    for depth, observed in ((1, 9), (7, 40), (33, 30), (100, 50), (140, 60), (1100, 20))
]
SMALL += [
    Case("ij,jk->ik", ((12, 40), (40, 9)), (12, 9), 50, constants=(0,)),
    Case("ij,jk->ik", ((12, 40), (40, 9)), (12, 9), 50, constants=(1,)),
    Case("ij,jk,kl->il", ((9, 4), (4, 30), (30, 8)), (9, 8), 71),
    Case("ar,br,cr->abc", ((3, 20), (4, 20), (5, 20)), (3, 4, 5), 40),
]


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def problem(case: Case, dtype: torch.dtype, weighted: bool) -> tuple[list[Tensor], irk.Observed]:
    """Operands, and entries of which a few are listed twice."""
    generator = torch.Generator().manual_seed(8)
    drawn = [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in case.shapes]
    operands = [operand / math.sqrt(operand.shape[1]) for operand in drawn]
    flat = torch.randperm(math.prod(case.shape), generator=generator)[: case.observed]
    flat = torch.cat([flat, flat[:3]])
    at = torch.stack(torch.unravel_index(flat, case.shape), 1)
    values = torch.randn(len(flat), generator=generator, dtype=torch.float64)
    weights = torch.randint(0, 3, (len(flat),), generator=generator).double() if weighted else None
    return [operand.to(dtype) for operand in operands], irk.Observed(at, values, case.shape, weights).to(dtype)


def trained(case: Case, dtype: torch.dtype, loss: str, weighted: bool) -> list[Tensor]:
    operands, observed = problem(case, dtype, weighted)
    factors = [torch.nn.Parameter(operand) if p not in case.constants else None for p, operand in enumerate(operands)]
    constants = {p: operands[p] for p in case.constants}
    model = irk.nn.Product(case.equation, *(f for f in factors if f is not None), constants=constants)
    irk.fit(model, observed, torch.optim.SGD(model.parameters(), lr=RATE), steps=STEPS, loss=loss, progress=False)
    return [parameter.detach() for parameter in model.parameters()]


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("case", SMALL, ids=str)
def test_steps_are_those_of_plain_torch(case: Case, weighted: bool) -> None:
    operands, observed = problem(case, torch.float64, weighted)
    weights = torch.ones(observed.nnz, dtype=torch.float64) if observed.weights is None else observed.weights
    factors = [o.requires_grad_() for p, o in enumerate(operands) if p not in case.constants]
    for _ in range(STEPS):
        residual = torch.einsum(case.equation, *operands)[tuple(observed.at.T)] - observed.values
        loss = (weights * residual.square()).sum() / weights.sum()
        for factor, gradient in zip(factors, torch.autograd.grad(loss, factors)):
            factor.data -= RATE * gradient
    for found, expected in zip(trained(case, torch.float64, "mse", weighted), factors, strict=True):
        torch.testing.assert_close(found, expected.detach(), rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("loss, weighted", [("mse", False), ("huber", True)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("case", LARGE, ids=str)
def test_a_team_gives_the_bits_of_one_thread(case: Case, dtype: torch.dtype, loss: str, weighted: bool) -> None:
    results = []
    for count in (1, 2, 3):
        torch.set_num_threads(count)
        results.append(trained(case, dtype, loss, weighted))
    assert all(factor.isfinite().all() for factor in results[0])
    for others in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], others, strict=True))
