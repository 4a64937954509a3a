"""Listed entries: coordinates, cotangents, observations."""

from __future__ import annotations

import torch

from bad_calls import AT, CHAIN, VALUES, A, B, C, Row, observed
from irkernels.observed import Coordinates

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
        (r"\(2, 5\)", "'ik'", r"\(2, 4\)", "must be equal"),
    ),
    ("operands of entries", lambda v: v.entries(CHAIN, A, C, at=AT), ValueError, ("operand 1", "j", "3", "4")),
    ("columns of a broadcast output", lambda v: v.entries("...i->...i", A, at=AT), ValueError, ("1", "2")),
)

COTANGENTS: tuple[Row, ...] = (
    (
        "shape",
        lambda v: v.gradients(CHAIN, A, B, cotangent=torch.ones(2, 5)),
        ValueError,
        (r"2, 4", r"2, 5", "must be equal"),
    ),
    (
        "transposed",
        lambda v: v.gradients(CHAIN, A, B, cotangent=torch.ones(4, 2)),
        ValueError,
        (r"2, 4", r"4, 2", "must be equal"),
    ),
    (
        "that would broadcast",
        lambda v: v.gradients(CHAIN, A, B, cotangent=torch.ones(1, 4)),
        ValueError,
        (r"2, 4", r"1, 4", "must be equal"),
    ),
    (
        "dtype",
        lambda v: v.gradients(CHAIN, A, B, cotangent=torch.ones(2, 4, dtype=torch.float64)),
        TypeError,
        ("float32", "float64", "must be equal"),
    ),
    (
        "device",
        lambda v: v.gradients(CHAIN, A, B, cotangent=torch.ones(2, 4, device="meta")),
        ValueError,
        ("cotangent", "meta", "cpu", "must be equal"),
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
        (r"\(3, 4\)", "'ik'", r"\(2, 4\)", "must be equal"),
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
        (r"\(2, 5\)", "'ik'", r"\(2, 4\)", "must be equal"),
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
