"""Autocast: dtypes as torch.einsum's, values rounded once, gradients in the operands' own dtypes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.backends import opt_einsum

import irkernels as irk
from irkernels.testing import PRODUCTS, Product

each_product = pytest.mark.parametrize("product", PRODUCTS, ids=lambda product: product.name)
each_narrow = pytest.mark.parametrize("narrow", [torch.bfloat16, torch.float16], ids=str)
CHAIN = "ij,jk,kl->il"
WIDE = (torch.float32, torch.bfloat16, torch.float16, torch.float64)


def dtypes(einsum: Callable, product: Product, given: tuple[torch.dtype, ...],
           narrow: torch.dtype) -> list[torch.dtype]:
    """Of the value and of every gradient, backward run outside of the context."""
    operands = [operand.to(dtype).requires_grad_() for operand, dtype in zip(product.operands(), given)]
    with torch.autocast("cpu", dtype=narrow):
        value = einsum(product.equation, *operands)
    gradients = torch.autograd.grad(value.sum(), operands, allow_unused=True, materialize_grads=True)
    return [value.dtype, *(gradient.dtype for gradient in gradients)]


@pytest.mark.parametrize("paths", [True, False], ids=["opt_einsum paths", "left to right"])
@each_narrow
@each_product
def test_dtypes_are_those_of_torch(product: Product, narrow: torch.dtype, paths: bool) -> None:
    if paths and not opt_einsum.is_available():
        pytest.skip("opt_einsum is not installed")
    count = len(product.shapes)
    mixed = tuple((torch.float32, torch.bfloat16, torch.float16)[p % 3] for p in range(count))
    with opt_einsum.flags(enabled=paths):
        for given in (*((dtype,) * count for dtype in WIDE), mixed):
            assert dtypes(irk.einsum, product, given, narrow) == dtypes(torch.einsum, product, given, narrow), given


@each_narrow
def test_other_devices_narrow_every_product(narrow: torch.dtype) -> None:
    """torch.einsum as a whole is on CUDA's list; tensors without memory stand in for a device."""
    with torch._subclasses.FakeTensorMode():
        operands = {dtype: torch.empty(4, 4, dtype=dtype, device="cuda") for dtype in WIDE}
    set_autocast("cuda", True, narrow)
    try:
        for equation, count in (("ij,jk->ik", 2), ("ij,ij->ij", 2), ("ij->ji", 1), ("ij->", 1)):
            for dtype, operand in operands.items():
                expected = torch.einsum(equation, *[operand] * count).dtype
                assert irk.einsum(equation, *[operand] * count).dtype == expected, (equation, dtype)
    finally:
        set_autocast("cuda", False, torch.float16)


def set_autocast(kind: str, enabled: bool, narrow: torch.dtype) -> None:
    """What the context manager does, on a machine without the device."""
    torch.set_autocast_enabled(kind, enabled)
    torch.set_autocast_dtype(kind, narrow)


@each_narrow
def test_values_are_rounded_once(narrow: torch.dtype) -> None:
    operands = [torch.randn(9, 9) for _ in range(3)]
    with torch.autocast("cpu", dtype=narrow):
        found = irk.einsum(CHAIN, *operands)
    expected = torch.einsum(CHAIN, *(operand.to(narrow).double() for operand in operands))
    spacing = torch.finfo(narrow).eps * expected.abs()
    assert ((found.double() - expected).abs() <= spacing / 2 + 1e-5).all()


def test_no_autocast_inside_leaves_inputs_alone() -> None:
    operands = [torch.randn(5, 5) for _ in range(3)]
    with torch.autocast("cpu", dtype=torch.bfloat16), torch.autocast("cpu", enabled=False):
        assert torch.equal(irk.einsum(CHAIN, *operands), irk.einsum(CHAIN, *operands))
        assert irk.einsum(CHAIN, *operands).dtype == torch.float32
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert irk.multi_dot(operands).dtype == torch.bfloat16
    assert irk.multi_dot(operands).dtype == torch.float32


def test_gradients_and_entries_follow_the_product() -> None:
    a, b = torch.randn(4, 5), torch.randn(5, 6, dtype=torch.bfloat16)
    at = torch.tensor([[0, 1], [3, 5]])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert irk.entries("ij,jk->ik", a, b, at=at).dtype == torch.bfloat16
        assert irk.entries("ij,ij->ij", a, a, at=at % 4).dtype == torch.float32
        for cotangent in (torch.randn(4, 6), (at, torch.randn(2)), irk.Observed(at, torch.randn(2), (4, 6))):
            found = irk.gradients("ij,jk->ik", a, b, cotangent=cotangent)
            assert [each.dtype for each in found] == [torch.float32, torch.bfloat16]


def test_losses_are_not_narrowed() -> None:
    a, b = torch.randn(4, 5, requires_grad=True), torch.randn(5, 6)
    observed = irk.Observed(torch.tensor([[0, 1], [3, 5]]), torch.randn(2), (4, 6))
    expected = irk.completion_loss("ij,jk->ik", a, b, observed=observed)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = irk.completion_loss("ij,jk->ik", a, b, observed=observed)
        mixed = irk.completion_loss("ij,jk->ik", a.bfloat16(), b, observed=observed)
    assert torch.equal(found, expected)
    assert mixed.dtype == torch.float32
    torch.testing.assert_close(torch.autograd.grad(mixed, a)[0], torch.autograd.grad(expected, a)[0], rtol=0.05,
                               atol=0.05)


def model(einsum: Callable, x: Tensor, *factors: Tensor) -> Tensor:
    return einsum("bi,ij,jk->bk", x, *factors).tanh().sum()


@each_narrow
def test_vmap(narrow: torch.dtype) -> None:
    x, a, b = torch.randn(3, 2, 4), torch.randn(4, 5), torch.randn(5, 6)
    with torch.autocast("cpu", dtype=narrow):
        found, expected = (torch.func.vmap(lambda x: e("bi,ij,jk->bk", x, a, b))(x) for e in (irk.einsum, torch.einsum))
        pulled = torch.func.vmap(torch.func.grad(lambda a, x: model(irk.einsum, x, a, b).float()), (None, 0))(a, x)
    assert found.dtype == expected.dtype == narrow
    torch.testing.assert_close(found, expected, rtol=0.05, atol=0.05)
    assert (pulled.dtype, pulled.shape) == (torch.float32, (3, 4, 5))


@pytest.mark.parametrize("inside", [True, False], ids=["inside the function", "around the function"])
def test_compile(inside: bool) -> None:
    torch._dynamo.reset()
    factors = [torch.randn(4, 5, requires_grad=True), torch.randn(5, 6, requires_grad=True)]
    x = torch.randn(2, 4)

    def narrowed(*factors: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=inside or torch.is_autocast_enabled("cpu")):
            return irk.einsum("bi,ij,jk->bk", x, *factors)

    results = []
    for function in (narrowed, torch.compile(narrowed, fullgraph=True, backend="aot_eager")):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=not inside):
            value = function(*factors)
        results.append((value, *torch.autograd.grad(value.float().sum(), factors)))
    for eager, recorded in zip(*results, strict=True):
        assert eager.dtype == recorded.dtype
        assert torch.equal(eager, recorded)
    assert results[0][0].dtype == torch.bfloat16


def test_steps_of_a_gradient_scaler() -> None:
    """Float16, scaled losses: the same parameters as torch.einsum's steps, to half precision."""
    if not hasattr(torch.amp, "GradScaler"):
        pytest.skip("this torch has no GradScaler for the CPU")
    trained = []
    for einsum in (irk.einsum, torch.einsum):
        torch.manual_seed(0)
        factors = [torch.nn.Parameter(torch.randn(4, 5) / 2), torch.nn.Parameter(torch.randn(5, 6) / 2)]
        x, target = torch.randn(16, 4), torch.randn(16, 6)
        optimizer, scaler = torch.optim.SGD(factors, lr=0.1), torch.amp.GradScaler("cpu", init_scale=1024.0)
        for _ in range(10):
            optimizer.zero_grad()
            with torch.autocast("cpu", dtype=torch.float16):
                loss = torch.nn.functional.mse_loss(einsum("bi,ij,jk->bk", x, *factors).float(), target)
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
        assert scaler.get_scale() == 1024.0  # no step was skipped
        trained.append([factor.detach() for factor in factors])
    torch.testing.assert_close(*trained, rtol=0.02, atol=0.02)
