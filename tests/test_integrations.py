"""TensorLy and opt_einsum computing here: who is asked, what comes out, and that nothing stays behind."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import irkernels as irk
from irkernels.integrations import opt_einsum as contractions
from irkernels.integrations import tensorly as decompositions

CHAIN = "ij,jk,kl,lm->im"


def chain() -> list[Tensor]:
    return [torch.randn(4, 4, dtype=torch.float64) for _ in range(4)]


def counted(calls: Counter[str], name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    def call(*arguments: Any, **keywords: Any) -> Any:
        calls[name] += 1
        return function(*arguments, **keywords)

    return call


@pytest.fixture
def tensorly() -> Iterator[Any]:
    """TensorLy on its PyTorch backend; switched off and as it was afterwards."""
    found = pytest.importorskip("tensorly")
    with found.backend_context("pytorch"):
        yield found
        decompositions.disable()


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Calls that the integrations make of irkernels."""
    found: Counter[str] = Counter()
    own = decompositions.FUNCTIONS
    monkeypatch.setattr(decompositions, "FUNCTIONS", {name: counted(found, name, f) for name, f in own.items()})
    monkeypatch.setattr(decompositions, "einsum", counted(found, "einsum", irk.einsum))
    monkeypatch.setattr(contractions, "einsum", counted(found, "contract", irk.einsum))
    return found


def state(tensorly: Any) -> dict[str, object]:
    """Everything in TensorLy that could have been replaced."""
    from tensorly.tenalg.core_tenalg import CoreTenalgBackend
    from tensorly.tenalg.einsum_tenalg import EinsumTenalgBackend

    owners = (CoreTenalgBackend, EinsumTenalgBackend, type(tensorly.backend.current_backend()), type(tensorly.tenalg),
              type(tensorly.backend))  # fmt: skip
    return {f"{owner.__name__}.{name}": value for owner in owners for name, value in vars(owner).items()}


def same(before: dict[str, object], after: dict[str, object]) -> bool:
    return before.keys() == after.keys() and all(before[name] is after[name] for name in before)


def test_tensorly_calls_are_ours_until_switched_off(tensorly: Any, calls: Counter[str]) -> None:
    tensor, matrix, vector = torch.randn(3, 4, 2).double(), torch.randn(5, 3).double(), torch.randn(4).double()
    factors = [torch.randn(n, 3, dtype=torch.float64) for n in tensor.shape]
    cores = [torch.randn(1, 2, 2, 3), torch.randn(3, 2, 2, 1)]
    algebra = tensorly.tenalg
    questions = {
        "khatri_rao": lambda: algebra.khatri_rao(factors, skip_matrix=1),
        "mode_dot": lambda: algebra.mode_dot(tensor, vector, 1),
        "multi_mode_dot": lambda: algebra.multi_mode_dot(tensor, [matrix, vector], modes=[0, 1]),
        "unfolding_dot_khatri_rao": lambda: algebra.unfolding_dot_khatri_rao(tensor, (None, factors), 1),
        "_tt_matrix_to_tensor": lambda: tensorly.tt_matrix.tt_matrix_to_tensor(cores),
        "einsum": lambda: tensorly.einsum("abc,da->dbc", tensor, matrix),
    }
    stock = {name: question() for name, question in questions.items()}
    for algebra_name in ("core", "einsum"):
        with tensorly.tenalg.backend_context(algebra_name):
            before = state(tensorly)
            decompositions.enable()
            decompositions.enable()
            calls.clear()
            for name, question in questions.items():
                torch.testing.assert_close(question(), stock[name])
                assert calls == {name: 1}, name
                calls.clear()
            decompositions.disable()
            decompositions.disable()
            for question in questions.values():
                question()
            assert not calls and same(before, state(tensorly))


def test_tensorly_within_a_block(tensorly: Any, calls: Counter[str]) -> None:
    before = state(tensorly)
    with pytest.raises(ZeroDivisionError), decompositions.enable():
        tensorly.einsum("ii", torch.ones(2, 2))
        with decompositions.enable():
            pass
        tensorly.einsum("ii", torch.ones(2, 2))  # the inner block did not switch off what the outer one had switched on
        assert calls["einsum"] == 2
        raise ZeroDivisionError
    assert same(before, state(tensorly))


def test_tensorly_computes_what_irkernels_refuses(tensorly: Any) -> None:
    integers, turned = torch.arange(6).reshape(2, 3), torch.randn(3, 4, dtype=torch.complex64)
    with decompositions.enable():
        assert torch.equal(tensorly.einsum("ij,kj->ik", integers, integers), integers @ integers.T)
        product = tensorly.tenalg.mode_dot(turned, turned, 0, transpose=True)
        torch.testing.assert_close(product, turned.conj().T @ turned)
        with pytest.raises(ValueError, match="All matrices must have same number of columns"):  # TensorLy's own words
            tensorly.tenalg.khatri_rao([torch.ones(2, 3), torch.ones(2, 2)])


def test_tensorly_in_threads_of_another_backend(tensorly: Any, calls: Counter[str]) -> None:
    array = np.arange(6.0).reshape(2, 3)

    def with_numpy() -> np.ndarray:
        tensorly.set_backend("numpy", local_threadsafe=True)
        assert isinstance(tensorly.einsum("ij,kj->ik", array, array), np.ndarray)
        return tensorly.tenalg.khatri_rao([array, array])

    with decompositions.enable(), ThreadPoolExecutor(max_workers=1) as pool:
        assert isinstance(pool.submit(with_numpy).result(), np.ndarray)
        assert calls["einsum"] == 0
    with ThreadPoolExecutor(max_workers=1) as pool, decompositions.enable():
        product = pool.submit(lambda: tensorly.einsum("ij,kj->ik", torch.ones(2, 3), torch.ones(2, 3))).result()
        assert calls["einsum"] == 1 and isinstance(product, Tensor)


def test_tensorly_under_static_dispatch(tensorly: Any, calls: Counter[str]) -> None:
    tensorly.tenalg.use_static_dispatch()
    try:
        before = state(tensorly)
        with decompositions.enable():
            tensorly.tenalg.khatri_rao([torch.ones(2, 3), torch.ones(2, 3)])
        assert calls["khatri_rao"] == 1 and same(before, state(tensorly))
    finally:
        tensorly.tenalg.use_dynamic_dispatch()


def test_what_others_replaced_meanwhile_stays_theirs(tensorly: Any) -> None:
    backend = type(tensorly.backend.current_backend())
    before, theirs = vars(backend)["einsum"], staticmethod(lambda *operands: "theirs")
    decompositions.enable()
    backend.einsum = theirs
    decompositions.disable()
    assert vars(backend)["einsum"] is theirs
    backend.einsum = before


def test_tensorly_must_be_there_and_on_pytorch(tensorly: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with tensorly.backend_context("numpy"), pytest.raises(RuntimeError, match=r"'numpy'.*tensorly.set_backend"):
        decompositions.enable()
    before = state(tensorly)
    monkeypatch.setitem(sys.modules, "tensorly", None)
    with pytest.raises(ImportError, match="pip install tensorly"):
        decompositions.enable()
    assert same(before, state(tensorly))


@pytest.mark.parametrize("shape, rank", [((10,) * 3, 5), ((12, 9, 7), 10), ((8, 7, 6, 5), 4), ((20, 15), 3)], ids=str)
@pytest.mark.parametrize("normalised", (False, True), ids=("", "normalised"))
def test_parafac_gives_equal_factors(
    tensorly: Any, calls: Counter[str], shape: tuple[int, ...], rank: int, normalised: bool
) -> None:
    """Of a matrix, to those of TensorLy's einsum algebra: its core forgets the weights beside one factor."""
    from tensorly.decomposition import parafac

    tensor = irk.cp_to_tensor((None, [torch.rand(n, rank, dtype=torch.float64) for n in shape]))
    tensor = tensor + 0.01 * torch.randn(shape, dtype=torch.float64)

    def run() -> Any:
        return parafac(tensor, rank, n_iter_max=10, init="random", random_state=1, normalize_factors=normalised)

    with tensorly.tenalg.backend_context("einsum" if len(shape) == 2 else "core"):
        weights, factors = run()
    with decompositions.enable():
        own_weights, own_factors = run()
    assert calls["unfolding_dot_khatri_rao"] >= 2 * len(shape)
    torch.testing.assert_close(own_weights, weights, rtol=1e-10, atol=1e-10)
    for own, factor in zip(own_factors, factors):
        torch.testing.assert_close(own, factor, rtol=1e-10, atol=1e-10 * float(factor.abs().max()))


@pytest.fixture
def opt_einsum() -> Iterator[Any]:
    yield pytest.importorskip("opt_einsum")
    contractions.disable()


def test_every_way_into_opt_einsum_is_one_product(opt_einsum: Any, calls: Counter[str]) -> None:
    operands = chain()
    shapes, early = [(4, 4)] * 4, opt_einsum.contract
    expression = opt_einsum.contract_expression(CHAIN, *shapes)
    constant = opt_einsum.contract_expression(CHAIN, shapes[0], operands[1], shapes[2], operands[3], constants=[1, 3])
    sublists = [item for place, operand in enumerate(operands) for item in (operand, [place, place + 1])]
    ways = {
        "contract": lambda: opt_einsum.contract(CHAIN, *operands),
        "a strategy": lambda: opt_einsum.contract(CHAIN, *operands, optimize="optimal"),
        "a path": lambda: opt_einsum.contract(CHAIN, *operands, optimize=[(0, 1), (0, 1), (0, 1)]),
        "a memory limit": lambda: opt_einsum.contract(CHAIN, *operands, memory_limit=100),
        "by name": lambda: opt_einsum.contract(CHAIN, *operands, backend="irkernels"),
        "sublists": lambda: opt_einsum.contract(*sublists, [0, 4]),
        "bound before": lambda: early(CHAIN, *operands),
        "an expression of before": lambda: expression(*operands),
        "an expression": lambda: opt_einsum.contract_expression(CHAIN, *shapes)(*operands),
        "constants": lambda: constant(operands[0], operands[2]),
    }
    expected = torch.linalg.multi_dot(operands)
    with contractions.enable():
        for name, way in ways.items():
            calls.clear()
            torch.testing.assert_close(way(), expected)
            assert calls["contract"] == 1, name
    calls.clear()
    assert opt_einsum.contract is early
    for way in ways.values():
        torch.testing.assert_close(way(), expected)
    assert not calls


def test_paths_keep_their_operands_apart(opt_einsum: Any, calls: Counter[str]) -> None:
    """Steps of an expression, read back into one equation: diagonals, traces, letters summed, steps of three."""
    cases = {
        "ij,jk,kl->": ((2, 3), (3, 4), (4, 5)),
        "iij,jk,k->i": ((3, 3, 2), (2, 4), (4,)),
        "ab,ac,ad->bcd": ((5, 2), (5, 3), (5, 4)),
        "ii->i": ((3, 3),),
        "ab,b,bc->a": ((2, 3), (3,), (3, 4)),
    }
    with contractions.enable():
        for equation, shapes in cases.items():
            operands = [torch.randn(shape, dtype=torch.float64) for shape in shapes]
            for optimize in ("optimal", "greedy", [tuple(range(len(shapes)))]):
                found = opt_einsum.contract_expression(equation, *shapes, optimize=optimize)(*operands)
                torch.testing.assert_close(found, torch.einsum(equation, *operands))
    assert calls["contract"] == 3 * len(cases)


def test_opt_einsum_computes_the_rest(opt_einsum: Any, calls: Counter[str]) -> None:
    operands, out = chain(), torch.empty(4, 4, dtype=torch.float64)
    before = opt_einsum.contract
    with contractions.enable():
        opt_einsum.contract(CHAIN, *operands, out=out)
        opt_einsum.contract(CHAIN, *operands, optimize=False)
        array = opt_einsum.contract(CHAIN, *(operand.numpy() for operand in operands))
        assert not calls and isinstance(array, np.ndarray)
        torch.testing.assert_close(out, torch.from_numpy(array))
        integers = torch.arange(4).reshape(2, 2)
        assert torch.equal(opt_einsum.contract("ij,jk->ik", integers, integers), integers @ integers)
        with pytest.raises(ValueError, match="Size of label 'j'"):  # opt_einsum's own words
            opt_einsum.contract("ij,jk->ik", torch.ones(2, 3), torch.ones(4, 5))
        with contractions.enable():
            pass
        assert opt_einsum.contract is not before
    assert opt_einsum.contract is before and sys.modules["opt_einsum.contract"].contract is before


def test_opt_einsum_gradients(opt_einsum: Any) -> None:
    operands = [operand.requires_grad_() for operand in chain()]
    expected = torch.autograd.grad(torch.linalg.multi_dot(operands).square().sum(), operands)
    with contractions.enable():
        found = torch.autograd.grad(opt_einsum.contract(CHAIN, *operands).square().sum(), operands)
    torch.testing.assert_close(found, expected)


def test_opt_einsum_must_be_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opt_einsum", None)
    with pytest.raises(ImportError, match="pip install opt_einsum"):
        contractions.enable()
