"""Listed entries from gathered rows, natively: values, gradients, losses, training, and the same bits however
shared."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

import irkernels as irk
from irkernels import _launch, reference

F64 = torch.float64
native_only = pytest.mark.skipif(_launch.LAUNCHES, reason="the kernel target in force gathers rows in torch")


@dataclass(frozen=True)
class Case:
    name: str
    equation: str
    shapes: tuple[tuple[int, ...], ...]
    output: tuple[int, ...]  # extents of the listed letters
    nnz: int = 70

    def operands(self, dtype: torch.dtype = F64, seed: int = 0) -> list[Tensor]:
        generator = torch.Generator().manual_seed(seed)
        return [torch.randn(shape, generator=generator, dtype=F64).to(dtype).requires_grad_() for shape in self.shapes]

    def at(self, seed: int = 1) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        return torch.stack([torch.randint(n, (self.nnz,), generator=generator) for n in self.output], 1)


def canonical(name: str, order: int, size: int, rank: int, nnz: int = 70) -> Case:
    letters = [chr(0x4E00 + i) for i in range(order)]
    equation = f"{','.join(letter + 'r' for letter in letters)}->{''.join(letters)}"
    return Case(name, equation, ((size, rank),) * order, (size,) * order, nnz)


CASES = (
    Case("shared letter", "ar,br,cr,dr->abcd", ((100, 5),) * 4, (100,) * 4),
    Case("several blocks", "ar,br,cr,dr->abcd", ((2000, 3),) * 4, (2000,) * 4, 2500),
    Case("a train", "ai,ibj,jck,kd->abcd", ((200, 5), (5, 250, 4), (4, 260, 3), (3, 200)), (200, 250, 260, 200)),
    Case("an operand without rows", "ij,jk,kl->il", ((400, 300), (300, 300), (300, 400)), (400, 400), 40),
    Case("a scalar among them", "ar,,br,cr,dr->abcd", ((90, 5), (), (90, 5), (90, 5), (90, 5)), (90,) * 4),
    Case("trials", "...ar,...br,...cr,...dr->...abcd", ((3, 90, 4),) * 4, (90,) * 4),
    Case("dense axes", "...ar,br,cr,dr->...abcd", ((3, 90, 4), *((90, 4),) * 3), (90,) * 4),
    Case("sizes of 1", "ar,br,cr,dr->abcd", ((90, 4), (1, 4), (90, 1), (90, 4)), (90, 1, 90, 90), 3),
    Case("a letter in two operands", "ar,ar,bsr,crs,dr->abcd", ((90, 4), (90, 4), (90, 2, 4), (90, 4, 2), (90, 4)),
         (90,) * 4),
    Case("a diagonal", "aar,br,cr,dr->abcd", ((90, 90, 4), *((90, 4),) * 3), (90,) * 4),
    canonical("order 40", 40, 2, 3),
    canonical("one component", 40, 2, 1),
    canonical("two components", 36, 2, 2, 133),
    canonical("one component, more rows than entries", 20, 200, 1, 41),
    canonical("two components, more rows than entries", 20, 200, 2, 41),
)  # fmt: skip
each_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def gathers(case: Case) -> bool:
    return irk.explain(case.equation, *case.shapes, nnz=case.nnz).splitlines()[1].startswith("route       gather")


@each_case
def test_values_and_gradients(case: Case) -> None:
    assert gathers(case) or case.name == "sizes of 1"
    operands, at = case.operands(), case.at()
    found = irk.entries(case.equation, *operands, at=at)
    expected = reference.entries(case.equation, *operands, at=at)
    assert torch.allclose(found, expected, rtol=1e-10, atol=1e-10)
    cotangent = torch.randn(expected.shape, dtype=F64, generator=torch.Generator().manual_seed(2))
    wanted = torch.autograd.grad(expected, operands, cotangent)
    for pulled in (
        torch.autograd.grad(found, operands, cotangent),
        irk.gradients(case.equation, *operands, cotangent=(at, cotangent)),
    ):
        for a, b in zip(pulled, wanted):
            assert a.shape == b.shape and torch.allclose(a, b, rtol=1e-9, atol=1e-9)


@each_case
def test_single_precision(case: Case) -> None:
    """Against the same sums of absolute values: packs of float32 hold more rows than those of float64."""
    operands, at = case.operands(torch.float32), case.at()
    found = irk.entries(case.equation, *operands, at=at)
    cotangent = torch.randn(found.shape, dtype=F64, generator=torch.Generator().manual_seed(2))
    pulled = torch.autograd.grad(found, operands, cotangent.float())
    wide = [operand.detach().double().requires_grad_() for operand in operands]
    sizes = [operand.detach().abs().requires_grad_() for operand in wide]
    expected, bound = (reference.entries(case.equation, *each, at=at) for each in (wide, sizes))
    assert ((found - expected).abs() <= 1e-5 * bound).all()
    wanted = torch.autograd.grad(expected, wide, cotangent.float().double())
    for a, b, size in zip(pulled, wanted, torch.autograd.grad(bound, sizes, cotangent.abs()), strict=True):
        assert ((a - b).abs() <= 1e-5 * size).all()


@each_case
def test_some_gradients_only(case: Case) -> None:
    operands, at = case.operands(), case.at()
    every = torch.autograd.grad(irk.entries(case.equation, *operands, at=at).sum(), operands)
    for operand in operands[1:]:
        operand.requires_grad_(False)
    (first,) = torch.autograd.grad(irk.entries(case.equation, *operands, at=at).sum(), operands[:1])
    assert torch.allclose(first, every[0], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("case", CASES[:6], ids=lambda case: case.name)
@pytest.mark.parametrize("loss", ("mse", "l1"))
def test_losses(case: Case, loss: str) -> None:
    operands = case.operands()
    values = torch.randn(case.nnz, dtype=F64, generator=torch.Generator().manual_seed(3))
    observed = irk.Observed(case.at(), values, case.output)
    found = irk.completion_loss(case.equation, *operands, observed=observed, loss=loss)
    expected = reference.completion_loss(case.equation, *operands, observed=observed, loss=loss)
    assert torch.allclose(found, expected, rtol=1e-10)
    for a, b in zip(torch.autograd.grad(found.sum(), operands), torch.autograd.grad(expected.sum(), operands)):
        assert torch.allclose(a, b, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("dtype", (torch.bfloat16, torch.float16), ids=str)
def test_half_types_are_rounded_once(dtype: torch.dtype) -> None:
    case = CASES[0]
    operands, at = case.operands(dtype), case.at()
    wide = [operand.detach().float().requires_grad_() for operand in operands]
    found, expected = (irk.entries(case.equation, *o, at=at) for o in (operands, wide))
    assert found.dtype == dtype and torch.equal(found, expected.to(dtype))
    for a, b in zip(torch.autograd.grad(found.sum(), operands), torch.autograd.grad(expected.sum(), wide)):
        assert a.dtype == dtype and torch.equal(a, b.to(dtype))


@native_only
@each_case
def test_bits_do_not_depend_on_threads(case: Case) -> None:
    before, seen = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            operands = case.operands(torch.float32)
            value = irk.entries(case.equation, *operands, at=case.at())
            seen.append((value.detach(), *torch.autograd.grad(value.sum(), operands)))
    finally:
        torch.set_num_threads(before)
    for other in seen[1:]:
        assert all(torch.equal(a, b) for a, b in zip(seen[0], other))


@native_only
def test_workspace_does_not_grow_with_the_entries() -> None:
    case = CASES[1]
    sizes = []
    for nnz in (5_000, 50_000, 100_000):
        plan = _launch.explain(case.equation, (True,) * 4, [(s, (s[1], 1)) for s in case.shapes], torch.float32, nnz)
        assert plan.gather
        sizes.append(plan.workspace["backward"])
    assert 0 < sizes[0] <= sizes[1] == sizes[2]  # few entries are not summed in blocks


@native_only
@pytest.mark.parametrize("batch", (None, 32))
@pytest.mark.parametrize("case", (CASES[0], CASES[3], CASES[-1]), ids=lambda case: case.name)
def test_training(case: Case, batch: int | None) -> None:
    generator = torch.Generator().manual_seed(4)
    factors = [torch.nn.Parameter(o.detach() * 0.5) for o in case.operands()]
    copies = [factor.detach().clone().requires_grad_() for factor in factors]
    observed = irk.Observed(case.at(), torch.randn(case.nnz, dtype=F64, generator=generator), case.output)
    model = irk.nn.Product(case.equation, *factors)
    steps = 4
    run = irk.fit(model, observed, torch.optim.SGD(model.parameters(), lr=1e-3), steps=steps, batch_size=batch,
                  progress=False)
    assert run.tier.startswith(("core", "grid"))
    optimizer = torch.optim.SGD(copies, lr=1e-3)
    for step in range(steps):
        chosen = torch.arange(case.nnz)
        if batch is not None:
            chosen = reference.sampler.batch_indices(case.nnz, batch, 0, step)
        optimizer.zero_grad()
        entries = reference.entries(case.equation, *copies, at=observed.at[chosen])
        (entries - observed.values[chosen]).square().mean().backward()
        optimizer.step()
    for ours, theirs in zip(model.factors, copies):
        assert torch.allclose(ours, theirs, rtol=1e-9, atol=1e-12)
