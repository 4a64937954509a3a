"""Tensors in factored form: CP, Khatri-Rao, MTTKRP, mode products, trains and trees."""

from __future__ import annotations

import torch

from bad_calls import A, B, Row

X = torch.ones(2, 3, 4)
F = [torch.ones(2, 5), torch.ones(3, 5), torch.ones(4, 5)]

# of the package alone
TENSORS: tuple[Row, ...] = (
    (
        "columns of CP",
        lambda v: v.cp_to_tensor((None, [*F[:2], torch.ones(4, 6)])),
        ValueError,
        ("operand 2", "size 6", "operand 0", "has 5", "equal"),
    ),
    (
        "a column that would broadcast",
        lambda v: v.cp_to_tensor((None, [*F[:2], torch.ones(4, 1)])),
        ValueError,
        ("operand 2", "size 1", "operand 0", "has 5", "must be equal"),
    ),
    ("weights of CP", lambda v: v.cp_to_tensor((torch.ones(4), F)), ValueError, ("operand 3", "size 4", "has 5")),
    ("no factor", lambda v: v.cp_to_tensor((None, [])), ValueError, ("no factor", "one at least")),
    ("a factor of three dimensions", lambda v: v.khatri_rao([A, X]), ValueError, ("operand 1", "3", "matrix")),
    ("a factor that is a list", lambda v: v.khatri_rao([A, [1.0]]), TypeError, ("operand 1", "list", "torch.tensor")),
    ("a mask that is a list", lambda v: v.khatri_rao([A, A], mask=[1.0]), TypeError, ("mask", "list")),
    ("skipped matrix", lambda v: v.khatri_rao(F, skip_matrix=3), ValueError, ("skip_matrix", "3 matrices", "-3 to 2")),
    (
        "rows of MTTKRP",
        lambda v: v.unfolding_dot_khatri_rao(X, (None, [F[0], F[0], F[2]]), 2),
        ValueError,
        ("operand 2", "size 2", "operand 0", "has 3", "equal"),
    ),
    (
        "factors of MTTKRP",
        lambda v: v.unfolding_dot_khatri_rao(X, (None, F[:2]), 0),
        ValueError,
        ("operand 0", "3 modes", "2 factors", "one for each mode"),
    ),
    ("mode of MTTKRP", lambda v: v.unfolding_dot_khatri_rao(X, (None, F), 3), ValueError, ("mode is 3", "3 modes")),
    ("kind of mode", lambda v: v.unfolding_dot_khatri_rao(X, (None, F), 1.0), TypeError, ("mode", "integer", r"1\.0")),
    ("mixed dtypes", lambda v: v.tucker_to_tensor((A.double(), [A])), TypeError, ("operand 1", "float32", "float64")),
    (
        "columns of a mode product",
        lambda v: v.multi_mode_dot(X, [torch.ones(5, 3)]),
        ValueError,
        ("operand 1", "size 3", "operand 0", "has 2", "equal"),
    ),
    (
        "a matrix after a vector of its mode",
        lambda v: v.multi_mode_dot(X, [torch.ones(3), torch.ones(5, 3)], modes=[1, 1]),
        ValueError,
        ("operand 2", "mode 1", "vector"),
    ),
    ("modes", lambda v: v.multi_mode_dot(X, [A], modes=[0, 1]), ValueError, ("1 matrices", "2 modes", "one for each")),
    ("a cube for a mode", lambda v: v.mode_dot(X, X, 0), ValueError, ("operand 1", "3", "matrix or a vector")),
    ("mode", lambda v: v.mode_dot(X, A, -4), ValueError, ("mode is -4", "3 modes", "-3 to 2")),
    (
        "ranks of a train",
        lambda v: v.tt_to_tensor([torch.ones(1, 2, 3), torch.ones(4, 2, 1)]),
        ValueError,
        ("operand 1", "size 4", "operand 0", "has 3", "equal"),
    ),
    ("an open train", lambda v: v.tt_to_tensor([X]), ValueError, ("operand 0", "size 2", "first", "must be 1")),
    ("a ring that does not close", lambda v: v.tr_to_tensor([X, torch.ones(4, 2, 3)]), ValueError, ("size 3", "has 2")),
    ("a core of two dimensions", lambda v: v.tt_to_tensor([A]), ValueError, ("operand 0", "2 dimensions", "3")),
    ("a core of a matrix", lambda v: v.tt_matrix_to_tensor([X]), ValueError, ("operand 0", "3 dimensions", "4")),
    ("no core", lambda v: v.tr_to_tensor([]), ValueError, ("no core",)),
    ("a tree that is a leaf", lambda v: v.ht_to_tensor(A), TypeError, ("root", r"\(core, factors\)")),
    ("a leaf of three dimensions", lambda v: v.ht_to_tensor((A, [A, X])), ValueError, ("operand 2", "leaf", "3")),
    ("a node that is a number", lambda v: v.ht_to_tensor((A, [A, 3])), TypeError, ("operand 2", "int", "matrix")),
    (
        "dimensions of a transfer",
        lambda v: v.ht_to_tensor((A, [(torch.ones(2, 2, 2, 2), [A, A]), A])),
        ValueError,
        ("operand 1", "4 dimensions", "2 factors", "3", "2 where it is diagonal"),
    ),
    (
        "modes of a tree",
        lambda v: v.ht_to_tensor((A, [A.T, B.T]), modes=[0, 0]),
        ValueError,
        (r"\[0, 0\]", "2 modes", "once"),
    ),
)
