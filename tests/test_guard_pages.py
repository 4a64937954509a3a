"""Nothing is read or written beside a tensor: operands, results and workspaces flush against pages that fault.

Every torch.empty and new_empty of the package is placed so too and filled with NaN, so that unwritten memory shows in
the results.
"""

from __future__ import annotations

import ctypes
import itertools
import mmap
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

import irkernels as irk
from irkernels import _native, observed

SIZES = range(1, 41)  # past two vectors of the longest kind, and every tail
DTYPES = (torch.float32, torch.float64, torch.bfloat16)
PAGE = mmap.PAGESIZE
ROOM = 64 * PAGE  # of one tensor
SLOTS = 96  # tensors alive at a time
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-13, torch.bfloat16: 1e-2}


class Guarded:
    """Tensors whose first or last byte touches an unmapped page; a ring of places, each reused after SLOTS others."""

    def __init__(self) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        libc.mmap.restype = ctypes.c_void_p
        libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
        libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
        self._starts = []
        for _ in range(SLOTS):
            none, flags = 0, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
            start = libc.mmap(None, ROOM + 2 * PAGE, none, flags, -1, 0)
            assert start not in (None, ctypes.c_void_p(-1).value), os.strerror(ctypes.get_errno())
            assert libc.mprotect(start + PAGE, ROOM, mmap.PROT_READ | mmap.PROT_WRITE) == 0
            self._starts.append(start + PAGE)
        self._next = itertools.cycle(self._starts)
        self.at_end = True
        self.made = 0

    def empty(self, *shape, dtype: torch.dtype = torch.float32) -> Tensor:
        """As torch.empty, but in place and all NaN (integers -1)."""
        shape = tuple(shape[0]) if shape and not isinstance(shape[0], int) else shape
        elements = torch.Size(shape).numel()
        size = elements * dtype.itemsize
        if not elements:
            return torch.zeros(shape, dtype=dtype)
        assert size <= ROOM, f"{size} bytes want more room"
        start = next(self._next)
        room = (ctypes.c_char * size).from_address(start + ROOM - size if self.at_end else start)
        self.made += 1
        tensor = torch.frombuffer(room, dtype=dtype).view(shape)
        tensor.view(-1).view(torch.uint8).fill_(255)
        return tensor

    @property
    def new_empty(self) -> Callable[..., Tensor]:
        """As Tensor.new_empty, an unbound method."""
        return lambda like, *shape, dtype=None: self.empty(*shape, dtype=dtype or like.dtype)

    def copy(self, tensor: Tensor) -> Tensor:
        return self.empty(tensor.shape, dtype=tensor.dtype).copy_(tensor)


def products(n: int) -> Iterator[tuple[str, list[tuple[int, ...]]]]:
    """Every form of step with an extent n: in lanes, in rows, contracted, in trials, and whole."""
    yield "ij,jk,kl->il", [(3, 4), (4, 2), (2, n)]
    yield "ij,jk,kl->il", [(n, 5), (5, n), (n, 3)]
    yield "ij,jk->ik", [(n, n), (n, n)]
    yield "ij,kj->ki", [(n, 7), (5, 7)]
    yield "i,i,i->i", [(n,)] * 3
    yield "i,i->", [(n,)] * 2
    yield "ij,ij->i", [(3, n)] * 2
    yield "ar,br,cr->abc", [(2, 3), (n, 3), (4, 3)]
    yield "ar,br,cr->abc", [(2, n), (3, n), (2, n)]
    yield "...ij,...jk->...ik", [(n, 2, 3), (n, 3, 2)]
    yield "ii,ij->j", [(n, n), (n, 3)]
    yield "ij->ji", [(n, 9)]


def transposed(tensor: Tensor, guarded: Guarded) -> Tensor:
    return guarded.copy(tensor.movedim(-1, 0)).movedim(0, -1)


def check_product(
    guarded: Guarded, equation: str, shapes: list[tuple[int, ...]], dtype: torch.dtype, turned: bool
) -> None:
    drawn = [torch.randn(shape, dtype=torch.float64).to(dtype) for shape in shapes]
    place: Callable[[Tensor], Tensor] = (lambda t: transposed(t, guarded)) if turned else guarded.copy
    factors = [place(each).requires_grad_() for each in drawn]
    exact = [each.double().requires_grad_() for each in drawn]
    value, expected = irk.einsum(equation, *factors), torch.einsum(equation, *exact)
    cotangent = torch.randn(value.shape, dtype=torch.float64).to(dtype)
    found = torch.autograd.grad(value, factors, place(cotangent) if cotangent.dim() else guarded.copy(cotangent))
    meant = torch.autograd.grad(expected, exact, cotangent.double())
    alone = irk.gradients(equation, *(f.detach() for f in factors), cotangent=guarded.copy(cotangent))
    for name, ours, theirs in [
        ("value", value, expected),
        *zip(("gradient",) * 9, found, meant),
        *zip(("verb",) * 9, alone, meant),
    ]:
        assert_close(ours, theirs, f"{name} of {equation} at {shapes}, {dtype}")


def assert_close(ours: Tensor, theirs: Tensor, what: str) -> None:
    scale = max(1.0, theirs.abs().max().item())
    assert (ours.double() - theirs).abs().max().item() <= TOLERANCE[ours.dtype] * scale, what


def check_entries(guarded: Guarded, equation: str, shapes: list[tuple[int, ...]], dtype: torch.dtype, nnz: int) -> None:
    drawn = [torch.randn(shape, dtype=torch.float64).to(dtype) for shape in shapes]
    exact = [each.double().requires_grad_() for each in drawn]
    dense = torch.einsum(equation, *exact)
    at = torch.stack([torch.randint(extent, (nnz,)) for extent in dense.shape[dense.dim() - at_columns(equation) :]], 1)
    factors = [guarded.copy(each).requires_grad_() for each in drawn]
    data = irk.Observed(at, torch.randn(nnz, dtype=torch.float64).to(dtype), dense.shape[dense.dim() - at.shape[1] :])
    data._values = guarded.copy(data.values)
    data.coordinates._columns = guarded.copy(data.coordinates.columns)
    expected = dense[(..., *at.unbind(1))]
    found = irk.entries(equation, *factors, at=data.coordinates)
    assert_close(found, expected, f"{nnz} entries of {equation} at {shapes}, {dtype}")
    loss = irk.completion_loss(equation, *factors, observed=data).sum()
    meant = (expected - data.values.double()).square().mean(-1).sum()
    assert_close(loss, meant, f"loss at {nnz} entries of {equation} at {shapes}, {dtype}")
    theirs = torch.autograd.grad(meant, exact)
    for ours, each in zip(torch.autograd.grad(loss, factors), theirs):
        assert_close(ours, each, f"gradient at {nnz} entries of {equation} at {shapes}, {dtype}")


def at_columns(equation: str) -> int:
    return len(equation.partition("->")[2].replace("...", ""))


def check_fit(guarded: Guarded, n: int, dtype: torch.dtype, kind: str) -> None:
    """A few native steps with the parameters flush against a fault: the same as from ordinary memory."""
    drawn = [torch.randn(shape, dtype=dtype) / 3 for shape in ((2, 3, n), (2, n, 2), (2, 2, n))]
    at = torch.stack([torch.arange(2 * n) % 3, torch.arange(2 * n) % n], 1)
    data = irk.Observed(at, torch.randn(2 * n, dtype=dtype), (3, n))

    def run(place: Callable[[Tensor], Tensor]) -> list[Tensor]:
        parameters = [torch.nn.Parameter(place(each)) for each in drawn]
        model = irk.nn.Product("ij,jk,kl->il", *parameters, trials=2)
        for ours, parameter in zip(model.parameters(), parameters):
            assert ours.data_ptr() == parameter.data_ptr()
        optimizer = {
            "sgd": lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9),
            "group_rmsprop": lambda p: irk.optim.GroupRMSprop(p, lr=0.01),
        }[kind](model.parameters())
        irk.fit(model, data, optimizer, steps=3, progress=False)
        return [parameter.detach() for parameter in model.parameters()]

    for ours, theirs in zip(run(guarded.copy), run(torch.Tensor.clone)):
        assert torch.equal(ours, theirs), f"{kind} over {n}, {dtype}"


def main() -> None:
    """In a process of its own: a fault ends it."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    guarded, plain, plain_like = Guarded(), torch.empty, Tensor.new_empty
    sort = observed.Coordinates._sort

    def guarded_sort(self: irk.Coordinates, key: tuple[int, ...]) -> observed.Sorted:
        made = sort(self, key)
        return observed.Sorted(*(guarded.copy(each) for each in (made.perm, made.starts, made.columns)))

    observed.Coordinates._sort = guarded_sort
    _native.STACK_SCRATCH = 0  # no workspace lies on the stack
    for dtype, n, at_end in itertools.product(DTYPES, SIZES, (True, False)):
        guarded.at_end = at_end
        torch.empty = guarded.empty
        Tensor.new_empty = guarded.new_empty
        for which, (equation, shapes) in enumerate(products(n)):
            check_product(guarded, equation, shapes, dtype, turned=(n + which) % 2 == 0)
        check_entries(guarded, "ij,jk,kl->il", [(5, 3), (3, n), (n, 4)], dtype, nnz=n)
        check_entries(guarded, "ar,br,cr->abc", [(3, n), (4, n), (2, n)], dtype, nnz=7)
        check_entries(guarded, "...ij,...jk->...ik", [(2, 3, n), (2, n, 4)], dtype, nnz=9)
        torch.empty, Tensor.new_empty = plain, plain_like
        if dtype != torch.bfloat16 and n % 3 == 1 and not _native.LAUNCHES:
            check_fit(guarded, n, dtype, "sgd")
            check_fit(guarded, n, dtype, "group_rmsprop")
    assert guarded.made > 10_000
    print(irk.build_info()["target"], "finished")


def touch_beyond() -> None:
    """What the guards are for: one byte past the end, then one before the start."""
    guarded = Guarded()
    tensor = guarded.empty(3)
    ctypes.string_at(tensor.data_ptr() + 12 if sys.argv[1] == "after" else guarded._starts[0] - 1, 1)


def run_here(target: str, *arguments: str) -> subprocess.CompletedProcess:
    path = os.pathsep.join([str(Path(irk.__file__).parent.parent), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"IRKERNELS_TARGET": target, "PYTHONPATH": path}
    command = [sys.executable, "-X", "faulthandler", __file__, *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)


needs_maps = pytest.mark.skipif(not hasattr(mmap, "MAP_ANONYMOUS"), reason="this system has no anonymous maps")


@needs_maps
@pytest.mark.parametrize("where", ("before", "after"))
def test_the_guards_fault(where: str) -> None:
    assert run_here(irk.build_info()["target"], where).returncode < 0


@needs_maps
@pytest.mark.parametrize("target", irk.build_info()["targets_available"])
def test_no_byte_beside_a_tensor_is_touched(target: str) -> None:
    done = run_here(target)
    assert done.returncode == 0, f"target {target} ends with {done.returncode}: {done.stderr[-3000:]}"
    assert done.stdout.split() == [target, "finished"]


if __name__ == "__main__":
    touch_beyond() if len(sys.argv) > 1 else main()
