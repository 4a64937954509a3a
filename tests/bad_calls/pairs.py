"""Chains of matrices, and pairs of tensors."""

from __future__ import annotations

import torch

from bad_calls import A, B, Row

CHAINS: tuple[Row, ...] = (
    ("extents", lambda v: v.multi_dot([A, B, A]), ValueError, ("operand 2", "4", "2", "must be equal")),
    ("none", lambda v: v.multi_dot([]), ValueError, ("0", "at least two")),
    ("one", lambda v: v.multi_dot([A]), ValueError, ("1", "at least two")),
    ("vector inside", lambda v: v.multi_dot([A, torch.ones(3), B]), ValueError, ("operand 1", "1", "at least 2")),
    ("scalar", lambda v: v.multi_dot([torch.tensor(1.0), A]), ValueError, ("operand 0", "0", "at least")),
    (
        "mixed dtypes",
        lambda v: v.multi_dot([A, B.double()]),
        TypeError,
        ("operand 1", "float32", "float64", "must be equal"),
    ),
    ("integer", lambda v: v.multi_dot([A.long(), B.long()]), TypeError, ("operand 0", "int64", "float32")),
    ("not a tensor", lambda v: v.multi_dot([A, [[1.0]]]), TypeError, ("operand 1", "list")),
    (
        "trials that do not broadcast",
        lambda v: v.multi_dot([torch.ones(2, 3, 4), torch.ones(5, 4, 3)]),
        ValueError,
        ("operand 1", r"axis -1 of '\.\.\.'", "2", "5", "must be equal or 1"),
    ),
)

# of the package alone
PAIRS: tuple[Row, ...] = (
    (
        "extents",
        lambda v: v.tensordot(A, A, 1),
        ValueError,
        ("operand 1", "size 2 in dimension 0", "operand 0", "3 in dimension 1", "must be equal or 1"),
    ),
    ("too many pairs", lambda v: v.tensordot(A, B, 3), ValueError, ("3", "operand 0", "2", "operand 1", "both")),
    (
        "unequal lists",
        lambda v: v.tensordot(A, B, ([0, 1], [0])),
        ValueError,
        ("2", "operand 0", "1", "operand 1", "equal"),
    ),
    (
        "no such dimension",
        lambda v: v.tensordot(A, B, ([2], [0])),
        ValueError,
        ("operand 0", r"\[2, 3\]", "dimension 2", "-2 to 1"),
    ),
    (
        "dimension twice",
        lambda v: v.tensordot(A, A, axes=([1, 1], [0, 1])),
        ValueError,
        ("operand 0", r"\[1, 1\]", "once"),
    ),
    ("kind of dims", lambda v: v.tensordot(A, B, 0.5), TypeError, ("dims", "0.5", "number")),
    ("not a tensor", lambda v: v.tensordot(A, [1.0], 1), TypeError, ("operand 1", "list")),
    ("axes of transpose", lambda v: v.transpose(A, [0]), ValueError, (r"\[0\]", "operand 0", "2", "once")),
    ("axis twice in transpose", lambda v: v.transpose(A, [0, 0]), ValueError, ("operand 0", r"\[0, 0\]", "once")),
)
