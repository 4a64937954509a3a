"""The lane of ordinary calls: the bits of the long way, one native call a verb and direction, and what it must not
serve."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import irkernels as irk
from irkernels import _launch, _native
from irkernels.testing import PRODUCTS
from irkernels.testing.fingerprint import bits, every_result

CHAIN = "ij,jk,kl->il"
exchange = pytest.mark.skipif(
    not hasattr(Tensor, "__dlpack_c_exchange_api__"),
    reason="the lane reads and makes tensors by DLPack's exchange table",
)
registry = pytest.mark.parametrize("product", PRODUCTS, ids=lambda product: product.name)


def chain(size: int = 5, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(size, size, generator=generator, dtype=dtype).requires_grad_() for _ in range(3)]


@registry
def test_the_long_way_gives_the_same_bits(product, monkeypatch: pytest.MonkeyPatch) -> None:
    for dtype in product.dtypes:
        operands = product.operands(dtype=dtype)
        ordinary = every_result(product, operands)
        with monkeypatch.context() as patched:
            for lane in ("lane_product", "lane_loss"):
                patched.setattr(_launch, lane, lambda *_: None)
            expected = every_result(product, operands)
        assert ordinary.keys() == expected.keys()
        for name, tensor in ordinary.items():
            assert bits(tensor) == bits(expected[name]), f"{name} {dtype}"


@exchange
@pytest.mark.parametrize(
    ("verb", "forward"),
    (
        (lambda *f: irk.einsum(CHAIN, *f), "lane_product"),
        (lambda *f: irk.multi_dot(f), "lane_product"),
        (lambda *f: irk.entries(CHAIN, *f, at=observed()), "lane_product"),
        (lambda *f: irk.completion_loss(CHAIN, *f, observed=observed()), "lane_loss"),
    ),
    ids=("einsum", "multi_dot", "entries", "completion_loss"),
)
def test_one_native_call_each_way(verb: Callable, forward: str, monkeypatch: pytest.MonkeyPatch) -> None:
    factors = chain()
    verb(*factors).sum().backward()  # sort orders are made once
    calls = []
    for name in ("lane_product", "lane_loss", "lane_backward", "plan", "run"):
        where = _launch if name.startswith("lane") else _native
        native = getattr(where, name)
        monkeypatch.setattr(where, name, lambda *a, name=name, native=native: calls.append(name) or native(*a))
    verb(*factors).sum().backward()
    assert calls == [forward, "lane_backward"]


_OBSERVED = []


def observed() -> irk.Observed:
    """One object for all calls: it keeps its sort orders."""
    if not _OBSERVED:
        at = torch.tensor([[0, 1], [4, 4], [0, 1], [2, 3]])
        _OBSERVED.append(irk.Observed(at, torch.ones(4, dtype=torch.float64), (5, 5)))
    return _OBSERVED[0]


def test_a_pending_negation_is_seen() -> None:
    negative = torch.randn(5, 5, dtype=torch.complex128).conj().imag
    assert negative.is_neg()
    A, B, C = chain()
    expected = torch.einsum(CHAIN, negative, B, C)
    assert torch.allclose(irk.einsum(CHAIN, negative, B, C), expected)
    cotangent = negative.transpose(0, 1)
    found = torch.autograd.grad(irk.einsum(CHAIN, A, B, C), (A, B, C), cotangent)
    for mine, torchs in zip(found, torch.autograd.grad(torch.einsum(CHAIN, A, B, C), (A, B, C), cotangent)):
        assert torch.allclose(mine, torchs)
    at = torch.tensor([[0, 1], [4, 2]])
    assert torch.allclose(irk.entries(CHAIN, negative, B, C, at=at), expected[at[:, 0], at[:, 1]])


def test_a_subclass_stays_one() -> None:
    class Tagged(torch.Tensor):
        pass

    A, B, C = (factor.detach() for factor in chain())
    found = irk.einsum(CHAIN, A.as_subclass(Tagged), B, C)
    assert type(found) is Tagged and torch.allclose(found.as_subclass(Tensor), torch.einsum(CHAIN, A, B, C))


def test_parameters_are_served_and_changes_in_place_are_noticed() -> None:
    factors = [torch.nn.Parameter(factor.detach()) for factor in chain()]
    product = irk.einsum(CHAIN, *factors)
    with torch.no_grad():
        factors[1].add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        product.sum().backward()


def test_the_graph_is_freed_with_backward() -> None:
    product = irk.einsum(CHAIN, *chain(70)).sum()
    product.backward(retain_graph=True)
    product.backward()
    with pytest.raises(RuntimeError, match="second time"):
        product.backward()


def test_saved_tensor_hooks_may_move_what_is_kept_but_not_change_it() -> None:
    factors = chain(70)
    expected = torch.autograd.grad(torch.einsum(CHAIN, *factors).sum(), factors)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: t.clone(), lambda t: t):
        moved = irk.einsum(CHAIN, *factors)
    for mine, torchs in zip(torch.autograd.grad(moved.sum(), factors), expected):
        assert torch.allclose(mine, torchs)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: t[:3] if t.dim() == 1 else t, lambda t: t):
        cut = irk.einsum(CHAIN, *factors)
    with pytest.raises(ValueError, match="kept for backward"):
        cut.sum().backward()


@exchange
def test_a_result_keeps_its_storage() -> None:
    A, B, C = (factor.detach() for factor in chain())
    found = irk.einsum(CHAIN, A, B, C)
    assert torch.mm(A, B, out=found) is found  # written to as it is
    with pytest.raises(RuntimeError, match="resiz"):
        found.resize_(6, 6)
