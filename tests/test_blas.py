"""Large steps by torch's matmul: the values of the reference, whoever runs the other steps; avoided where asked."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

import irkernels as irk
from irkernels import _launch, _native, reference

LAUNCHES = _launch.LAUNCHES
CASES = {  # equation, shapes: each has a step of 2^24 multiply-adds over all trials
    "chain": ("ij,jk,kl->il", ((300, 260), (260, 310), (310, 280))),
    "trials": ("...ij,...jk->...ik", ((40, 80, 80), (40, 80, 80))),
    "a factor for all trials": ("...ij,...jk->...ik", ((40, 80, 80), (80, 80))),
    "two axes of trials": ("...ij,...jk->...ik", ((3, 4, 128, 128), (4, 128, 128))),
    "trials spread crosswise": ("...ij,...jk->...ik", ((3, 1, 128, 128), (1, 4, 128, 128))),
    "a batch of the product's own": ("bij,bjk->bik", ((9, 130, 131), (9, 131, 129))),
    "one trial large": ("ij,jk->ik", ((830, 820), (820, 810))),
    "few rows": ("ij,jk->ik", ((5, 2000), (2000, 2000))),  # stays with own kernels
}


def operands(shapes: tuple[tuple[int, ...], ...], dtype: torch.dtype = torch.float64) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype) for shape in shapes]


pytestmark = pytest.mark.usefixtures("blas_that_pays")  # whatever the machine


@pytest.fixture
def products(monkeypatch: pytest.MonkeyPatch) -> list[torch.Size]:
    """The shapes of what torch multiplies."""
    seen: list[torch.Size] = []

    def counting(multiply: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def counted(a: Tensor, b: Tensor, **out: Tensor) -> Tensor:
            seen.append(a.shape)
            return multiply(a, b, **out)

        return counted

    monkeypatch.setattr(torch, "mm", counting(torch.mm))
    monkeypatch.setattr(torch, "bmm", counting(torch.bmm))
    return seen


@pytest.mark.parametrize("name", CASES)
def test_value_and_gradients_are_the_references(name: str, products: list[torch.Size]) -> None:
    equation, shapes = CASES[name]
    given = operands(shapes)
    cotangent = torch.randn_like(reference.einsum(equation, *given))
    expected = reference.gradients(equation, *given, cotangent=cotangent)
    value = reference.einsum(equation, *given)
    products.clear()
    torch.testing.assert_close(irk.einsum(equation, *given), value, rtol=1e-11, atol=1e-10)
    for found, wanted in zip(irk.gradients(equation, *given, cotangent=cotangent), expected):
        torch.testing.assert_close(found, wanted, rtol=1e-11, atol=1e-10)
    leaves = [each.clone().requires_grad_() for each in given]
    irk.einsum(equation, *leaves).backward(cotangent)
    for leaf, wanted in zip(leaves, expected):
        torch.testing.assert_close(leaf.grad, wanted, rtol=1e-11, atol=1e-10)
    large = name != "few rows" and (LAUNCHES or name == "one trial large")
    assert bool(products) == large, products


def test_one_call_serves_all_trials_of_a_launch(products: list[torch.Size]) -> None:
    a, b = operands(((40, 80, 80), (40, 80, 80)))
    irk.einsum("...ij,...jk->...ik", a, b)
    assert products == ([torch.Size((40, 80, 80))] if LAUNCHES else [])
    products.clear()
    a, b = operands(((3, 4, 128, 128), (4, 128, 128)))
    irk.einsum("...ij,...jk->...ik", a, b)  # the second stays along the first axis: three calls
    assert products == ([torch.Size((4, 128, 128))] * 3 if LAUNCHES else [])


@pytest.mark.parametrize("layout", ["transposed", "rows of more", "negative view"])
def test_strided_operands(layout: str, products: list[torch.Size]) -> None:
    a, b = operands(((830, 820), (820, 810)))
    given = {
        "transposed": (a.T.contiguous().T, b.T.contiguous().T),
        "rows of more": (torch.cat([a, a], 1)[:, :820], torch.cat([b, b])[820:]),
        "negative view": (torch.complex(a, -a).conj().imag, b),
    }[layout]
    torch.testing.assert_close(irk.einsum("ij,jk->ik", *given), a @ b, rtol=1e-11, atol=1e-10)
    assert products


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_sums_are_of_32_bits_and_rounded_once(dtype: torch.dtype, products: list[torch.Size]) -> None:
    a, b = operands(((830, 820), (820, 810)), dtype)
    exact = a.double() @ b.double()
    error = (irk.einsum("ij,jk->ik", a, b).double() - exact).abs().max()
    assert error <= (2e-4 if dtype == torch.float32 else torch.finfo(dtype).eps * exact.abs().max())
    assert products


def test_entries_of_a_large_product(products: list[torch.Size]) -> None:
    a, b, c = operands(((300, 260), (260, 310), (310, 280)))
    at = torch.ones(300, 280).nonzero()[::2]
    a.requires_grad_()
    found = irk.entries("ij,jk,kl->il", a, b, c, at=at)
    torch.testing.assert_close(found, (a @ b @ c)[at[:, 0], at[:, 1]], rtol=1e-11, atol=1e-9)
    (own,) = torch.autograd.grad(found.square().sum(), a, retain_graph=True)
    (wanted,) = torch.autograd.grad((a @ b @ c)[at[:, 0], at[:, 1]].square().sum(), a)
    torch.testing.assert_close(own, wanted, rtol=1e-10, atol=1e-6)


def test_explain_says_so() -> None:
    text = irk.explain("...ij,...jk,...kl->...il", (40, 80, 80), (40, 80, 80), (40, 80, 80))
    assert ("steps by torch's matmul" in text) == LAUNCHES


def test_deterministic_keeps_to_own_kernels(products: list[torch.Size]) -> None:
    a, b = operands(((830, 820), (820, 810)))
    with irk.deterministic():
        irk.einsum("ij,jk->ik", a, b)
    assert not products
    irk.einsum("ij,jk->ik", a, b)
    assert products


def test_own_kernels_take_all_where_they_are_faster(products: list[torch.Size]) -> None:
    _native.set_blas_pays([False] * 4)
    a, b = operands(((830, 820), (820, 810)))
    torch.testing.assert_close(irk.einsum("ij,jk->ik", a, b), a @ b, rtol=1e-11, atol=1e-10)
    assert bool(products) == LAUNCHES  # a launch is no matter of cores
    assert ("steps by torch's matmul" in irk.explain("ij,jk->ik", (830, 820), (820, 810))) == LAUNCHES


@pytest.mark.skipif(LAUNCHES, reason="this is what the test runs")
def test_launched_calls_do_the_same() -> None:
    if "simt" not in irk.build_info()["targets_available"]:
        pytest.skip("this build has no emulation of launches")
    package = Path(irk.__file__).resolve().parent.parent
    path = os.pathsep.join([str(package), os.environ.get("PYTHONPATH", "")])
    files = [__file__, str(Path(__file__).with_name("test_half_products.py"))]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", *files]
    environment = os.environ | {"IRKERNELS_TARGET": "simt", "PYTHONPATH": path}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout
