"""Large products of half types by torch's matmul: read where they are stored, rounded in between where they are not."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import irkernels as irk
from irkernels import _launch, _native

LAUNCHES = _launch.LAUNCHES
pytestmark = pytest.mark.usefixtures("blas_that_pays")  # whatever the machine
each_dtype = pytest.mark.parametrize("dtype", (torch.bfloat16, torch.float16), ids=str)

PAIRS = {  # equation, shapes: 2^24 multiply-adds and more, all extents at least 32, so that launches take part
    "matrices": ("ij,jk->ik", (300, 260), (260, 310)),
    "transposed": ("ji,kj->ki", (260, 300), (310, 260)),
    "a linear layer": ("...si,oi->...so", (6, 50, 250), (300, 250)),
    "letters that are one": ("abij,jkl->abikl", (3, 20, 5, 250), (250, 10, 32)),
    "a batch": ("bij,bjk->bik", (20, 100, 90), (20, 90, 110)),
    "trials": ("...ij,...jk->...ik", (4, 5, 100, 90), (4, 5, 90, 110)),
    "a factor for all trials": ("...ij,...jk->...ik", (4, 5, 100, 90), (90, 110)),
    "heads": ("bhqd,bhkd->bhqk", (4, 6, 100, 90), (4, 6, 110, 90)),
}


def operands(dtype: torch.dtype, *shapes: tuple[int, ...]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [(torch.randn(shape, generator=generator) / 8).to(dtype) for shape in shapes]


@pytest.fixture
def products(monkeypatch: pytest.MonkeyPatch) -> list[tuple[torch.dtype, ...]]:
    """The dtypes of what torch multiplies into what it is given."""
    seen: list[tuple[torch.dtype, ...]] = []

    def counting(multiply: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def counted(a: Tensor, b: Tensor, *, out: Tensor) -> Tensor:
            seen.append((a.dtype, b.dtype, out.dtype))
            return multiply(a, b, out=out)

        return counted

    monkeypatch.setattr(torch, "mm", counting(torch.mm))
    monkeypatch.setattr(torch, "bmm", counting(torch.bmm))
    return seen


def close(found: Tensor, exact: Tensor, sizes: Tensor, roundings: int) -> None:
    """Within so many roundings of the storage type, of the sum of the terms' sizes; 1e-6: float16's least steps."""
    eps = torch.finfo(found.dtype).eps
    assert ((found.double() - exact).abs() <= roundings * eps * sizes + 1e-6).all()


def check(equation: str, given: list[Tensor], cotangent: Tensor, roundings: int) -> None:
    """Value and gradients by backward and by the verb, against float64."""

    def exactly(tensors: list[Tensor], g: Tensor) -> list[Tensor]:
        wide = [each.double().requires_grad_() for each in tensors]
        value = torch.einsum(equation, *wide)
        return [value.detach(), *torch.autograd.grad(value, wide, g.double())]

    exact, sizes = exactly(given, cotangent), exactly([each.abs() for each in given], cotangent.abs())
    leaves = [each.detach().requires_grad_() for each in given]
    value = irk.einsum(equation, *leaves)
    value.backward(cotangent)
    for found, *rest in zip([value.detach(), *(leaf.grad for leaf in leaves)], exact, sizes):
        close(found, *rest, roundings)
    close(irk.einsum(equation, *given), exact[0], sizes[0], roundings)
    for found, *rest in zip(irk.gradients(equation, *given, cotangent=cotangent), exact[1:], sizes[1:]):
        close(found, *rest, roundings)


@each_dtype
@pytest.mark.parametrize("name", PAIRS)
def test_a_pair_is_multiplied_where_it_is_stored(
    name: str, dtype: torch.dtype, products: list[tuple[torch.dtype, ...]]
) -> None:
    equation, *shapes = PAIRS[name]
    given = operands(dtype, *shapes)
    with torch.no_grad():
        (cotangent,) = operands(dtype, tuple(torch.einsum(equation, *given).shape))
    products.clear()
    check(equation, given, cotangent, 1)
    assert products and set(products) == {(dtype,) * 3}


@each_dtype
@pytest.mark.skipif(LAUNCHES, reason="thin products stay with kernels that are launched")
@pytest.mark.parametrize(
    "equation, shapes",
    [("ij,jk->ik", ((1, 1000), (1000, 900))), ("i,ik->k", ((1000,), (1000, 900))), ("i,k->ik", ((900,), (800,)))],
)
def test_vectors_too(
    equation: str, shapes: tuple[tuple[int, ...], ...], dtype: torch.dtype, products: list[tuple[torch.dtype, ...]]
) -> None:
    given = operands(dtype, *shapes)
    (cotangent,) = operands(dtype, tuple(torch.einsum(equation, *given).shape))
    products.clear()
    check(equation, given, cotangent, 1)
    assert set(products) == {(dtype,) * 3}


@each_dtype
@pytest.mark.parametrize("layout", ["rows of more", "columns first", "every other", "one row for all"])
def test_strides(layout: str, dtype: torch.dtype, products: list[tuple[torch.dtype, ...]]) -> None:
    a, b, cotangent = operands(dtype, (300, 260), (260, 310), (300, 310))
    given = {
        "rows of more": [torch.cat([a, a], 1)[:, 260:], torch.cat([b, b])[260:]],
        "columns first": [a.T.contiguous().T, b.T.contiguous().T],
        "every other": [torch.stack([a, -a], -1)[..., 0], b],
        "one row for all": [a[:1].expand(300, 260), b],
    }[layout]
    check("ij,jk->ik", given, cotangent.T.contiguous().T, 1)
    assert products


@each_dtype
def test_what_no_stride_says_is_copied(dtype: torch.dtype) -> None:
    """A diagonal, and the gradient that has zeros beside it; a size of 1 that stands for more."""
    a, b, cotangent = operands(dtype, (200, 200, 300), (300, 310), (200, 310))
    check("iij,jk->ik", [a, b], cotangent, 1)
    a, b, cotangent = operands(dtype, (300, 1), (260, 310), (300, 310))
    check("ij,jk->ik", [a, b], cotangent, 1)


@each_dtype
@pytest.mark.parametrize("shapes", [((700, 500), (500, 64), (64, 600)), ((300, 300), (300, 250), (250, 310))], ids=str)
def test_chains_are_no_worse_than_torchs(
    shapes: tuple[tuple[int, int], ...], dtype: torch.dtype, products: list[tuple[torch.dtype, ...]]
) -> None:
    given = operands(dtype, *shapes)
    (cotangent,) = operands(dtype, (shapes[0][0], shapes[-1][1]))
    check("ij,jk,kl->il", given, cotangent, 3)
    assert products

    def error(found: Tensor) -> float:
        return float((found.double() - torch.linalg.multi_dot([each.double() for each in given])).square().mean())

    # the same roundings in another order of sums: equal on average, 1.2 for the draw
    assert error(irk.einsum("ij,jk,kl->il", *given)) <= 1.2 * error(torch.linalg.multi_dot(given))


@each_dtype
def test_deterministic_computes_in_float32(dtype: torch.dtype, products: list[tuple[torch.dtype, ...]]) -> None:
    given = operands(dtype, (300, 260), (260, 250), (250, 310))
    wide = [each.float() for each in given]
    with irk.deterministic():
        found = irk.einsum("ij,jk,kl->il", *given)
        pair = irk.einsum("ij,jk->ik", *given[:2])
        assert "float32, rounded once; own kernels" in irk.explain("ij,jk,kl->il", *given)
        assert torch.equal(found, irk.einsum("ij,jk,kl->il", *wide).to(dtype))
        assert torch.equal(pair, irk.einsum("ij,jk->ik", *wide[:2]).to(dtype))
    assert not products
    assert "steps by torch's matmul" in irk.explain("ij,jk,kl->il", *given)


@pytest.mark.skipif(LAUNCHES, reason="a launch does not ask what cores are good at")
def test_own_kernels_where_the_cores_have_nothing_better(products: list[tuple[torch.dtype, ...]]) -> None:
    _native.set_blas_pays([True, True, False, False])
    a, b = operands(torch.bfloat16, (300, 260), (260, 310))
    assert torch.equal(irk.einsum("ij,jk->ik", a, b), irk.einsum("ij,jk->ik", a.float(), b.float()).bfloat16())
    assert not products


@pytest.mark.skipif(LAUNCHES, reason="a launch has a workspace for every trial")
def test_a_pair_takes_no_memory_but_its_result() -> None:
    text = irk.explain("ij,jk->ik", (300, 260), (260, 310), dtype=torch.bfloat16)
    assert "workspace   value 0, forward 0, backward 0, gradients 0" in text


def test_autocast_gives_what_torch_gives() -> None:
    a, b = operands(torch.float32, (300, 260), (260, 310))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found, expected = irk.einsum("ij,jk->ik", a, b), a @ b
    assert found.dtype == torch.bfloat16
    # a last place, where sums round to either side
    torch.testing.assert_close(found, expected, rtol=2**-7, atol=1e-3)
