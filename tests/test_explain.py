"""explain(): route, tree, multiply-adds, bytes and arithmetic in words, before anything is computed."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import irkernels as irk

CHAIN = "ij,jk,kl->il"


def line(text: str, name: str) -> str:
    """What stands behind a name at the start of a line; each name stands once, the two plans apart."""
    found = re.findall(rf"^{name}  +(.+)$", text, re.MULTILINE)
    assert len(found) == 1, f"{name} in\n{text}"
    return found[0]


def test_a_dense_chain_in_words() -> None:
    text = irk.explain(CHAIN, (20, 30), (30, 40), (40, 50))
    assert text.startswith(f"{CHAIN}   (20, 30)  (30, 40)  (40, 50)   torch.float32\n")
    assert line(text, "route") == "dense: the whole product"
    assert line(text, "value") == f"{20 * 30 * 40 + 20 * 40 * 50:,} multiply-adds"
    assert line(text, "gradients") == f"{2 * (20 * 30 * 40 + 20 * 40 * 50):,} multiply-adds, 2.00 x the value"
    assert line(text, "bytes") == (
        f"output {20 * 50 * 4:,}, kept for backward {20 * 40 * 4:,}, gradients {(20 * 30 + 30 * 40 + 40 * 50) * 4:,}"
    )
    assert line(text, "arithmetic").startswith("float32; own kernels, the same bits")
    assert "  [ik] = operand 0 x operand 1\n  [il] = [ik] x operand 2   (root)\n" in text
    assert text.count("steps of one trial") == 2, "value and gradients"


def test_double_precision_takes_twice_the_bytes() -> None:
    single, double = (irk.explain(CHAIN, (20, 30), (30, 40), (40, 50), dtype=d) for d in (torch.float32, torch.float64))

    def numbers(text: str) -> list[int]:
        return [int(found.replace(",", "")) for found in re.findall(r"\d[\d,]*\d", line(text, "bytes"))]

    assert numbers(double) == [2 * size for size in numbers(single)]
    assert line(double, "arithmetic").startswith("float64;")


def test_tensors_say_their_own_dtype_and_strides() -> None:
    a, b = torch.ones(4, 300, dtype=torch.float64), torch.ones(300, 500, dtype=torch.float64).t().contiguous().t()
    assert "torch.float64" in irk.explain("ij,jk->ik", a, b).splitlines()[0]
    text, plain = irk.explain("ij,jk->ik", a, b), irk.explain("ij,jk->ik", a, b.contiguous())
    assert "packed" in text.partition("gradients\n")[0] and "packed" not in plain.partition("gradients\n")[0]


@pytest.mark.parametrize(
    ("route", "equation", "shapes", "nnz"),
    (
        ("split: the root's two sides", CHAIN, ((300, 40), (40, 30), (30, 300)), 500),
        ("dense: the whole product, read", CHAIN, ((30, 40), (40, 30), (30, 30)), 5000),
        ("gather: rows of every operand", "ar,br,cr,dr->abcd", ((100, 5),) * 4, 100),
    ),
)
def test_routes_of_listed_entries(route: str, equation: str, shapes: tuple, nnz: int) -> None:
    text = irk.explain(equation, *shapes, nnz=nnz)
    assert line(text, "route").startswith(route)
    assert text.splitlines()[0].endswith(f"{nnz:,} entries")
    assert int(line(text, "value").split()[0].replace(",", "")) > 0
    assert "(root" in text or "product of rows" in text
    assert "workspace" in text and f"output {nnz * 4:,}" in line(text, "bytes")


def test_gathered_rows_come_in_blocks() -> None:
    text = irk.explain("ap,bpq,cqr,dr->abcd", (100, 5), (100, 5, 5), (100, 5, 5), (100, 5), nnz=100)
    assert "rows of a block of 100 entries" in text
    assert line(text, "bytes") == f"output {100 * 4}, kept for backward 0, gradients {60 * 100 * 4:,}"
    assert line(text, "value") == f"{100 * (25 + 25 + 5):,} multiply-adds"


def test_rows_of_the_same_letters_are_multiplied_where_they_lie() -> None:
    text = irk.explain("ar,br,cr,dr->abcd", *((100, 5),) * 4, nnz=100)
    assert "rows alike, multiplied element by element, 100 entries a block" in text
    assert line(text, "bytes") == f"output {100 * 4}, kept for backward 0, gradients {4 * 100 * 5 * 4:,}"
    assert line(text, "value") == f"{4 * 100 * 5:,} multiply-adds"


def test_half_types_are_computed_in_single() -> None:
    for dtype in (torch.bfloat16, torch.float16):
        text = irk.explain("ij,jk->ik", (30, 40), (40, 50), dtype=dtype)
        assert line(text, "arithmetic").startswith("float32, rounded once;")
        assert "widen" in text and "narrow" in text
        assert line(text, "bytes").startswith(f"output {30 * 50 * 2:,},")


def test_trials_multiply_the_work_and_not_the_tree() -> None:
    one, many = (irk.explain("...ij,...jk->...ik", (t, 30, 40), (t, 40, 50)) for t in (1, 64))
    assert line(one, "value") == f"{30 * 40 * 50:,} multiply-adds"
    assert line(many, "value") == f"{64 * 30 * 40 * 50:,} multiply-adds"
    assert "\ntrials 64, multiply-adds a trial 60000," in many


@pytest.mark.usefixtures("blas_that_pays")
def test_blas_or_own_kernels() -> None:
    shapes = (900, 800), (800, 900)
    assert "3 steps by torch's matmul" in line(irk.explain("ij,jk->ik", *shapes), "arithmetic")
    with irk.deterministic():
        assert "own kernels" in line(irk.explain("ij,jk->ik", *shapes), "arithmetic")
    assert "own kernels" in line(irk.explain("ij,jk->ik", (30, 40), (40, 50)), "arithmetic")


def test_gradients_that_are_not_wanted_cost_nothing() -> None:
    text = irk.explain(CHAIN, (20, 30), (30, 40), (40, 50), wanted=(False, False, True))
    assert int(line(text, "gradients").split()[0].replace(",", "")) <= 20 * 40 * 50 + 20 * 30 * 40
    none = irk.explain(CHAIN, (20, 30), (30, 40), (40, 50), wanted=(False,) * 3)
    assert line(none, "gradients").startswith("0 multiply-adds") and "gradients 0" in line(none, "bytes")


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="this system does not tell a process's memory")
def test_shapes_of_any_size_take_no_memory() -> None:
    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

    irk.explain("ij,jk->ik", (2, 3), (3, 4))
    before = resident()
    text = irk.explain("ij,jk->ik", (10**6, 300), (300, 10**6))
    assert line(text, "value") == f"{300 * 10**12:,} multiply-adds" and f"output {4 * 10**12:,}," in text
    irk.explain("ar,br,cr,dr->abcd", *((10**7, 100),) * 4, nnz=10**8)
    irk.explain(CHAIN, (10**7, 50), (50, 50), (50, 10**7), nnz=10**8)
    assert resident() - before < 64 << 20


BAD: tuple[tuple[str, Callable, Callable], ...] = tuple(
    (name, lambda e=e, s=s: irk.explain(e, *s), lambda e=e, s=s: irk.einsum(e, *(torch.ones(shape) for shape in s)))
    for name, e, s in (
        ("output letter in no operand", "ij,jk->iz", ((2, 3), (3, 4))),
        ("extents that differ", "ij,jk->ik", ((2, 3), (4, 5))),
        ("too few operands", "ij,jk->ik", ((2, 3),)),
        ("dimensions", "ij,jk->ik", ((2, 3), (3, 4, 5))),
        ("a character that is no letter", "i\x07,jk->ik", ((2, 3), (3, 4))),
        ("two ellipses", "......i->i", ((2, 3),)),
        ("output letter twice", "ij->ii", ((2, 3),)),
    )
)


@pytest.mark.parametrize(("explain", "einsum"), [row[1:] for row in BAD], ids=[row[0] for row in BAD])
def test_bad_equations_raise_what_einsum_raises(explain: Callable, einsum: Callable) -> None:
    with pytest.raises(ValueError) as by_einsum:
        einsum()
    with pytest.raises(ValueError) as by_explain:
        explain()
    assert str(by_explain.value) == str(by_einsum.value)


def test_who_takes_the_steps_of_training() -> None:
    assert line(irk.explain("...ij,...jk->...ik", (16, 3, 3), (16, 3, 3), nnz=5), "training").startswith("lanes")
    assert line(irk.explain("ij,jk->ik", (100, 100), (100, 100)),
                "training").partition(": ")[2].startswith("a step of one trial has")
    assert line(irk.explain("ij,jk->ik", (9, 9), (9, 9), dtype=torch.bfloat16), "training") == "in plain torch"


def test_bad_arguments() -> None:
    with pytest.raises(TypeError, match="int32"):
        irk.explain("ij,jk->ik", (2, 3), (3, 4), dtype=torch.int32)
    with pytest.raises(TypeError, match=r"operand 1.*float64.*operand 0.*float32"):
        irk.explain("ij,jk->ik", torch.ones(2, 3), torch.ones(3, 4, dtype=torch.float64))
    with pytest.raises(TypeError, match="equation must be a string"):
        irk.explain(3, (2, 3))
    with pytest.raises(ValueError, match=r"wanted.* 1 .*2 operands"):
        irk.explain("ij,jk->ik", (2, 3), (3, 4), wanted=(True,))
    with pytest.raises(ValueError, match=r"nnz.*-5"):
        irk.explain("ij,jk->ik", (2, 3), (3, 4), nnz=-5)
    with pytest.raises(ValueError, match=r"operand 1.*-3"):
        irk.explain("ij,jk->ik", (2, 3), (-3, 4))
