"""Equations, their operands' sizes, and the call forms of einsum."""

from __future__ import annotations

import torch

from bad_calls import CHAIN, A, B, C, Row

SIZES = "must be equal or 1"

EQUATIONS: tuple[Row, ...] = (
    (
        "pytorch#58380",  # the reporter's program; torch names neither letter nor operand
        lambda v: v.einsum("bix,iox->box", torch.rand(12, 8192, 2), torch.rand(12, 8192, 2)),
        ValueError,
        ("operand 1", r"\[12, 8192, 2\]", "letter 'i'", "12", "operand 0", "8192", SIZES),
    ),
    ("output letter in no operand", lambda v: v.einsum("ij,jk->iz", A, B), ValueError, ("z", "output", "no operand")),
    ("output letter repeated", lambda v: v.einsum("ij,jk->ii", A, B), ValueError, ("i", "output", "once")),
    ("mismatched extents", lambda v: v.einsum(CHAIN, A, C), ValueError, ("operand 1", "j", "3", "4", SIZES)),
    (
        "mismatched extents of a late operand",
        lambda v: v.einsum("ij,jk,kl->il", A, B, A),
        ValueError,
        ("operand 2", "k", "4", "2", SIZES),
    ),
    (
        "mismatched extents of a Unicode letter",
        lambda v: v.einsum("iµ,µk->ik", A, C),
        ValueError,
        ("operand 1", "µ", "3", "4", SIZES),
    ),
    (
        "mismatched extents behind one that broadcasts",
        lambda v: v.einsum("i,i,i->i", A[0], A[0, :1], B[0]),
        ValueError,
        ("operand 2", "i", "4", "operand 0", "3", SIZES),
    ),
    (
        "an extent of 0 beside another",
        lambda v: v.einsum(CHAIN, A[:, :0], B),
        ValueError,
        ("operand 1", "j", "0", "3", SIZES),
    ),
    (
        "repeated letter of two extents",
        lambda v: v.einsum("ii->i", A),
        ValueError,
        ("operand 0", "i", "2", "3", "equal"),
    ),
    (
        "repeated letter of extents 1 and 3",  # a diagonal does not broadcast
        lambda v: v.einsum("ii->i", A[:1]),
        ValueError,
        ("operand 0", "i", "1", "3", "equal"),
    ),
    (
        "`...` that do not broadcast",
        lambda v: v.einsum("...i,...i->...", torch.ones(2, 3), torch.ones(4, 3)),
        ValueError,
        ("operand 1", r"axis -1 of '\.\.\.'", "2", "4", SIZES),
    ),
    (
        "`...` of three operands that do not broadcast",
        lambda v: v.einsum("...i,...i,...->...", torch.ones(5, 1, 3), torch.ones(2, 3), torch.ones(4, 1)),
        ValueError,
        ("operand 2", r"axis -2 of '\.\.\.'", "4", "operand 0", "5", SIZES),
    ),
    (
        "fewer dimensions than letters",
        lambda v: v.einsum(CHAIN, A, torch.ones(3)),
        ValueError,
        ("operand 1", "jk", "1", "2", "each dimension"),
    ),
    (
        "more dimensions than letters",
        lambda v: v.einsum(CHAIN, torch.ones(2, 3, 1), B),
        ValueError,
        ("operand 0", "ij", "3", "2", "each dimension"),
    ),
    (
        "fewer dimensions than letters beside `...`",
        lambda v: v.einsum("...ij->ij", torch.ones(3)),
        ValueError,
        ("operand 0", r"\.\.\.ij", "1", "at least 2"),
    ),
    (
        "letters of a scalar",
        lambda v: v.einsum("i,i->i", torch.tensor(1.0), A[0]),
        ValueError,
        ("operand 0", "i", "0", "1"),
    ),
    ("too few operands", lambda v: v.einsum(CHAIN, A), ValueError, ("2", "1", "operands", "one term for each")),
    ("too many operands", lambda v: v.einsum(CHAIN, A, B, C), ValueError, ("2", "3", "operands", "one term for each")),
    ("too few operands in a list", lambda v: v.einsum(CHAIN, [A]), ValueError, ("2", "1", "operands")),
    ("no operands", lambda v: v.einsum("ij->ij"), ValueError, ("operands?",)),
    ("gradients of no operand", lambda v: v.gradients("->", cotangent=torch.ones(())), ValueError, ("operands?",)),
    ("no arrow head", lambda v: v.einsum("ij,jk>ik", A, B), ValueError, ("operand 1", "ij,jk>ik", ">")),
    ("no arrow shaft", lambda v: v.einsum("ij,jk-ik", A, B), ValueError, ("operand 1", "ij,jk-ik", "-")),
    ("two arrows", lambda v: v.einsum("ij->i->j", A), ValueError, ("output", "ij->i->j", "-")),
    ("control character", lambda v: v.einsum("i\x07->i", A), ValueError, ("operand 0", "control character 7")),
    ("the character 0", lambda v: v.einsum("i\0->i", A), ValueError, (r"\\x00->i", "control character 0")),
    ("half a character", lambda v: v.einsum("\ud800i->i", A), ValueError, (r"\\ud800", "lone surrogate", "character")),
    ("two dots", lambda v: v.einsum("..ij->ij", A), ValueError, ("operand 0", r"\.", r"\.\.ij->ij")),
    ("two `...` in a term", lambda v: v.einsum("...i...->i", A), ValueError, ("operand 0", r"\.", r"\.\.\.i\.\.\.->i")),
    ("comma in the output", lambda v: v.einsum("ij,jk->i,k", A, B), ValueError, ("output", ",")),
    ("equation not a string", lambda v: v.einsum(A, B), TypeError, ("equation", "Tensor", "list of letters")),
    ("equation alone", lambda v: v.einsum(3), TypeError, ("equation", "string", "int")),
)

SUBLISTS: tuple[Row, ...] = (
    (
        "mismatched extents",
        lambda v: v.einsum(A, [0, 1], C, [1, 2], [0, 2]),
        ValueError,
        ("operand 1", "letter '1'", "4", "operand 0", "3", SIZES),
    ),
    (
        "output letter in no operand",
        lambda v: v.einsum(A, ["left", "bond"], ["left", "right"]),
        ValueError,
        ("output", "'right'", "no operand"),
    ),
    ("output letter repeated", lambda v: v.einsum(A, [0, 1], [0, 0]), ValueError, ("output", "0", "once")),
    ("unhashable letter", lambda v: v.einsum(A, [0, {}]), TypeError, ("operand 0", r"\{\}", "dict", "hashable")),
    (
        "unhashable output letter",
        lambda v: v.einsum(A, [0, 1], [[0]]),
        TypeError,
        ("output", r"\[0\]", "list", "hashable"),
    ),
    ("letters as a string", lambda v: v.einsum(A, "ij", B, "jk"), TypeError, ("operand 0", "str", "list of letters")),
    ("letters that cannot be sorted", lambda v: v.einsum(A, [0, "j"]), TypeError, (r"\[0, 'j'\]", "sorted", "output")),
    ("dimensions", lambda v: v.einsum(A, [0, 1, 2]), ValueError, ("operand 0", "012", "2", "3", "each dimension")),
)

PATHS: tuple[Row, ...] = (
    (
        "position out of range",
        lambda v: v.einsum("ij,jk,kl->il", A, B, C, path=[(0, 1), (0, 2)]),
        ValueError,
        (r"step 1 \(0, 2\)", "position 2", "2 tensors", "0 to 1"),
    ),
    (
        "negative position",
        lambda v: v.einsum(CHAIN, A, B, path=[(0, -1)]),
        ValueError,
        (r"step 0 \(0, -1\)", "position -1", "2 tensors", "0 to 1"),
    ),
    (
        "position twice",
        lambda v: v.einsum(CHAIN, A, B, path=[(1, 1)]),
        ValueError,
        (r"step 0 \(1, 1\)", "1 twice", "once"),
    ),
    (
        "tensors left",
        lambda v: v.einsum("ij,jk,kl->il", A, B, C, path=[(0, 1)]),
        ValueError,
        ("path", "2 of 3", "must leave one"),
    ),
    ("no steps", lambda v: v.einsum(CHAIN, A, B, path=[]), ValueError, ("path", "2 of 2", "must leave one")),
    ("empty step", lambda v: v.einsum(CHAIN, A, B, path=[(), (0, 1)]), ValueError, ("step 0", "empty", "at least one")),
    (
        "steps too many",
        lambda v: v.einsum(CHAIN, A, B, path=[(0, 1), (0, 1)]),
        ValueError,
        (r"step 1 \(0, 1\)", "position 1", "1 tensor", "0 to 0"),
    ),
    ("kind", lambda v: v.einsum(CHAIN, A, B, path=0.5), TypeError, ("path", "float", r"\[\(0, 1\)")),
    ("steps of strings", lambda v: v.einsum(CHAIN, A, B, path=[("a", "b")]), TypeError, ("path", "'a'", r"\[\(0, 1\)")),
    (
        "unknown strategy",
        lambda v: v.einsum(CHAIN, A, B, path="fastest"),
        ValueError,
        ("fastest", "opt_einsum", "greedy"),
    ),
    (
        "of the gradients",
        lambda v: v.gradients(CHAIN, A, B, cotangent=torch.ones(2, 4), path=[(0, 2)]),
        ValueError,
        (r"step 0 \(0, 2\)", "position 2", "2 tensors"),
    ),
)
