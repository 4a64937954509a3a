"""What malformed calls have found (tests/malformed): each row crashed, hung or ended in an error of somebody else's."""

from __future__ import annotations

import math

import torch
from torch import Tensor

import irkernels as irk
from bad_calls import AT, CHAIN, VALUES, A, B, Row, observed


def freed(tensor: Tensor, row: bool = False) -> Tensor:
    """Without its memory, as sharding wrappers leave tensors between steps; row: as the second of two."""
    tensor = torch.stack((tensor, tensor))[1] if row else tensor.clone()
    tensor.untyped_storage().resize_(0)
    return tensor


FREED: tuple[Row, ...] = (  # the process ended
    ("of einsum", lambda v: v.einsum(CHAIN, freed(A), B), ValueError, ("operand 0", "no memory")),
    (
        "of a view",
        lambda v: v.einsum("ij,j->i", A, freed(torch.ones(3), row=True)),
        ValueError,
        ("operand 1", "no memory"),
    ),
    ("of multi_dot", lambda v: v.multi_dot([A, freed(B)]), ValueError, ("operand 1", "no memory")),
    ("of entries", lambda v: v.entries(CHAIN, A, freed(B), at=AT), ValueError, ("operand 1", "no memory")),
    ("of coordinates", lambda v: v.entries(CHAIN, A, B, at=freed(AT)), ValueError, ("coordinates", "no memory")),
    (
        "of a loss",
        lambda v: v.completion_loss(CHAIN, A, freed(B), observed=observed()),
        ValueError,
        ("operand 1", "no memory"),
    ),
    ("of values", lambda v: observed(values=freed(VALUES)), ValueError, ("values", "no memory")),
)

# of the package alone
REFUSED: tuple[Row, ...] = (
    (
        "a freed cotangent",
        lambda v: v.gradients(CHAIN, A, B, cotangent=freed(torch.ones(2, 4))),
        ValueError,
        ("no memory",),
    ),
    ("a freed target", lambda v: fit(target=freed(torch.ones(2, 4))), ValueError, ("data", "no memory")),
    (
        "a freed factor",
        lambda v: v.nn.Product("ij->ij", freed(A.expand(5, 2, 3)), trials=5),
        ValueError,
        ("operand 0", "no memory"),
    ),
    ("a freed matrix", lambda v: v.spectrum.svd(freed(A)), ValueError, ("W", "no memory")),
    ("a sparse matrix", lambda v: v.spectrum.svd(A.to_sparse()), TypeError, ("W", "sparse_coo", "to_dense")),
    (
        "a tolerance that is no number",  # the solver never came back
        lambda v: v.dynamics.integrate(lambda x: -x, torch.ones(2), [0.0, 1.0], atol=math.nan),
        ValueError,
        ("atol", "finite"),
    ),
    (
        "a start that is not finite",
        lambda v: v.dynamics.integrate(lambda x: x, A * math.inf, [0.0, 1.0]),
        ValueError,
        ("start",),
    ),
    ("nnz past 2^63", lambda v: v.explain(CHAIN, A, B, nnz=2**63), ValueError, ("nnz", r"2\^63")),
    ("a shape past 2^63", lambda v: v.explain(CHAIN, (2**40, 2**40), (2**40, 2)), ValueError, ("operand 0", r"2\^63")),
    ("a shape of a float", lambda v: v.explain(CHAIN, (2.0, 3), (3, 4)), TypeError, ("operand 0", "extent", "2.0")),
    ("wanted of no flags", lambda v: v.explain(CHAIN, A, B, wanted=3), TypeError, ("wanted", "int")),
    ("coordinates without numbers", lambda v: v.Coordinates(AT.to("meta"), (2, 4)), ValueError, ("at", "meta")),
    ("a column that is not there", lambda v: v.Coordinates(AT, (2, 4)).sorted_by((2,)), IndexError, ("column 2",)),
    (
        "a delta that is a tensor",
        lambda v: v.completion_loss(CHAIN, A, B, observed=observed(), delta=A),
        TypeError,
        ("delta", "Tensor"),
    ),
    ("a mask of another size", lambda v: v.khatri_rao([A, A], mask=torch.ones(3)), ValueError, ("mask", "4 elements")),
    ("letters that refuse to be sorted", lambda v: v.einsum(A, [A, B]), TypeError, ("cannot be sorted",)),
    ("labels of no class", lambda v: v.measures.margin(A, torch.tensor([0, 7])), ValueError, ("labels", r"\[0, 3\)")),
    ("a kernel that is a list", lambda v: v.curvature.alignment([1.0], torch.ones(1)), TypeError, ("kernel", "list")),
    ("factors that do not multiply", lambda v: v.dynamics.balancedness([A, A]), ValueError, ("factor 1", "multiply")),
    ("a dtype of integers", lambda v: v.nn.MatrixChain(2, 3, 2, dtype=torch.int8), TypeError, ("dtype", "int8")),
    ("a device of no name", lambda v: v.nn.MatrixChain(2, 3, 2, device="pu"), ValueError, ("device", "pu")),
    ("more rows than numbers", lambda v: v.nn.MatrixChain(2**70, 3, 2), ValueError, ("rows", r"2\^63")),
    ("trials that are no number", lambda v: groups(trials="2"), TypeError, ("trials", "2")),
)


def fit(target: Tensor) -> object:
    model = irk.nn.MatrixChain(2, 4, 2, seed=0)
    return irk.fit(model, target, torch.optim.SGD(model.parameters(), lr=0.1), steps=1, progress=False)


def groups(**options: object) -> object:
    return irk.optim.GroupRMSprop([torch.nn.Parameter(A)], **options)
