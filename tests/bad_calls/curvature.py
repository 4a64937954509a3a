"""Second derivatives and measures."""

from __future__ import annotations

import torch

import irkernels as irk
from bad_calls import AT, CHAIN, A, B, Row, observed

T = torch.ones(2, 4)
TRIALS = torch.ones(3, 2, 3)
X = torch.ones(5, 4)


def hvp(v: object, **changed: object) -> object:
    return v.curvature.hvp(CHAIN, A, B, **(dict(tangents=[A, B], target=T) | changed))


# of the package alone
CURVATURE: tuple[Row, ...] = (
    ("two kinds of data", lambda v: hvp(v, observed=observed()), ValueError, ("observed", "target", "both")),
    ("no data", lambda v: hvp(v, target=None), ValueError, ("observed=", "target=", "function of W")),
    ("a loss of no name", lambda v: hvp(v, loss="l3"), ValueError, ("l3", "mse", "huber")),
    ("delta", lambda v: hvp(v, loss="huber", delta=0.0), ValueError, ("delta", "positive")),
    (
        "a loss without a graph",
        lambda v: hvp(v, target=None, loss=lambda W: 1.0),
        TypeError,
        ("loss", "differentiable"),
    ),
    ("number of tangents", lambda v: hvp(v, tangents=[A]), ValueError, ("1", "2 operands")),
    ("tangents that are one tensor", lambda v: hvp(v, tangents=A), TypeError, ("tangents", "sequence", "Tensor")),
    ("a tangent's shape", lambda v: hvp(v, tangents=[A, A]), ValueError, ("tangent 1", r"\[2, 3\]", r"\[3, 4\]")),
    ("a tangent's dtype", lambda v: hvp(v, tangents=[A, B.double()]), TypeError, ("tangent 1", "float64", "float32")),
    ("a tangent that is a list", lambda v: hvp(v, tangents=[A, [1.0]]), TypeError, ("tangent 1", "list")),
    ("wrt out of range", lambda v: hvp(v, wrt=(2,)), ValueError, ("wrt", "2", "0 to 1")),
    ("wrt of nothing", lambda v: hvp(v, wrt=()), ValueError, ("wrt", "empty")),
    ("a target's shape", lambda v: hvp(v, target=A), ValueError, ("target", r"\[2, 3\]", r"\[2, 4\]")),
    ("a target's dtype", lambda v: hvp(v, target=T.double()), TypeError, ("target", "float64", "float32", ".to")),
    ("a target that is a list", lambda v: hvp(v, target=[1.0]), TypeError, ("target", "list", "Sensing")),
    (
        "operators of another shape",
        lambda v: hvp(v, target=irk.Sensing(torch.ones(5, 3, 3), torch.ones(5))),
        ValueError,
        ("operators", r"\(2, 4\)"),
    ),
    (
        "trials behind the output's letters",
        lambda v: v.curvature.hvp("ij...,jk->ik...", A, B, tangents=[A, B], target=T),
        ValueError,
        ("begin", r"`\.\.\.`"),
    ),
    (
        "a parameter that trials share",
        lambda v: v.curvature.sharpness("...ij,jk->...ik", TRIALS, B, target=T),
        ValueError,
        ("operand 1", "shared", r"\[3\]", "wrt"),
    ),
    (
        "tolerance",
        lambda v: v.curvature.sharpness(CHAIN, A, B, target=T, tolerance=0.0),
        ValueError,
        ("tolerance", "0.0"),
    ),
    (
        "iterations",
        lambda v: v.curvature.sharpness(CHAIN, A, B, target=T, iterations=0),
        ValueError,
        ("iterations", "1"),
    ),
    (
        "a kernel of summed trials",
        lambda v: v.curvature.tangent_kernel("...ij->ij", TRIALS),
        ValueError,
        ("begin", "trial"),
    ),
    (
        "targets of a kernel",
        lambda v: v.curvature.alignment(torch.ones(4, 4), torch.ones(3)),
        ValueError,
        ("kernel", "3"),
    ),
    ("dtype of targets", lambda v: v.curvature.alignment(A, torch.ones(2).double()), TypeError, ("float64", "float32")),
    ("no chain", lambda v: v.measures.path_norm([]), ValueError, ("factors", "empty")),
    (
        "a chain that does not meet",
        lambda v: v.measures.path_norm([A, A]),
        ValueError,
        ("factor 1", "2 rows", "3 columns"),
    ),
    ("a factor that is a list", lambda v: v.measures.path_norm([A, [1.0]]), TypeError, ("factor 1", "list")),
    (
        "dtypes of a chain",
        lambda v: v.measures.path_norm([A, B.double()]),
        TypeError,
        ("factor 1", "float64", "float32"),
    ),
    ("a vector in a chain", lambda v: v.measures.norm_product([A, AT[0] * 1.0]), ValueError, ("factor 1", "rows")),
    ("a factor for factors", lambda v: v.measures.path_norm(A), TypeError, ("factors", "sequence")),
    ("p of a path norm", lambda v: v.measures.path_norm([A], p=0), ValueError, ("p", "positive")),
    ("Path-SGD on no chain", lambda v: v.measures.PathSGD([A, A]), ValueError, ("PathSGD", "factor 1")),
    ("Path-SGD's rate", lambda v: v.measures.PathSGD([A, B], lr=-1.0), ValueError, ("lr", "positive")),
    ("kind of complexity", lambda v: v.measures.spectral_complexity([A], "l3"), ValueError, ("l3", "spectral")),
    (
        "a margin of one class",
        lambda v: v.measures.margin(torch.ones(3, 1), torch.zeros(3).long()),
        ValueError,
        ("two classes",),
    ),
    ("inputs of a network", lambda v: v.measures.geometric_complexity([A, B], A), ValueError, ("X", r"\[n, 4\]")),
    (
        "biases of a network",
        lambda v: v.measures.geometric_complexity([A, B], X, [None]),
        ValueError,
        ("biases", "1", "2"),
    ),
    ("a bias's shape", lambda v: v.measures.relu_masks([A, B], X, [None, A]), ValueError, ("bias 1", r"\[3\]")),
    ("std", lambda v: v.measures.expected_sharpness(torch.sum, [A], 0.0), ValueError, ("std", "positive")),
    ("no penalty", lambda v: v.measures.recover_penalties(torch.sum, [], [A]), ValueError, ("penalties", "empty")),
    ("a step too long", lambda v: v.measures.early_stopping_penalty(X, 10.0, 3), ValueError, ("lr", "10.0")),
    ("one augmentation", lambda v: v.measures.invariance_penalty(TRIALS[:1]), ValueError, ("two", "1")),
    ("logits of two axes", lambda v: v.measures.invariance_penalty(A), ValueError, ("augmentations", r"\[2, 3\]")),
    (
        "labels of activations",
        lambda v: v.measures.selectivity(A, torch.zeros(3).long(), torch.zeros(2).long()),
        ValueError,
        ("neurons", r"\[2, 3\]"),
    ),
    (
        "a class of one subclass",
        lambda v: v.measures.silhouette(A, torch.zeros(2).long(), torch.zeros(2).long()),
        ValueError,
        ("two subclasses",),
    ),
)
