"""Families' arguments and other packages' forms: TensorLy's tuples, ranks by node, errors."""

from __future__ import annotations

import math

import pytest
import torch

import irkernels as irk
from irkernels.nn import CP, HadamardChain, HierarchicalTucker, TensorTrain, Tucker

F64 = torch.float64
DRAWN = {"init_scale": 1.0, "seed": 3, "dtype": F64}


def close(found: torch.Tensor, expected: torch.Tensor, tolerance: float = 1e-12) -> None:
    torch.testing.assert_close(found.detach(), expected.detach(), rtol=tolerance, atol=tolerance)


def test_to_and_from_tensorly() -> None:
    cp, tucker = CP((3, 4, 2), 3, 2, **DRAWN), Tucker((3, 4, 2), (2, 3, 2), 2, **DRAWN)
    train = TensorTrain((3, 4, 2), 2, 2, **DRAWN)
    ring = TensorTrain((3, 4, 2), (2, 3, 2), 2, ring=True, **DRAWN)
    for model, other in [
        (cp, CP.from_tensorly(cp.to_tensorly())),
        (tucker, Tucker.from_tensorly(tucker.to_tensorly())),
        (train, TensorTrain.from_tensorly(train.to_tensorly())),
        (ring, TensorTrain.from_tensorly(ring.to_tensorly(), ring=True)),
    ]:
        assert type(other) is type(model) and other.factors[0].dtype == F64
        close(other(), model())
    weights, factors = cp.to_tensorly()
    close(CP.from_tensorly((2 * weights, factors))(), 2 * cp())
    close(CP.from_tensorly((None, factors))(), cp())
    assert [core.dim() for core in train.to_tensorly()] == [3, 3, 3]
    with pytest.raises(ValueError, match="2 trials"):
        CP((3, 4), 2, trials=2).to_tensorly()


def test_tensorly_reads_and_writes_them() -> None:
    tensorly = pytest.importorskip("tensorly")
    before = tensorly.get_backend()
    tensorly.set_backend("pytorch")
    try:
        cp, tucker = CP((3, 4, 2), 3, **DRAWN), Tucker((3, 4, 2), (2, 3, 2), **DRAWN)
        train = TensorTrain((3, 4, 2), 2, **DRAWN)
        close(tensorly.cp_to_tensor(cp.to_tensorly()), cp())
        close(tensorly.tucker_to_tensor(tucker.to_tensorly()), tucker())
        close(tensorly.tt_to_tensor(train.to_tensorly()), train())
        close(CP.from_tensorly(tensorly.cp_tensor.CPTensor(cp.to_tensorly()))(), cp())
        close(Tucker.from_tensorly(tensorly.tucker_tensor.TuckerTensor(tucker.to_tensorly()))(), tucker())
        close(TensorTrain.from_tensorly(tensorly.tt_tensor.TTTensor(train.to_tensorly()))(), train())
    finally:
        tensorly.set_backend(before)


@pytest.mark.parametrize(
    "build, error, says",
    [
        (lambda: CP((3, 4), 0), ValueError, "rank must be at least 1, got 0"),
        (lambda: CP((3, 0), 2), ValueError, r"shape\[1\] must be at least 1, got 0"),
        (lambda: CP(3, 2), TypeError, "shape must be a sequence of integers, got 3"),
        (lambda: CP((), 2), ValueError, "shape must have at least one entry"),
        (lambda: CP((3,), 2, chains="row"), ValueError, "unknown chains 'row'; known are column, factor"),
        (lambda: CP((3,), 2, init="zero"), ValueError, "unknown init 'zero'; known are gaussian, balanced"),
        (lambda: CP((3,), 2, init_mean=1.0), ValueError, "init_mean: .* was not given"),
        (
            lambda: CP((3,), 2, init_mean=math.nan, init_std=1.0),
            ValueError,
            "init_mean must be a finite number, got nan",
        ),
        (lambda: CP((3,), 2, scale=1.0), TypeError, "scale"),
        (lambda: Tucker((3, 4), (2, 2, 2)), ValueError, "ranks must have 2 entries, got 3"),
        (lambda: Tucker((3,), 2, 2, chains="factor", init="slice_norms"), ValueError, 'chains="column"'),
        (lambda: TensorTrain((3, 4), (2, 2)), ValueError, "ranks must have 1 entries, got 2"),
        (
            lambda: TensorTrain((3, 4), 2, unfolding="right"),
            ValueError,
            "unknown unfolding 'right'; known are left, mode",
        ),
        (lambda: TensorTrain((3, 4), 2, hidden=0), ValueError, "hidden must be at least 1, got 0"),
        (lambda: HadamardChain(3, 0), ValueError, "depth must be at least 1, got 0"),
        (lambda: HadamardChain(3, 2, init="constant", init_std=1.0), ValueError, "give init_scale"),
        (lambda: HierarchicalTucker((3,), 2), ValueError, "a mode tree has at least two modes, got 1"),
        (lambda: HierarchicalTucker((3, 4), 2, (0, 0)), ValueError, r"each of the modes 0 to 1 must stand in it once"),
        (lambda: HierarchicalTucker((3, 4), 2, ((0,), 1)), ValueError, r"at least two children, got \(0,\)"),
        (lambda: HierarchicalTucker((3, 4), 2, (0, "b")), TypeError, "a mode must be an integer, got 'b'"),
        (lambda: HierarchicalTucker((3,) * 4, (2,)), ValueError, "ranks must have 2 entries, got 1"),
        (lambda: HierarchicalTucker((3,) * 3, {(0, 1): 2}), ValueError, r"the node \(0, 1, 2\) has no rank"),
        (lambda: HierarchicalTucker((3, 4), {(0, 1): 2, 0: 2}), ValueError, r"the node \(0,\) is not one of"),
        (lambda: HierarchicalTucker((3, 4), 2, transfer="none"), ValueError, "unknown transfer 'none'"),
    ],
)
def test_errors_name_the_argument(build, error, says) -> None:
    with pytest.raises(error, match=says):
        build()


def test_ranks_by_node() -> None:
    by_node = HierarchicalTucker((3, 3, 3), {(0, 1): 2, (0, 1, 2): 4})
    assert [tuple(factor.shape) for factor in by_node.factors] == [(3, 2), (3, 2), (2, 4), (3, 4), (4,)]
    full = HierarchicalTucker((3, 3, 3), {0: 1, (1,): 2, 2: 3, (0, 1): 2}, transfer="full")
    assert [tuple(factor.shape) for factor in full.factors] == [(3, 1), (3, 2), (1, 2, 2), (3, 3), (2, 3)]
    wide = HierarchicalTucker((2,) * 6, (2, 3), ((0, 1, 2), (3, 4, 5)))
    close(wide(), irk.reference.hierarchical(((0, 1, 2), (3, 4, 5)), list(wide.factors)), 1e-6)
