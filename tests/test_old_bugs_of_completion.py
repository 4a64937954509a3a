"""Sparse tensors, masks and many models at once: what failed in other libraries.

How tests are named: test_old_bugs_of_values.py.
"""

from __future__ import annotations

import functools
import operator

import pytest
import torch
from torch import Tensor

import irkernels as irk


def rows_product(factors: list[Tensor], at: Tensor) -> Tensor:
    """CP entries by gathered rows, in plain torch."""
    return functools.reduce(operator.mul, [factor[column] for factor, column in zip(factors, at.unbind(1))]).sum(-1)


def check_cp(extents: list[int], at: Tensor, rank: int = 2) -> None:
    """Value, loss and gradients at coordinates of a CP tensor of these extents."""
    letters = [chr(0x4E00 + mode) for mode in range(len(extents))]
    equation = ",".join(letter + "r" for letter in letters) + "->" + "".join(letters)
    factors = [torch.randn(n, rank, dtype=torch.float64).requires_grad_() for n in extents]
    expected = rows_product(factors, at)
    torch.testing.assert_close(irk.entries(equation, *factors, at=at), expected)
    data = irk.Observed(at, torch.randn(len(at), dtype=torch.float64), extents)
    losses = irk.completion_loss(equation, *factors, observed=data), (expected - data.values).square().mean()
    torch.testing.assert_close(*losses)
    for found, theirs in zip(*(torch.autograd.grad(loss, factors) for loss in losses)):
        torch.testing.assert_close(found, theirs)


def test_pytorch_57416_extents_whose_product_is_beyond_64_bits() -> None:
    """coalesce of 1000 entries of a (10^6)^4 tensor: indices of -996,890."""
    n = 1_000_000
    at = torch.randint(n, (1000, 4))
    coordinates = irk.Coordinates(at, (n,) * 4)
    assert torch.equal(coordinates.at.long(), at) and coordinates.at.min() >= 0
    check_cp([n] * 4, at, rank=1)


def test_pytorch_57542_a_number_of_elements_that_overflows() -> None:
    """numel of a (10^5)^4 tensor was 7766279631452241920; the dense product is an error that says so."""
    factors = [torch.empty(100_000, 1, dtype=torch.float64) for _ in range(4)]
    with pytest.raises((OverflowError, ValueError), match=r"more than 2\^63"):
        irk.einsum("ar,br,cr,dr->abcd", *factors)
    check_cp([100_000] * 4, torch.randint(100_000, (50, 4)))


@pytest.mark.parametrize("order", [20, 63, 64, 65])
def test_pydata_sparse_302_more_than_63_modes(order: int) -> None:
    """One int64 for all modes of a coordinate: 63 modes of extent 2 worked, 64 did not."""
    check_cp([2] * order, torch.randint(2, (9, order)))


def test_pydata_sparse_429_extents_of_seven_fibonacci_numbers() -> None:
    """array size defined by dims is larger than the maximum possible size."""
    extents = [2584, 4181, 6765, 10946, 17711, 28657, 46368]
    check_cp(extents, torch.stack([torch.randint(n, (40,)) for n in extents], 1))


def test_pytorch_102520_rows_beyond_two_to_the_31() -> None:
    """A (2^31, 1) sparse matrix told -2147483648 entries."""
    n = 2**31
    rows = torch.randn(1, 2, dtype=torch.float64).expand(n, 2)  # no memory of its own
    column = torch.randn(2, 1, dtype=torch.float64)
    at = torch.tensor([[n - 1, 0], [0, 0], [n - 2, 0]])
    coordinates = irk.Coordinates(at, (n, 1))
    assert coordinates.nnz == 3 and torch.equal(coordinates.at.long(), at)
    found = irk.entries("ij,jk->ik", rows, column, at=coordinates)
    torch.testing.assert_close(found, (rows[0] @ column)[0].expand(3))


def test_tensorly_148_the_error_over_observed_entries_falls() -> None:
    """It rose at every iteration where entries were missing: 90 % of them here, values from 1 to 5."""
    whole = torch.rand(20, 20, 20, dtype=torch.float64)
    at = torch.nonzero(whole > 0.9)
    data = irk.Observed(at, 4 * whole[tuple(at.unbind(1))] + 1, whole.shape)
    model = irk.nn.CP((20, 20, 20), rank=4, init_scale=1.0, seed=0, dtype=torch.float64)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.3)
    run = irk.fit(model, data, optimizer, steps=300, record=["loss"], record_every=1, progress=False)
    losses = run.metrics["loss"]
    assert bool((losses.diff() < 0).all()) and losses[-1] < 0.3 * losses[0]


def test_tensorly_578_the_error_is_that_of_the_observed_entries() -> None:
    """With missing values the norm of the imputed tensor moved, and the errors told were not the errors."""
    whole = torch.rand(6, 7, 8, dtype=torch.float64)
    at = torch.nonzero(whole > 0.6)
    data = irk.Observed(at, whole[tuple(at.unbind(1))], whole.shape)
    model = irk.nn.CP((6, 7, 8), rank=3, init_scale=0.5, seed=1, dtype=torch.float64)

    def error(model: irk.nn.Product) -> Tensor:
        return (model() - whole)[whole > 0.6].square().mean()

    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    record = ["loss", {"by hand": lambda model: error(model).detach()}]
    run = irk.fit(model, data, optimizer, steps=40, record=record, record_every=5, progress=False)
    torch.testing.assert_close(run.metrics["loss"], run.metrics["by hand"], rtol=1e-10, atol=0)
    torch.testing.assert_close(run.metrics["loss"][-1], error(model).detach(), rtol=1e-10, atol=0)


def test_tensorly_4_missing_values_are_left_out() -> None:
    """NaN at missing entries: factorisations failed; here what is not listed is never read."""
    whole = torch.rand(5, 6, dtype=torch.float64)
    whole[2, 3] = whole[0, 0] = torch.nan
    at = torch.nonzero(~whole.isnan())
    data = irk.Observed(at, whole[tuple(at.unbind(1))], whole.shape)
    model = irk.nn.MatrixChain(5, 6, 2, init_scale=0.3, seed=0, dtype=torch.float64)
    run = irk.fit(model, data, torch.optim.Adam(model.parameters(), lr=0.05), steps=400, progress=False)
    assert run.metrics == {} or "loss" not in run.metrics
    assert irk.completion_loss("ij,jk->ik", *model.parameters(), observed=data) < 1e-3
    assert bool(model().isfinite().all())
    with pytest.raises(ValueError, match=r"NaN|finite"):
        irk.Observed(torch.nonzero(torch.ones(5, 6)), whole.flatten(), whole.shape)


def test_functorch_782_a_learning_rate_for_each_model() -> None:
    """One optimizer for a batch of models has one rate for all; parallel ensembles (pytorch 54147) want their own."""
    data = irk.Observed(torch.randint(6, (20, 2)), torch.randn(20, dtype=torch.float64), (6, 6))
    rates = torch.tensor([0.01, 0.1, 0.3], dtype=torch.float64)
    together = irk.nn.MatrixChain(6, 6, 3, trials=3, init_scale=0.1, seed=5, dtype=torch.float64)
    irk.fit(together, data, torch.optim.SGD(together.parameters()), lr=rates, steps=100, progress=False)
    for trial, rate in enumerate(rates):
        alone = irk.nn.MatrixChain(6, 6, 3, init_scale=0.1, seed=(5, trial), dtype=torch.float64)
        optimizer = torch.optim.SGD(alone.parameters(), lr=float(rate))
        for _ in range(100):
            optimizer.zero_grad()
            values = torch.linalg.multi_dot(list(alone.parameters()))[tuple(data.at.long().unbind(1))]
            (values - data.values).square().mean().backward()
            optimizer.step()
        torch.testing.assert_close(together()[trial], alone(), rtol=1e-10, atol=1e-12)


def test_resdag_261_an_ensemble_is_its_members() -> None:
    """A batch of models within 1e-10 of the loop over them: here it has the loop's bits."""
    data = irk.Observed(torch.randint(5, (12, 2)), torch.randn(12), (5, 5))
    together = irk.nn.MatrixChain(5, 5, 2, trials=7, init_scale=0.2, seed=2)
    irk.fit(together, data, torch.optim.Adam(together.parameters(), lr=0.01), steps=80, progress=False)
    for trial in range(7):
        alone = irk.nn.MatrixChain(5, 5, 2, init_scale=0.2, seed=(2, trial))
        irk.fit(alone, data, torch.optim.Adam(alone.parameters(), lr=0.01), steps=80, progress=False)
        assert all(torch.equal(mine[trial], theirs) for mine, theirs in zip(together.parameters(), alone.parameters()))
