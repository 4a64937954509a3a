"""What is no operand: other dtypes, devices, layouts and kinds."""

from __future__ import annotations

import numpy as np
import torch

from bad_calls import CHAIN, A, B, Row

SUPPORTED = "supported are float16, bfloat16, float32 and float64"


QUANTIZED: tuple[Row, ...] = (
    (  # while torch has them
        (
            "quantized",
            lambda v: v.einsum(CHAIN, torch.quantize_per_tensor(A, 0.1, 0, torch.qint8), B),
            TypeError,
            ("operand 0", "qint8", SUPPORTED),
        ),
    )
    if hasattr(torch, "quantize_per_tensor")
    else ()
)

OPERANDS: tuple[Row, ...] = (
    (
        "mixed dtypes",
        lambda v: v.einsum(CHAIN, A, B.double()),
        TypeError,
        ("operand 1", "float64", "operand 0", "float32", "must be equal"),
    ),
    (
        "mixed half types",
        lambda v: v.einsum(CHAIN, A.half(), B.bfloat16()),
        TypeError,
        ("operand 1", "bfloat16", "operand 0", "float16", "must be equal"),
    ),
    (
        "mixed devices",
        lambda v: v.einsum(CHAIN, A, B.to("meta")),
        ValueError,
        ("operand 1", "meta", "operand 0", "cpu", "must be equal"),
    ),
    ("complex", lambda v: v.einsum(CHAIN, A.to(torch.complex64), B), TypeError, ("operand 0", "complex64", SUPPORTED)),
    ("integer", lambda v: v.einsum(CHAIN, A.long(), B.long()), TypeError, ("operand 0", "int64", SUPPORTED)),
    ("small integer", lambda v: v.einsum(CHAIN, A, B.to(torch.int16)), TypeError, ("operand 1", "int16", SUPPORTED)),
    ("bool in a later operand", lambda v: v.einsum(CHAIN, A, B.bool()), TypeError, ("operand 1", "bool", SUPPORTED)),
    (
        "float8",
        lambda v: v.einsum(CHAIN, A, B.to(torch.float8_e5m2)),
        TypeError,
        ("operand 1", "float8_e5m2", SUPPORTED),
    ),
    *QUANTIZED,
    (
        "sparse",
        lambda v: v.einsum(CHAIN, A, B.to_sparse()),
        TypeError,
        ("operand 1", "sparse_coo", "supported is torch.strided", "to_dense"),
    ),
    (
        "sparse rows",
        lambda v: v.einsum(CHAIN, A.to_sparse_csr(), B),
        TypeError,
        ("operand 0", "sparse_csr", "supported is torch.strided", "to_dense"),
    ),
    ("list", lambda v: v.einsum(CHAIN, A, [[1.0]]), TypeError, ("operand 1", "torch.Tensor", "list", r"torch\.tensor")),
    ("array", lambda v: v.einsum(CHAIN, np.ones((2, 3)), B), TypeError, ("operand 0", "ndarray", r"torch\.from_numpy")),
    (
        "array among operands with letters",
        lambda v: v.einsum(A, [0, 1], np.ones((3, 4)), [1, 2]),
        TypeError,
        ("operand 1", "ndarray", r"torch\.from_numpy"),
    ),
    ("list of arrays", lambda v: v.einsum("i,i->", [A[0], np.ones(3)]), TypeError, ("operand 1", "ndarray")),
    ("number", lambda v: v.einsum("i,->i", A[0], 2.0), TypeError, ("operand 1", "torch.Tensor", "float")),
)
