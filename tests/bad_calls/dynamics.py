"""Velocities, growth laws, flows and spectra."""

from __future__ import annotations

import torch

from bad_calls import A, B, C, Row

V = torch.ones(3)
CP = [torch.ones(2, 5), torch.ones(3, 5)]

# of the package alone
DYNAMICS: tuple[Row, ...] = (
    (
        "gradient's shape",
        lambda v: v.dynamics.balanced_velocity(A, A.T, 2),
        ValueError,
        ("gradient", r"\[3, 2\]", "W", r"\[2, 3\]", "must be equal"),
    ),
    (
        "gradient's dtype",
        lambda v: v.dynamics.balanced_velocity(A, A.double(), 2),
        TypeError,
        ("gradient", "float64", "W", "float32", "must be equal"),
    ),
    ("depth", lambda v: v.dynamics.balanced_velocity(A, A, 0), ValueError, ("depth", "at least 1", "0")),
    ("depth, a float", lambda v: v.dynamics.singular_value_velocity(A, A, 2.0), TypeError, ("depth", "integer")),
    ("a vector", lambda v: v.dynamics.singular_value_velocity(V, V, 2), ValueError, ("W", "rows, cols", r"\[3\]")),
    ("integers", lambda v: v.dynamics.balanced_velocity(A.long(), A, 2), TypeError, ("W", "floating-point", "int64")),
    ("a list", lambda v: v.dynamics.balanced_velocity([[1.0]], A, 2), TypeError, ("W", "torch.Tensor", "list")),
    ("inner size", lambda v: v.dynamics.end_to_end_velocity([A, C], A), ValueError, ("operand 1", "3", "4")),
    ("no factor", lambda v: v.dynamics.end_to_end_velocity([], A), ValueError, ("at least one factor",)),
    ("no vector", lambda v: v.dynamics.hadamard_velocity([], V), ValueError, ("at least one factor",)),
    (
        "gradient of a chain",
        lambda v: v.dynamics.end_to_end_velocity([A, B], A),
        ValueError,
        (r"2, 4", r"2, 3", "must be equal"),
    ),
    (
        "beta",
        lambda v: v.dynamics.balanced_hadamard_velocity(V, A, 2),
        ValueError,
        ("gradient", r"\[2, 3\]", "beta", r"\[3\]", "must be equal"),
    ),
    ("columns", lambda v: v.dynamics.component_velocity([A, B], torch.ones(2, 3)), ValueError, ("operand 1", "3", "4")),
    (
        "chains",
        lambda v: v.dynamics.component_velocity([[A, B]], V, chains="row"),
        ValueError,
        ("row", "column", "factor"),
    ),
    ("an empty chain", lambda v: v.dynamics.component_velocity([[]], V), ValueError, ("chain", "at least one operand")),
    ("factors once", lambda v: v.dynamics.component_velocity(iter([V, V]), A), ValueError, ("sequence", "factor")),
    ("a tensor for factors", lambda v: v.dynamics.component_velocity(A, A), ValueError, ("sequence", "factor")),
    ("a tensor for slices", lambda v: v.dynamics.slice_velocity(A, A, A), ValueError, ("sequence", "factor")),
    (
        "nodes",
        lambda v: v.dynamics.local_component_velocity([*CP, torch.ones(5, 5), V], torch.ones(2, 3), (0, 1)),
        ValueError,
        ("3 nodes", "4 factors"),
    ),
    (
        "laws",
        lambda v: v.dynamics.balanced_component_velocity(V, torch.ones(2), 3),
        ValueError,
        ("alignment", r"\[2\]", "norms", r"\[3\]", "must be equal"),
    ),
    ("degree", lambda v: v.dynamics.balanced_component_velocity(V, V, 0), ValueError, ("degree", "at least 1", "0")),
    ("no bond", lambda v: v.dynamics.balancedness([]), ValueError, ("at least one factor",)),
    ("a bond of vectors", lambda v: v.dynamics.balancedness([V, V]), ValueError, ("at least 2",)),
    ("dots", lambda v: v.dynamics.balancedness([A, B], "...ij,...jk->...ik"), ValueError, (r"`\.\.\.`",)),
    ("operands", lambda v: v.dynamics.balancedness([A], "ij,jk->ik"), ValueError, ("2 operands", "1 were given")),
    ("axes", lambda v: v.dynamics.balancedness([A, V], "ij,jk->ik"), ValueError, ("operand 1", "1 dimensions", "jk")),
    ("times", lambda v: v.dynamics.integrate(lambda x: x, V, [1.0, 0.5]), ValueError, ("times", "rise", r"0\.5")),
)

SPECTRUM: tuple[Row, ...] = (
    ("a vector", lambda v: v.spectrum.stable_rank(V), ValueError, ("W", "rows, cols", r"\[3\]")),
    ("integers", lambda v: v.spectrum.nuclear_norm(A.long()), TypeError, ("W", "floating-point", "int64")),
    ("a list", lambda v: v.spectrum.svd([1.0]), TypeError, ("W", "torch.Tensor", "list")),
    ("p", lambda v: v.spectrum.schatten(A, 0), ValueError, ("p", "above 0", "0")),
    ("kind of p", lambda v: v.spectrum.schatten(A, "nuc"), TypeError, ("p", "number", "nuc")),
    ("mode", lambda v: v.spectrum.matricisation(A, 2), ValueError, ("modes", "0 to 1", "2")),
    ("a mode twice", lambda v: v.spectrum.matricisation(A, (0, 0)), ValueError, ("modes", "different", r"\[0, 0\]")),
    ("order", lambda v: v.spectrum.multilinear_effective_rank(A, 3), ValueError, ("order", "3", "2 axes")),
    ("tree", lambda v: v.spectrum.hierarchical_rank(A, (0, (1, 2))), ValueError, ("tree", "0 to 1")),
    ("most", lambda v: v.spectrum.cp_rank(A, 0), ValueError, ("most", "at least 1", "0")),
    ("cp of a vector", lambda v: v.spectrum.cp_rank(V, 1), ValueError, ("two axes", r"\[3\]")),
    ("cp of integers", lambda v: v.spectrum.cp_rank(A.long(), 1), TypeError, ("floating-point", "int64")),
    (
        "penalised chain",
        lambda v: v.spectrum.penalised_gradients([A, C], 0.1),
        ValueError,
        ("operand 1", "4 rows", "3 columns", "must be equal"),
    ),
)
