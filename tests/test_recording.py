"""What the step loop notes of every step, against the same numbers taken from the model after each step by hand."""

from __future__ import annotations

import math

import pytest
import torch

from irkernels import Determinant, Entry, Loss, Observed, Running, Stop, fit
from irkernels.nn import MatrixChain, Product
from irkernels.training import engines
from irkernels.training.recording import METRICS

F64 = torch.float64
STEPS, EVERY = 60, 7


@pytest.fixture(params=["native", "reference", "ordinary"])
def engine(request, monkeypatch):
    """The three loops that look at steps."""
    if request.param == "reference":
        from irkernels.reference.fit import fit_steps

        monkeypatch.setattr(engines, "_engine", fit_steps)
    if request.param == "ordinary":
        monkeypatch.setattr("irkernels.training.loop.why_not_native", lambda *_: "a test asks for it")
    return request.param


def run_fit(model, data, steps=STEPS, lr=0.1, **options):
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.5)
    return fit(model, data, optimizer, steps=steps, progress=False, **options)


def square(n=2, trials=3, depth=3, dtype=F64, scale=0.7):
    return MatrixChain(n, n, depth, trials=trials, init_scale=scale, seed=1, dtype=dtype)


def observed(model, dtype=F64):
    at = torch.cartesian_prod(*map(torch.arange, model.shape))[1:]
    return Observed(at, torch.linspace(1, -1, len(at), dtype=F64).to(dtype), model.shape)


def history(make, data, steps=STEPS, **options):
    """(losses, products) at steps 0, 1, ..., each from a run of its own: [steps + 1, trials, ...]."""
    losses, products = [], []
    for count in range(steps + 1):
        model = make()
        run_fit(model, data, steps=count, **options)
        product = model().detach()
        products.append(product)
        losses.append(model.completion_loss(data).detach())
    return torch.stack(losses), torch.stack(products)


@pytest.mark.filterwarnings("ignore:irk.fit takes its steps in an ordinary")
@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_every_kind_of_number_at_every_step(engine, n):
    data = observed(square(max(n, 2))) if n > 1 else Observed([[0, 0]], torch.ones(1, dtype=F64), (1, 1))
    losses, W = history(lambda: square(n), data, steps=20)
    last, q = n - 1, (2 * Loss()).sqrt()
    record = [
        "loss",
        "determinant",
        Entry(last, 0),
        {"formula": abs(Entry(0, last)) * q / (1 + q) ** 2 - 3},
        Running("min", "determinant"),
        {"high": Running("max", 1 - Entry(0, 0), where=(q > 0.2) & (0.3 >= Loss()))},
    ]
    model = square(n)
    run = run_fit(model, data, steps=20, record=record, record_every=EVERY)
    assert run.steps.tolist() == [0, 7, 14, 20]
    root = (2 * losses).sqrt()
    counts = (root > 0.2) & (losses <= 0.3)
    expected = {
        "loss": losses,
        "determinant": torch.linalg.det(W),
        f"W[{last}, 0]": W[..., last, 0],
        "formula": W[..., 0, last].abs() * root / (1 + root) ** 2 - 3,
        "min determinant": torch.linalg.det(W).cummin(0).values,
        "high": torch.where(counts, 1 - W[..., 0, 0], -math.inf).cummax(0).values,
    }
    assert list(run.metrics) == list(expected)
    for name, values in expected.items():
        torch.testing.assert_close(run.metrics[name], values[run.steps], rtol=1e-9, atol=1e-12, msg=name)
