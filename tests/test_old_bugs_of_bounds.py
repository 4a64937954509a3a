"""Reads past the end, small stacks, children that hang, memory that was not written: in other libraries.

How tests are named: test_old_bugs_of_values.py.
"""

from __future__ import annotations

import ctypes
import faulthandler
import os
import signal
import threading
import time
import traceback
from collections.abc import Callable

import pytest
import torch
from test_guard_pages import Guarded, needs_maps
from torch import Tensor

import irkernels as irk

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
quiet_fork = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork")
SECONDS = 60  # until a child counts as hanging


def in_a_child(work: Callable[[], None]) -> None:
    """work in a forked process: its failure, its fault and its silence fail here."""
    child = os.fork()
    if child == 0:
        faulthandler.disable()
        try:
            work()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    ends = time.monotonic() + SECONDS
    while time.monotonic() < ends:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            assert status == 0, f"the child ended with {os.waitstatus_to_exitcode(status)}"
            return
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    pytest.fail(f"the child hangs for {SECONDS} s")


def with_a_small_stack(work: Callable[[], Tensor]) -> Tensor:
    """work in a thread whose stack has 256 KiB."""
    before, found = threading.stack_size(256 << 10), []
    try:
        thread = threading.Thread(target=lambda: found.append(work()))
        thread.start()
        thread.join()
    finally:
        threading.stack_size(before)
    return found[0]


@needs_maps
@needs_fork
@quiet_fork
def test_a_child_that_reads_too_far_is_seen() -> None:
    """Otherwise the tests below could not fail."""

    def fault() -> None:
        ctypes.string_at(Guarded().empty(3).data_ptr() + 12, 1)

    with pytest.raises(AssertionError, match=str(-signal.SIGSEGV)):
        in_a_child(fault)


@needs_maps
@needs_fork
@quiet_fork
def test_openblas_535_a_matrix_at_the_end_of_its_memory(threads: Callable[[int], None]) -> None:
    """sgemm read 16 bytes where 4 were left of a block of 16,560: a fault where the next page is not mapped."""
    threads(1)  # torch itself may hang in a child otherwise

    def work() -> None:
        guarded = Guarded()
        for rows, inner, columns in ((69, 60, 60), (60, 69, 60), (60, 60, 69), (1, 115, 36), (36, 115, 1)):
            a, b = torch.randn(rows, inner), torch.randn(inner, columns)
            found = irk.einsum("ij,jk->ik", guarded.copy(a), guarded.copy(b))
            torch.testing.assert_close(found, (a.double() @ b.double()).float(), rtol=1e-5, atol=1e-4)

    in_a_child(work)


@needs_maps
@needs_fork
@quiet_fork
@pytest.mark.parametrize("at_end", [True, False])
def test_openblas_494_two_numbers_that_are_not_aligned(at_end: bool) -> None:
    """ddot of two doubles, the second pair 8 bytes off: one number before or behind was read."""

    def work() -> None:
        guarded = Guarded()
        guarded.at_end = at_end
        three = guarded.copy(torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64))
        assert irk.einsum("i,i->", three[1:], three[:2]).item() == 8
        assert irk.einsum("i,i->", three[:2], three[1:]).item() == 8

    in_a_child(work)


@needs_maps
@needs_fork
@quiet_fork
def test_causal_conv1d_101_a_tail_behind_the_last_whole_chunk(threads: Callable[[int], None]) -> None:
    """Indices were read past their end where 4099 is no multiple of a chunk; 117 adds the lengths about 64 and 128."""
    threads(1)  # torch itself may hang in a child otherwise

    def work() -> None:
        guarded = Guarded()
        a, b = torch.randn(50, 3, dtype=torch.float64), torch.randn(3, 40, dtype=torch.float64)
        for nnz in (1, 63, 64, 65, 127, 128, 129, 256, 257, 4099):
            at = torch.stack([torch.randint(50, (nnz,)), torch.randint(40, (nnz,))], 1)
            placed = guarded.copy(at)
            found = irk.entries("ij,jk->ik", guarded.copy(a), guarded.copy(b), at=placed)
            torch.testing.assert_close(found, (a @ b)[at[:, 0], at[:, 1]])
            G = torch.randn(nnz, dtype=torch.float64)
            (first, second) = irk.gradients("ij,jk->ik", a, b, cotangent=(placed, guarded.copy(G)))
            dense = torch.zeros(50, 40, dtype=torch.float64).index_put_((at[:, 0], at[:, 1]), G, accumulate=True)
            torch.testing.assert_close(first, dense @ b.T)
            torch.testing.assert_close(second, a.T @ dense)

    in_a_child(work)


def test_libxsmm_1090_a_shape_far_from_the_small_ones() -> None:
    """A stack frame as large as the operand: m = 50265, n = 43, k = 768 in bfloat16 (992) wanted 77 MB of it."""
    a, b = torch.randn(43, 96).bfloat16(), torch.randn(96, 20005).bfloat16()
    found = with_a_small_stack(lambda: irk.einsum("ij,jk->ik", a, b))
    exact = a.float() @ b.float()
    torch.testing.assert_close(found.float(), exact, rtol=2**-8, atol=1e-4)


def test_libxsmm_719_a_transposed_operand_on_a_small_stack() -> None:
    """100 x 100 transposed needed an unlimited stack, where a few KB should do."""
    a, b = torch.randn(100, 100, dtype=torch.float64), torch.randn(100, 100, dtype=torch.float64)
    torch.testing.assert_close(with_a_small_stack(lambda: irk.einsum("ji,jk->ik", a, b)), a.T @ b)


@needs_fork
@quiet_fork
@pytest.mark.parametrize("count", [1, 2])
def test_pytorch_17199_einsum_in_a_forked_child(count: int, threads: Callable[[int], None]) -> None:
    """It never returned where the parent had called it before (also 113840)."""
    threads(count)
    x = torch.ones(2, 50, 10)

    def foo() -> Tensor:
        return irk.einsum("ijl,ikl->ijk", x, x)

    def work() -> None:
        assert torch.equal(foo(), torch.full((2, 50, 50), 10.0))

    foo()
    in_a_child(work)


@needs_fork
@quiet_fork
def test_pytorch_2245_training_in_a_forked_child(threads: Callable[[int], None]) -> None:
    """A model trained in the parent; a child that trains one of its own hung."""
    threads(2)

    def train() -> Tensor:
        model = irk.nn.MatrixChain(20, 20, 2, init_scale=0.1, seed=0, trials=4)
        data = irk.Observed([[0, 1], [5, 6]], torch.tensor([1.0, -1.0]), (20, 20))
        irk.fit(model, data, torch.optim.SGD(model.parameters(), lr=0.1), steps=20, progress=False)
        return model().detach()

    here = train()

    def work() -> None:
        assert torch.equal(train(), here)

    in_a_child(work)


def test_pytorch_96037_what_memory_held_before_does_not_show() -> None:
    """NaN in the memory of the result stayed there (also 80588: NaN at random)."""
    a, b, c = (torch.randn(90, 90) for _ in range(3))
    expected = irk.einsum("ij,jk,kl->il", a, b, c)
    at = torch.randint(90, (500, 2))
    listed = irk.entries("ij,jk,kl->il", a, b, c, at=at)
    for _ in range(20):
        poison = [torch.full((90, 90), torch.nan) for _ in range(4)] + [torch.full((500,), torch.nan)]
        del poison
        assert torch.equal(irk.einsum("ij,jk,kl->il", a, b, c), expected)
        assert torch.equal(irk.entries("ij,jk,kl->il", a, b, c, at=at), listed)


def test_pytorch_186365_results_do_not_alternate() -> None:
    """A kernel read what another had left behind: every second result differed."""
    small, large = torch.randn(6, 5, 5), torch.randn(3, 70, 70)
    expected = irk.einsum("bij,bjk->bik", small, small), irk.einsum("bij,bjk,bkl->bil", large, large, large)
    for _ in range(20):
        assert torch.equal(irk.einsum("bij,bjk->bik", small, small), expected[0])
        assert torch.equal(irk.einsum("bij,bjk,bkl->bil", large, large, large), expected[1])


def test_pytorch_4093_indices_beyond_a_sparse_shape() -> None:
    """Indices up to 9 in a shape of 4: the heap was corrupted."""
    at = (torch.randperm(1000) % 10)[:, None]
    with pytest.raises(IndexError, match="4"):
        irk.Observed(at, torch.ones(1000), (4,))
    with pytest.raises(IndexError, match="4"):
        irk.entries("i,i->i", torch.ones(4), torch.ones(4), at=at)
    with pytest.raises(IndexError):
        irk.Coordinates(torch.tensor([[-1]]), (4,))


def test_causal_conv1d_114_an_offset_of_two_to_the_32_elements() -> None:
    """Offsets wrapped at 2^32: no fault, but the numbers of another row (also sglang 33665, mamba 1037)."""
    try:
        storage = torch.empty(2**32 + 8, dtype=torch.bfloat16)  # but for 16 numbers it is never touched
    except RuntimeError as error:
        pytest.skip(f"the system grants no such address space: {error}")
    rows = storage.as_strided((2, 8), (2**32, 1))
    rows.copy_(torch.tensor([[1.0], [2.0]]).expand(2, 8))
    ones = torch.ones(8, 1, dtype=torch.bfloat16)
    assert irk.einsum("ij,jk->ik", rows, ones).tolist() == [[8], [16]]
    assert irk.entries("ij,jk->ik", rows, ones, at=torch.tensor([[1, 0], [0, 0]])).tolist() == [16, 8]


def test_fused_ssim_5_a_version_that_is_one() -> None:
    """Installed as version 0.0.0."""
    assert irk.build_info()["version"] not in ("", "0.0.0") and irk.build_info()["version"][0].isdigit()
