"""Coordinates and observed entries: what they check, keep, sort and copy."""

from __future__ import annotations

import copy
import pickle
import random

import pytest
import torch
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten

import irkernels as irk
from irkernels.observed import Coordinates, Observed


def drawn(seed: int, nnz: int, shape: tuple[int, ...]) -> Coordinates:
    generator = torch.Generator().manual_seed(seed)
    return Coordinates(torch.stack([torch.randint(extent, (nnz,), generator=generator) for extent in shape], 1), shape)


def test_sorted_by_is_a_stable_lexicographic_sort_with_its_groups() -> None:
    for seed in range(200):
        rng = random.Random(seed)
        shape = tuple(rng.randint(1, 4) for _ in range(rng.randint(1, 5)))
        coordinates = drawn(seed, rng.randint(0, 30), shape)
        columns = tuple(rng.sample(range(len(shape)), rng.randint(0, len(shape))))
        rows = coordinates.at.tolist()
        perm = sorted(range(len(rows)), key=lambda entry: [rows[entry][column] for column in columns])
        keys = [[rows[entry][column] for column in columns] for entry in perm]
        starts = [entry for entry in range(len(rows)) if entry == 0 or keys[entry] != keys[entry - 1]]
        found = coordinates.sorted_by(columns)
        assert found.perm.tolist() == perm, (shape, columns)
        assert found.starts.tolist() == [*starts, len(rows)]
        assert found.columns.tolist() == [[rows[entry][axis] for entry in perm] for axis in range(len(shape))]
        assert found.columns.is_contiguous()
        assert found is coordinates.sorted_by(columns)


def test_sorting_does_not_flatten_indices() -> None:
    """Extents whose product passes 2**63 many times over."""
    shape = (2**40, 2**40, 2**40, 2**40)
    at = [[2**40 - 1, 0, 5, 1], [0, 2**40 - 1, 2**39, 0], [2**40 - 1, 0, 4, 2**40 - 1]]
    coordinates = Coordinates(at, shape)
    assert coordinates.columns.dtype == torch.int64
    found = coordinates.sorted_by((0, 1, 2, 3))
    assert found.perm.tolist() == [1, 2, 0] and found.perm.dtype == torch.int64
    assert coordinates.sorted_by((0, 1)).starts.tolist() == [0, 1, 3]


def test_columns_are_narrow_where_they_fit() -> None:
    at = torch.tensor([[1, 2], [0, 0]])
    fits, wide = Coordinates(at, (2**31 - 1, 5)), Coordinates(at, (2**31, 5))
    assert fits.columns.dtype == torch.int32 and wide.columns.dtype == torch.int64
    assert fits.columns.tolist() == [[1, 0], [2, 0]] and fits.columns.is_contiguous()
    for found in (fits.sorted_by((1,)), fits.sorted_by(())):
        assert {found.perm.dtype, found.starts.dtype, found.columns.dtype} == {torch.int32}


def test_everything_is_copied() -> None:
    at, values, weights = torch.tensor([[0, 1], [1, 0]]), torch.tensor([1.0, 2.0]), torch.tensor([1.0, 3.0])
    observed = Observed(at, values, (2, 2), weights)
    for given in (at, values, weights):
        given.zero_()
    assert observed.at.tolist() == [[0, 1], [1, 0]]
    assert observed.values.tolist() == [1, 2] and observed.weights.tolist() == [1, 3]


def test_nothing_can_be_set() -> None:
    observed = Observed([[0]], [1.0], (2,))
    for name in ("at", "values", "weights", "shape", "coordinates"):
        with pytest.raises(AttributeError):
            setattr(observed, name, None)
        if name != "values" and name != "weights" and name != "coordinates":
            with pytest.raises(AttributeError):
                setattr(observed.coordinates, name, None)


def test_from_dense_takes_nan_as_missing() -> None:
    dense = torch.tensor([[1.0, float("nan"), 3.0], [float("nan"), 5.0, 6.0]])
    observed = Observed.from_dense(dense)
    assert observed.at.tolist() == [[0, 0], [0, 2], [1, 1], [1, 2]]
    assert observed.values.tolist() == [1, 3, 5, 6] and observed.shape == (2, 3)
    masked = Observed.from_dense(dense, mask=dense > 4)
    assert masked.at.tolist() == [[1, 1], [1, 2]] and masked.values.tolist() == [5, 6]
    with pytest.raises(ValueError, match="finite"):
        Observed.from_dense(dense, mask=torch.ones(2, 3, dtype=torch.bool))
    with pytest.raises(ValueError, match=r"mask.*\(2, 3\)"):
        Observed.from_dense(dense, mask=torch.ones(3, dtype=torch.bool))
    with pytest.raises(ValueError, match="mask"):
        Observed.from_dense(dense, mask=torch.ones(2, 3))
    with pytest.raises(ValueError, match="no observed entries"):
        Observed.from_dense(torch.full((2, 2), float("nan")))


def test_to_converts_values_and_weights() -> None:
    observed = Observed([[0], [1]], torch.tensor([1.5, 2.5]), (3,), [1, 2])
    double = observed.to(torch.float64)
    assert double.dtype == double.weights.dtype == torch.float64
    assert double.values.tolist() == [1.5, 2.5] and double.coordinates is observed.coordinates
    assert observed.to(torch.float32) is observed and observed.to("cpu") is observed
    with pytest.raises(TypeError, match="float32"):
        observed.to(torch.int64)
    with pytest.raises(ValueError, match="finite"):
        Observed([[0]], torch.tensor([1e30]), (1,)).to(torch.float16)


def test_is_a_pytree_and_keeps_its_sort_orders() -> None:
    observed = Observed([[1], [0]], [1.0, 2.0], (2,))
    order = observed.coordinates.sorted_by((0,))
    leaves, spec = tree_flatten(observed)
    assert len(leaves) == 2 and tree_flatten(Observed([[1]], [1.0], (2,)))[1] == spec
    again = tree_unflatten(leaves, spec)
    assert again.coordinates.sorted_by((0,)) is order
    doubled = tree_map(lambda leaf: leaf * 2 if leaf.is_floating_point() else leaf, {"data": observed})["data"]
    assert doubled.values.tolist() == [2, 4] and doubled.at is observed.at
    moved = tree_map(torch.clone, observed)
    assert moved.at.tolist() == observed.at.tolist() and moved.shape == (2,)
    weighted = Observed([[1], [0]], [1.0, 2.0], (2,), [1.0, 0.0])
    assert len(tree_flatten(weighted)[0]) == 3
    assert tree_map(torch.clone, weighted).weights.tolist() == [1, 0]


def test_copies_and_pickles() -> None:
    observed = Observed([[1, 1], [0, 2]], torch.tensor([[1.0, 2.0], [3.0, 4.0]]), (2, 3), [[1, 0], [1, 1]])
    for again in (copy.deepcopy(observed), pickle.loads(pickle.dumps(observed))):
        assert again.at.tolist() == observed.at.tolist() and again.shape == (2, 3) and again.nnz == len(again) == 2
        assert torch.equal(again.values, observed.values) and torch.equal(again.weights, observed.weights)


def test_order_zero_and_no_entries() -> None:
    assert Coordinates(torch.zeros(4, 0, dtype=torch.int64), ()).sorted_by(()).starts.tolist() == [0, 4]
    assert Coordinates(torch.zeros(0, 2, dtype=torch.int64), (0, 3)).sorted_by((0, 1)).starts.tolist() == [0]


COORDINATES = [
    ([[0, 3]], (2, 3), IndexError, ("column 1", "entry 0", "3", r"\(0, 3\)")),
    ([[0, 0], [-1, 2]], (2, 3), IndexError, ("column 0", "entry 1", "-1", r"\(-1, 2\)", r"\b2\b")),
    ([[0.0, 1.0]], (2, 3), TypeError, ("integer", "float32")),
    (None, (2, 3), TypeError, ("at must be", "NoneType")),
    ([[True, False]], (2, 3), TypeError, ("integer", "bool")),
    ([[0, 1, 1]], (2, 3), ValueError, (r"\[nnz, 2\]|\[1, 3\]", r"\[1, 3\]")),
    ([0, 1], (2, 3), ValueError, (r"\[2\]",)),
    ([[0, 0]], (0, 3), IndexError, ("column 0",)),
    ([[0]], (-1,), ValueError, ("-1",)),
    ([[0]], (2.5,), TypeError, ("float",)),
]


@pytest.mark.parametrize("at, shape, error, words", COORDINATES)
def test_bad_coordinates(at, shape, error, words) -> None:
    for word in words:
        with pytest.raises(error, match=word):
            Coordinates(at, shape)


OBSERVED = [
    (dict(at=torch.zeros(0, 1, dtype=torch.int64), values=[]), ValueError, "no observed entries"),
    (dict(values=[1.0, float("nan")]), ValueError, "value 1 is nan"),
    (dict(values=[float("inf"), 0.0]), ValueError, "value 0 is inf"),
    (dict(values=[1, 2]), TypeError, "int64"),
    (dict(values=torch.ones(2, dtype=torch.complex64)), TypeError, "complex64"),
    (dict(values=None), TypeError, "values must be.*NoneType"),
    (dict(values=[1.0]), ValueError, r"2.*\[1\]"),
    (dict(values=torch.ones(2, requires_grad=True)), ValueError, "entries"),
    (dict(values=torch.ones(2, device="meta")), ValueError, "meta.*cpu"),
    (dict(weights=[1.0]), ValueError, r"weights.*2.*\[1\]"),
    (dict(weights=[1.0, -1.0]), ValueError, "weight 1 is -1"),
    (dict(weights=[float("nan"), 1.0]), ValueError, "weight 0 is nan"),
    (dict(weights=[0.0, 0.0]), ValueError, "zero"),
    (dict(weights=[[1.0, 0.0], [0.0, 0.0]]), ValueError, r"trial \(1,\)"),
    (dict(at=Coordinates([[0], [1]], (4,))), ValueError, r"\(4,\).*\(3,\)"),
    (dict(at=[[0], [3]]), IndexError, "column 0 of entry 1 is 3"),
]


@pytest.mark.parametrize("changed, error, words", OBSERVED)
def test_bad_observations(changed, error, words) -> None:
    given = dict(at=[[0], [1]], values=[1.0, 2.0], shape=(3,)) | changed
    with pytest.raises(error, match=words):
        irk.Observed(**given)
