"""Rank-one measurements of products of very high order: a vector of each measurement in place of each coordinate."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import irkernels as irk
from irkernels import _launch, reference

ORDER, EXTENT, RANK, COUNT = 784, 2, 3, 60
F64 = torch.float64
native_only = pytest.mark.skipif(_launch.LAUNCHES, reason="the kernel target in force trains in torch")


def letters(order: int = ORDER) -> list[str]:
    return [chr(0x4E00 + i) for i in range(order)]


def drawn(dtype: torch.dtype = torch.float32) -> tuple[list[Tensor], list[Tensor]]:
    """Factors [EXTENT, RANK] and vectors [COUNT, EXTENT]. Products of the first half of them are far beyond float32,
    each
    measurement's and each component's of its own size; the second half brings them back. One measurement is 0."""
    generator = torch.Generator().manual_seed(1)
    factors = torch.rand(ORDER, EXTENT, RANK, generator=generator, dtype=F64) + 0.5
    vectors = torch.rand(ORDER, COUNT, EXTENT, generator=generator, dtype=F64) + 0.5
    vectors *= torch.randint(0, 2, (ORDER, COUNT, 1), generator=generator) * 2 - 1
    back = torch.where(torch.arange(ORDER) < ORDER // 2, 1, -1).view(-1, 1, 1)
    vectors *= torch.exp2(back * torch.linspace(-1, 1, COUNT).view(-1, 1) - 0.95)
    factors *= torch.exp2(back * torch.linspace(-0.5, 0.5, RANK))
    vectors[5, 0] = 0
    return [f.to(dtype) for f in factors], [v.to(dtype) for v in vectors]


def measured(order: int = ORDER) -> str:
    modes = letters(order)
    return f"{','.join([mode + 'r' for mode in modes] + ['m' + mode for mode in modes])}->m"


def others(rows: Tensor) -> Tensor:
    """The product of all rows [order, m, r] but each."""
    one = torch.ones_like(rows[:1])
    before = torch.cat((one, rows[:-1])).cumprod(0)
    return before * torch.cat((rows[1:], one)).flip(0).cumprod(0).flip(0)


@pytest.mark.parametrize("listed", (False, True), ids=("dense", "listed"))
def test_values_and_gradients_in_float32(listed: bool) -> None:
    factors, vectors = drawn()
    operands = [each.requires_grad_() for each in (*factors, *vectors)]
    if listed:
        values = irk.entries(measured(), *operands, at=torch.arange(COUNT).unsqueeze(1))
    else:
        values = irk.einsum(measured(), *operands)
    F, X = (torch.stack([each.detach().double() for each in group]) for group in (factors, vectors))
    rows, sizes = X @ F, X.abs() @ F.abs()  # [order, m, r]
    expected, slopes = rows.prod(0).sum(-1), others(rows)
    scale, slope_sizes = sizes.prod(0).sum(-1), others(sizes)
    assert values.isfinite().all() and values[0] == 0
    assert ((values.detach().double() - expected).abs() <= 1e-5 * scale + 1e-38).all()
    fits = (slope_sizes.amax((0, 2)) < 1e36) & (expected.abs() < 1e36)
    assert fits.sum() > 0.7 * COUNT
    gradients = torch.autograd.grad(values[fits].sum(), operands)
    wanted = [*(X[:, fits].mT @ slopes[:, fits])]
    limits = [*(X[:, fits].abs().mT @ slope_sizes[:, fits])]
    wanted += [*(slopes @ F.mT)]
    limits += [*(slope_sizes @ F.abs().mT)]
    for i, (found, true, limit) in enumerate(zip(gradients, wanted, limits)):
        mask = slice(None) if i < ORDER else fits
        assert ((found.double() - true).abs() <= 1e-5 * limit + 1e-37)[mask].all()


@native_only
@pytest.mark.parametrize("batch", (None, 16))
def test_training(batch: int | None) -> None:
    factors, vectors = drawn(F64)
    y = torch.randn(COUNT, dtype=F64, generator=torch.Generator().manual_seed(2))
    model = irk.nn.Product(f"{','.join(mode + 'r' for mode in letters())}->{''.join(letters())}", *factors)
    data, steps, lr = irk.RankOneSensing(vectors, y), 3, 1e-6
    run = irk.fit(model, data, torch.optim.SGD(model.parameters(), lr=lr), steps=steps, batch_size=batch,
                  progress=False)
    assert run.tier.startswith(("core", "grid"))
    F, X = torch.stack(factors), torch.stack(vectors)
    for step in range(steps):
        chosen = torch.arange(COUNT) if batch is None else reference.sampler.batch_indices(COUNT, batch, 0, step)
        F = F.detach().requires_grad_()
        ((X[:, chosen] @ F).prod(0).sum(-1) - y[chosen]).square().mean().backward()
        F = F - lr * F.grad
    for ours, theirs, start in zip(model.factors, F, factors):
        assert torch.allclose(ours - start, theirs - start, rtol=1e-6, atol=1e-14)


@native_only
def test_workspace_does_not_grow_with_the_measurements() -> None:
    sizes, order = [], 100
    for count in (5_000, 20_000):
        shapes = [((EXTENT, RANK), (RANK, 1))] * order + [((count, EXTENT), (EXTENT, 1))] * order
        plan = _launch.explain(measured(order), (True,) * order + (False,) * order, shapes, torch.float32, count)
        assert plan.gather
        sizes.append(plan.workspace["backward"])
    assert sizes[0] == sizes[1] > 0
