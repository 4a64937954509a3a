"""Call forms and letters: torch.einsum's and opt_einsum's, for every verb and for the reference."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from torch import Tensor

import irkernels as irk
from irkernels.grammar import explicit, symbol
from irkernels.testing import factor_gradients

A, B, C = (torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(i))
           for i, shape in enumerate(((2, 3), (3, 4), (4, 5))))  # fmt: skip
T = torch.randn(6, 2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(3))


class Index:
    """A letter that can be hashed but not sorted."""


LEFT, BOND, RIGHT = Index(), Index(), Index()

# a call's arguments, and torch.einsum's for the same
FORMS = {
    "string": (("ij,jk->ik", A, B), ("ij,jk->ik", A, B)),
    "implicit": (("kj,ji", A, B), ("kj,ji", A, B)),
    "implicit, upper case before lower": (("bA", A), ("bA", A)),
    "list of operands": (("ij,jk->ik", [A, B]), ("ij,jk->ik", A, B)),
    "tuple of operands": (("ij,jk->ik", (A, B)), ("ij,jk->ik", A, B)),
    "list of one": (("ij->ji", [A]), ("ij->ji", A)),
    "blanks": (("  i j,\tj k\n- > i k ", A, B), ("ij,jk->ik", A, B)),
    "blanks in dots": ((". . . ij->...ji", T), ("...ij->...ji", T)),
    "no letters": (("->", A[0, 0]), ("", A[0, 0])),
    "Unicode": (("αβ,β京->α京", A, B), ("ij,jk->ik", A, B)),
    "Unicode, implicit": (("βα", A), ("ba", A)),
    "digits and punctuation": (("1_,_*->1*", A, B), ("ij,jk->ik", A, B)),
    "dots": (("...ij,jk->i...k", T, B), ("...ij,jk->i...k", T, B)),
    "dots summed": (("...ij,jk->ik", T, B), ("...ij,jk->ik", T, B)),
    "dots of nothing": (("...ij,jk->...ik", A, B), ("...ij,jk->...ik", A, B)),
    "dots of the output alone": (("ij->...ij", A), ("ij->...ij", A)),
    "diagonal": (("iij->ij", T[:2, :2]), ("iij->ij", T[:2, :2])),
    "trace": (("ii", A[:, :2]), ("ii", A[:, :2])),
    "letter of one operand": (("ij,k->k", A, B[0]), ("ij,k->k", A, B[0])),
    "size 1 beside 3": (("ij,j->ij", A, A[0, :1]), ("ij,j->ij", A, A[0, :1])),
    "size 1 in all": (("ij,jk->ik", A[:, :1], B[:1]), ("ij,jk->ik", A[:, :1], B[:1])),
    "size 0 in the output": (("ij,jk->ik", A[:0], B), ("ij,jk->ik", A[:0], B)),
    "size 0 summed": (("ij,jk->ik", A[:, :0], B[:0]), ("ij,jk->ik", A[:, :0], B[:0])),
    "size 0 beside 1": (("ij,jk->ik", A[:, :0], B[:1]), ("ij,jk->ik", A[:, :0], B[:1])),
    "scalars": ((",i,->i", A[0, 0], A[0], A[1, 1]), (",i,->i", A[0, 0], A[0], A[1, 1])),
    "integers": ((A, [0, 1], B, [1, 2], [0, 2]), (A, [0, 1], B, [1, 2], [0, 2])),
    "integers, implicit": ((A, [7, 1], B, [1, 2]), (A, [7, 1], B, [1, 2])),
    "integers, implicit beyond 26": ((A, [30, 1], B, [1, 2]), (A, [30, 1], B, [1, 2])),
    "integers and dots": ((T, [..., 0, 1], B, [1, 2], [..., 2, 0]), (T, [..., 0, 1], B, [1, 2], [..., 2, 0])),
    "integers and dots, implicit": ((T, [..., 3, 1], B, [1, 2]), (T, [..., 3, 1], B, [1, 2])),
    "large integers": ((A, [1000, -1], B, [-1, 99], [1000, 99]), ("ij,jk->ik", A, B)),
    "NumPy's integers": ((A, np.arange(2), B, np.arange(1, 3), [0, 2]), ("ij,jk->ik", A, B)),
    "tensors of integers": ((A, torch.tensor([0, 1]), B, torch.tensor([1, 2])), ("ij,jk->ik", A, B)),
    "strings": ((A, ("left", "bond"), B, ("bond", "right")), ("ij,jk->ik", A, B)),
    "strings, sorted": ((A, ["z", "bond"], B, ["bond", "a"]), ("ij,jk->ki", A, B)),
    "characters, one of them punctuation": ((A, ["a", "b"], B, ["b", "."]), ("ij,jk->ki", A, B)),
    "number and its digit": ((A, [1, "1"], B, ["1", 2], [1, 2]), ("ij,jk->ik", A, B)),
    "mixed objects": ((A, [(0, 1), "bond"], B, ["bond", None], [None, (0, 1)]), ("ij,jk->ki", A, B)),
    "objects without order": ((A, [LEFT, BOND], B, [BOND, RIGHT], [LEFT, RIGHT]), ("ij,jk->ik", A, B)),
    "no letters in lists": ((A[0, 0], [], B[0], [0]), (",i", A[0, 0], B[0])),
}  # fmt: skip


@pytest.mark.parametrize("arguments, torchs", FORMS.values(), ids=FORMS.keys())
def test_every_call_form_is_torchs(verbs, arguments: tuple, torchs: tuple) -> None:
    torch.testing.assert_close(verbs.einsum(*arguments), torch.einsum(*torchs))


@pytest.mark.parametrize("arguments, torchs", FORMS.values(), ids=FORMS.keys())
def test_every_call_form_has_the_gradients(arguments: tuple, torchs: tuple) -> None:
    def gradients(einsum, given: tuple) -> list[Tensor]:
        made: list[Tensor] = []

        def leaf(argument):
            if isinstance(argument, (list, tuple)) and argument and isinstance(argument[0], Tensor):
                return [leaf(each) for each in argument]
            if not isinstance(argument, Tensor) or not argument.is_floating_point():
                return argument
            made.append(argument.detach().clone().requires_grad_())
            return made[-1]

        product = einsum(*map(leaf, given))
        return list(torch.autograd.grad((product**2).sum(), made))

    torch.testing.assert_close(gradients(irk.einsum, arguments), gradients(torch.einsum, torchs))


def chain(length: int, first: int = 0) -> tuple[str, list[Tensor]]:
    """An equation of length + 1 letters, and its matrices 2 x 2 of about unit size."""
    letters = [symbol(first + i) for i in range(length + 1)]
    equation = ",".join(a + b for a, b in itertools.pairwise(letters)) + f"->{letters[0]}{letters[-1]}"
    generator = torch.Generator().manual_seed(length)
    return equation, [torch.randn(2, 2, dtype=torch.float64, generator=generator) / math.sqrt(2) for _ in range(length)]


@pytest.mark.parametrize("length, first", [(60, 0), (60, 55_270), (300, 0), (3, 1_000_000)])
def test_letters_of_any_number(verbs, length: int, first: int) -> None:
    equation, matrices = chain(length, first)
    factors = [matrix.requires_grad_() for matrix in matrices]
    product, expected = verbs.einsum(equation, *factors), torch.linalg.multi_dot(factors)
    torch.testing.assert_close(product, expected, rtol=1e-10, atol=0)
    found, exact = (torch.autograd.grad(value.sum(), factors) for value in (product, expected))
    torch.testing.assert_close(found, exact, rtol=1e-9, atol=1e-300)


def test_many_axes_that_share_no_letter() -> None:
    """60 letters, all in the output: most of extent 1 (the reference has torch.einsum's 52 at one meeting)."""
    vectors = [torch.full((2 if i % 60 == 0 else 1,), i + 1.0, dtype=torch.float64) for i in range(60)]
    letters = [symbol(i + 300) for i in range(60)]
    equation = f"{','.join(letters)}->{''.join(letters[::-1])}"
    found = irk.einsum(equation, *vectors)
    assert found.shape == (*[1] * 59, 2)
    torch.testing.assert_close(found.flatten(), torch.full((2,), float(math.factorial(60)), dtype=torch.float64))


def test_every_verb_takes_any_letter(verbs) -> None:
    at = torch.tensor([[0, 1], [1, 3], [1, 3]])
    observed = irk.Observed(at, torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64), (2, 4))
    cotangent = torch.randn(2, 4, dtype=torch.float64)
    for equation in ("iµ,µ京->i京", "1 2,2 3 -> 1 3", "\tij ,jk"):
        torch.testing.assert_close(verbs.entries(equation, A, B, at=at), (A @ B)[tuple(at.T)])
        found = verbs.gradients(equation, A, B, cotangent=cotangent)
        torch.testing.assert_close(found, tuple(factor_gradients("ij,jk->ik", [A, B], cotangent)))
        expected = ((A @ B)[tuple(at.T)] - observed.values).square().mean()
        torch.testing.assert_close(verbs.completion_loss(equation, A, B, observed=observed), expected)
    assert "24 multiply-adds" in irk.explain("iµ,µ京->i京", A, B)


def test_trials_that_only_some_operands_have(verbs) -> None:
    """Losses are one a trial also where the equation has blanks, implicit output or Unicode letters."""
    observed = irk.Observed(torch.tensor([[0, 1], [1, 3]]), torch.ones(2, dtype=torch.float64), (2, 4))
    expected = ((T @ B)[:, [0, 1], [1, 3]] - 1).square().mean(-1)
    for equation in ("...ij,jk->...ik", ". . . ij,\tjk", "...αβ,βγ->...αγ"):
        torch.testing.assert_close(verbs.completion_loss(equation, T, B, observed=observed), expected)


def test_batched_cotangents_of_any_letters() -> None:
    """Copies hidden by torch's batching get letters that the equation does not have."""
    stranger = symbol(0)
    factors = [T.clone().requires_grad_(), B.clone().requires_grad_()]
    product = irk.einsum(f"...{stranger}一,一丁->{stranger}丁", *factors)
    cotangents = torch.randn(5, *product.shape, dtype=torch.float64)
    found = torch.autograd.grad(product, factors, cotangents, is_grads_batched=True)
    for cotangent, *each in zip(cotangents, *found):
        torch.testing.assert_close(each, factor_gradients("...ij,jk->ik", [T, B], cotangent))


def test_symbols_are_opt_einsums() -> None:
    parser = pytest.importorskip("opt_einsum.parser")
    surrogates = 0xD800 - 140  # from here on opt_einsum's letters are no characters for a while
    for i in (0, 25, 26, 51, 52, 191, 300, surrogates - 1):
        assert symbol(i) == parser.get_symbol(i)
    for i in (surrogates, surrogates + 1, 60_000, 1_000_000):
        assert symbol(i).encode() > symbol(i - 1).encode()


def test_explicit_keeps_what_an_equation_carries() -> None:
    assert explicit(" b A , A c ") == "bA,Ac->bc"
    assert explicit("...ij,jk") == "...ij,jk->...ik"
    assert explicit("ij,jk->ik\x010+1") == "ij,jk->ik\x010+1"
