"""Bad calls: the type of the error, and what its message names (operand by position, letter, both sizes, the rule)."""

from __future__ import annotations

import re

import pytest
import torch
from bad_calls import (
    AT,
    CHAIN,
    VALUES,
    A,
    B,
    C,
    Call,
    curvature,
    dynamics,
    equations,
    listed,
    observed,
    operands,
    pairs,
    refused,
    tensors,
)

import irkernels as irk

pytestmark = pytest.mark.filterwarnings("ignore:.*(quantize|Sparse CSR)")
MOST_LINES = 4
BOTH = {  # tables of irkernels and of its reference
    "equation": equations.EQUATIONS,
    "sublists": equations.SUBLISTS,
    "path": equations.PATHS,
    "operands": operands.OPERANDS,
    "coordinates": listed.COORDINATES,
    "cotangent": listed.COTANGENTS,
    "observations": listed.OBSERVATIONS,
    "multi_dot": pairs.CHAINS,
    "freed": refused.FREED,
}
OWN = {
    "pair": pairs.PAIRS,
    "factored": tensors.TENSORS,
    "curvature": curvature.CURVATURE,
    "dynamics": dynamics.DYNAMICS,
    "spectrum": dynamics.SPECTRUM,
    "refused": refused.REFUSED,
}


def rows(tables: dict) -> list:
    return [pytest.param(*row[1:], id=f"{table}: {row[0]}") for table, found in tables.items() for row in found]


@pytest.mark.parametrize("call, errors, words", rows(BOTH))
def test_names_what_is_wrong(verbs, call: Call, errors, words: tuple[str, ...]) -> None:
    fails_with(lambda: call(verbs), errors, words)


@pytest.mark.parametrize("call, errors, words", rows(OWN))
def test_names_what_is_wrong_of_the_package(call: Call, errors, words: tuple[str, ...]) -> None:
    fails_with(lambda: call(irk), errors, words)


def fails_with(call, errors, words: tuple[str, ...]) -> None:
    """The error, its message of few lines, every word in it: words and numbers whole, others as patterns."""
    with pytest.raises(errors) as raised:
        call()
    message = str(raised.value)
    assert len(message.splitlines()) <= MOST_LINES, message
    for word in words:
        pattern = rf"(?<!\w)(?:{word})(?!\w)" if re.fullmatch(r"[\w ]+", word) else word
        assert re.search(pattern, message), f"{word!r} is not in {message!r}"


@pytest.mark.parametrize(
    "operands, words",
    [
        ((A,), ("2", "1", "operands")),
        ((A, C), ("operand 1", "j", "3", "4", "must be equal or 1")),
        ((A, B.double()), ("operand 1", "float32", "float64", "must be equal")),
        ((A.long(), B.long()), ("operand 0", "int64", "float32")),
        ((A, torch.ones(3)), ("operand 1", "1", "2")),
        ((A, None), ("operand 1", "NoneType")),
        ((A, B.numpy()), ("operand 1", "ndarray", r"torch\.from_numpy")),
        ((A.to_sparse(), B), ("operand 0", "sparse_coo", "torch.strided")),
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
        fails_with(call, (TypeError, ValueError), words)


def test_a_failed_call_changes_nothing(verbs) -> None:
    factors = [A.clone().requires_grad_(), C.clone().requires_grad_()]
    with pytest.raises(ValueError):
        verbs.einsum(CHAIN, *factors)
    assert all(factor.grad is None and factor.is_leaf and factor._version == 0 for factor in factors)
    assert torch.equal(verbs.einsum(CHAIN, A, B), A @ B)


def test_the_table_is_long_enough() -> None:
    """At least sixty bad calls, the first of them pytorch#58380's."""
    assert len(rows(BOTH)) + len(rows(OWN)) >= 60 and "58380" in rows(BOTH)[0].id
