"""Bad calls: the type of the error, and what its message must name (operand by position, letter, both sizes)."""

from __future__ import annotations

import re
from collections.abc import Callable
from types import ModuleType

import pytest
import torch

import irkernels as irk
from irkernels.observed import Coordinates

A, B, C = torch.ones(2, 3), torch.ones(3, 4), torch.ones(4, 5)
AT = torch.tensor([[0, 1], [1, 3]])
VALUES = torch.ones(2)
CHAIN = "ij,jk->ik"

Call = Callable[[ModuleType], object]
# what is wrong, the call, the errors allowed, words that the message must hold
Row = tuple[str, Call, type[Exception] | tuple[type[Exception], ...], tuple[str, ...]]


def observed(**changed: object) -> irk.Observed:
    return irk.Observed(**(dict(at=AT, values=VALUES, shape=(2, 4)) | changed))


EQUATIONS: tuple[Row, ...] = (
    ("output letter in no operand", lambda v: v.einsum("ij,jk->iz", A, B), ValueError, ("z", "output")),
    ("output letter repeated", lambda v: v.einsum("ij,jk->ii", A, B), ValueError, ("i", "output")),
    ("mismatched extents", lambda v: v.einsum(CHAIN, A, C), ValueError, ("operand 1", "j", "3", "4")),
    (
        "mismatched extents of a late operand",
        lambda v: v.einsum("ij,jk,kl->il", A, B, A),
        ValueError,
        ("operand 2", "k", "4", "2"),
    ),
    ("repeated letter of two extents", lambda v: v.einsum("ii->i", A), ValueError, ("operand 0", "i", "2", "3")),
    (
        "`...` that do not broadcast",
        lambda v: v.einsum("...i,...i->...", torch.ones(2, 3), torch.ones(4, 3)),
        ValueError,
        ("operand 1", "2", "4"),
    ),
    ("fewer dimensions than letters", lambda v: v.einsum(CHAIN, A, torch.ones(3)), ValueError, ("operand 1", "1", "2")),
    (
        "more dimensions than letters",
        lambda v: v.einsum(CHAIN, torch.ones(2, 3, 1), B),
        ValueError,
        ("operand 0", "3", "2"),
    ),
    (
        "fewer dimensions than letters beside `...`",
        lambda v: v.einsum("...ij->ij", torch.ones(3)),
        ValueError,
        ("operand 0", "1", "2"),
    ),
    ("too few operands", lambda v: v.einsum(CHAIN, A), ValueError, ("2", "1", "operands")),
    ("too many operands", lambda v: v.einsum(CHAIN, A, B, C), ValueError, ("2", "3", "operands")),
    ("no operands", lambda v: v.einsum("ij->ij"), ValueError, ("operands?",)),
    ("no arrow head", lambda v: v.einsum("ij,jk>ik", A, B), ValueError, ("ij,jk>ik",)),
    ("two arrows", lambda v: v.einsum("ij->i->j", A), ValueError, ("ij->i->j",)),
    ("digit as a letter", lambda v: v.einsum("1j,jk->1k", A, B), ValueError, ("1",)),
    ("two dots", lambda v: v.einsum("..ij->ij", A), ValueError, (r"\.",)),
    ("two `...` in a term", lambda v: v.einsum("...i...->i", A), ValueError, (r"\.",)),
    ("comma in the output", lambda v: v.einsum("ij,jk->i,k", A, B), ValueError, (",",)),
    ("equation not a string", lambda v: v.einsum(A, B), TypeError, ("equation", "Tensor")),
)

OPERANDS: tuple[Row, ...] = (
    (
        "mixed dtypes",
        lambda v: v.einsum(CHAIN, A, B.double()),
        (TypeError, ValueError),
        ("operand 1", "float32", "float64"),
    ),
    (
        "mixed devices",
        lambda v: v.einsum(CHAIN, A, B.to("meta")),
        (TypeError, ValueError),
        ("operand 1", "cpu", "meta"),
    ),
    ("complex", lambda v: v.einsum(CHAIN, A.to(torch.complex64), B), TypeError, ("operand 0", "complex64", "float32")),
    ("integer", lambda v: v.einsum(CHAIN, A.long(), B.long()), TypeError, ("operand 0", "int64", "float32")),
    ("bool in a later operand", lambda v: v.einsum(CHAIN, A, B.bool()), TypeError, ("operand 1", "bool")),
    ("not a tensor", lambda v: v.einsum(CHAIN, A, [[1.0]]), TypeError, ("operand 1", "list")),
)

COORDINATES: tuple[Row, ...] = (
    ("out of range", lambda v: v.entries(CHAIN, A, B, at=[[0, 0], [1, 4]]), IndexError, ("column 1", r"\(1, 4\)", "4")),
    ("negative", lambda v: v.entries(CHAIN, A, B, at=[[-1, 0]]), IndexError, ("column 0", "-1", "2")),
    ("not integers", lambda v: v.entries(CHAIN, A, B, at=AT.float()), TypeError, ("integer", "float32")),
    ("bool", lambda v: v.entries(CHAIN, A, B, at=AT.bool()), TypeError, ("integer", "bool")),
    ("columns", lambda v: v.entries(CHAIN, A, B, at=torch.zeros(5, 3, dtype=torch.int64)), ValueError, ("2", "3")),
    ("one-dimensional", lambda v: v.entries(CHAIN, A, B, at=torch.zeros(5, dtype=torch.int64)), ValueError, ("2", "5")),
    (
        "Coordinates of another shape",
        lambda v: v.entries(CHAIN, A, B, at=Coordinates(AT, (2, 5))),
        ValueError,
        (r"\(2, 5\)", r"\(2, 4\)"),
    ),
    ("operands of entries", lambda v: v.entries(CHAIN, A, C, at=AT), ValueError, ("operand 1", "j", "3", "4")),
    ("columns of a broadcast output", lambda v: v.entries("...i->...i", A, at=AT), ValueError, ("1", "2")),
)

COTANGENTS: tuple[Row, ...] = (
    ("shape", lambda v: v.gradients(CHAIN, A, B, cotangent=torch.ones(2, 5)), ValueError, (r"2, 4", r"2, 5")),
    ("transposed", lambda v: v.gradients(CHAIN, A, B, cotangent=torch.ones(4, 2)), ValueError, (r"2, 4", r"4, 2")),
    (
        "that would broadcast",
        lambda v: v.gradients(CHAIN, A, B, cotangent=torch.ones(1, 4)),
        ValueError,
        (r"2, 4", r"1, 4"),
    ),
    (
        "dtype",
        lambda v: v.gradients(CHAIN, A, B, cotangent=torch.ones(2, 4, dtype=torch.float64)),
        (TypeError, ValueError),
        ("float32", "float64"),
    ),
    ("kind", lambda v: v.gradients(CHAIN, A, B, cotangent=1.0), TypeError, ("cotangent", "float")),
    ("values of a pair", lambda v: v.gradients(CHAIN, A, B, cotangent=(AT, torch.ones(3))), ValueError, ("2", "3")),
    (
        "dtype of a pair",
        lambda v: v.gradients(CHAIN, A, B, cotangent=(AT, VALUES.half())),
        TypeError,
        ("float32", "float16"),
    ),
    ("coordinates of a pair", lambda v: v.gradients(CHAIN, A, B, cotangent=(AT + 1, VALUES)), IndexError, ("column",)),
    (
        "Observed of another shape",
        lambda v: v.gradients(CHAIN, A, B, cotangent=observed(shape=(3, 4))),
        ValueError,
        (r"\(3, 4\)", r"\(2, 4\)"),
    ),
)

OBSERVATIONS: tuple[Row, ...] = (
    ("none", lambda v: observed(at=AT[:0], values=VALUES[:0]), ValueError, ("no observed entries|empty",)),
    ("NaN", lambda v: observed(values=[1.0, float("nan")]), ValueError, ("value 1", "nan")),
    ("infinite", lambda v: observed(values=[1.0, float("inf")]), ValueError, ("value 1", "inf")),
    ("requiring grad", lambda v: observed(values=VALUES.clone().requires_grad_()), ValueError, ("grad", "entries")),
    ("not Observed", lambda v: v.completion_loss(CHAIN, A, B, observed=(AT, VALUES)), TypeError, ("Observed", "tuple")),
    (
        "of another shape",
        lambda v: v.completion_loss(CHAIN, A, B, observed=observed(shape=(2, 5))),
        ValueError,
        (r"\(2, 5\)", r"\(2, 4\)"),
    ),
    (
        "of another dtype",
        lambda v: v.completion_loss(CHAIN, A, B, observed=observed(values=VALUES.double())),
        (TypeError, ValueError),
        ("float64", "float32", r"\.to\("),
    ),
    (
        "values with trials that the product lacks",
        lambda v: v.completion_loss(CHAIN, A, B, observed=observed(values=torch.ones(3, 2))),
        ValueError,
        (r"3, 2",),
    ),
    (
        "values of another number of trials",
        lambda v: v.completion_loss(
            "...ij,jk->...ik", torch.ones(5, 2, 3), B, observed=observed(values=torch.ones(3, 2))
        ),
        ValueError,
        (r"3, 2", "5"),
    ),
    (
        "weights of another number of trials",
        lambda v: v.completion_loss(
            "...ij,jk->...ik", torch.ones(5, 2, 3), B, observed=observed(weights=torch.ones(3, 2))
        ),
        ValueError,
        ("weights", r"3, 2", "5"),
    ),
    (
        "unknown loss",
        lambda v: v.completion_loss(CHAIN, A, B, observed=observed(), loss="rmse"),
        ValueError,
        ("rmse", "mse", "half_sse", "l1", "huber"),
    ),
    (
        "delta",
        lambda v: v.completion_loss(CHAIN, A, B, observed=observed(), loss="huber", delta=0.0),
        ValueError,
        ("delta", "0"),
    ),
    (
        "operands of the loss",
        lambda v: v.completion_loss(CHAIN, A, C, observed=observed()),
        ValueError,
        ("operand 1", "j", "3", "4"),
    ),
)

CHAINS: tuple[Row, ...] = (
    ("extents", lambda v: v.multi_dot([A, B, A]), ValueError, ("operand 2", "4", "2")),
    ("none", lambda v: v.multi_dot([]), ValueError, ("0",)),
    ("one", lambda v: v.multi_dot([A]), ValueError, ("1",)),
    ("vector inside", lambda v: v.multi_dot([A, torch.ones(3), B]), ValueError, ("operand 1", "1")),
    ("scalar", lambda v: v.multi_dot([torch.tensor(1.0), A]), ValueError, ("operand 0", "0")),
    (
        "mixed dtypes",
        lambda v: v.multi_dot([A, B.double()]),
        (TypeError, ValueError),
        ("operand 1", "float32", "float64"),
    ),
    ("integer", lambda v: v.multi_dot([A.long(), B.long()]), TypeError, ("operand 0", "int64", "float32")),
    ("not a tensor", lambda v: v.multi_dot([A, [[1.0]]]), TypeError, ("operand 1", "list")),
    (
        "trials that do not broadcast",
        lambda v: v.multi_dot([torch.ones(2, 3, 4), torch.ones(5, 4, 3)]),
        ValueError,
        ("operand 1", "2", "5"),
    ),
)

TABLE = [
    pytest.param(*row[1:], id=f"{table}: {row[0]}")
    for table, rows in {
        "equation": EQUATIONS,
        "operands": OPERANDS,
        "coordinates": COORDINATES,
        "cotangent": COTANGENTS,
        "observations": OBSERVATIONS,
        "multi_dot": CHAINS,
    }.items()
    for row in rows
]


@pytest.mark.parametrize("call, errors, words", TABLE)
def test_names_what_is_wrong(verbs, call: Call, errors, words: tuple[str, ...]) -> None:
    with pytest.raises(errors) as raised:
        call(verbs)
    hold(str(raised.value), words)


def hold(message: str, words: tuple[str, ...]) -> None:
    """Every word stands in the message, words and numbers whole."""
    for word in words:
        pattern = rf"(?<!\w)(?:{word})(?!\w)" if re.fullmatch(r"[\w ]+", word) else word
        assert re.search(pattern, message), f"{word!r} is not in {message!r}"


@pytest.mark.parametrize(
    "operands, words",
    [
        ((A,), ("2", "1", "operands")),
        ((A, C), ("operand 1", "j", "3", "4")),
        ((A, B.double()), ("operand 1", "float32", "float64")),
        ((A.long(), B.long()), ("operand 0", "int64", "float32")),
        ((A, torch.ones(3)), ("operand 1", "1", "2")),
        ((A, None), ("operand 1", "NoneType")),
    ],
)
def test_every_verb_checks_its_operands(verbs, operands, words) -> None:
    for call in (
        lambda: verbs.einsum(CHAIN, *operands),
        lambda: verbs.entries(CHAIN, *operands, at=AT),
        lambda: verbs.gradients(CHAIN, *operands, cotangent=torch.ones(2, 4)),
        lambda: verbs.gradients(CHAIN, *operands, cotangent=(AT, VALUES)),
        lambda: verbs.completion_loss(CHAIN, *operands, observed=observed()),
    ):
        with pytest.raises((TypeError, ValueError)) as raised:
            call()
        hold(str(raised.value), words)


def test_a_failed_call_changes_nothing(verbs) -> None:
    factors = [A.clone().requires_grad_(), C.clone().requires_grad_()]
    with pytest.raises(ValueError):
        verbs.einsum(CHAIN, *factors)
    assert all(factor.grad is None and factor.is_leaf and factor._version == 0 for factor in factors)
    assert torch.equal(verbs.einsum(CHAIN, A, B), A @ B)
