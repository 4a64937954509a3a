"""Tied factors and factors that do not move, with every kind of data, mini-batches, ridge and folded constants."""

from __future__ import annotations

import pytest
import torch
from test_batches import entries_data
from test_fit import engine, quiet  # noqa: F401 (engine is a fixture)
from test_fit_data import close, draw, one_thread  # noqa: F401 (a fixture)

import irkernels as irk
from irkernels.nn import Product
from irkernels.reference.sampler import batch_indices

RIDGE = 0.2


def square_model():
    """A (C B) A^T-like product of 4 x 4: A twice, B standing still, C a constant."""
    a = torch.nn.Parameter(draw(1, 2, 4, 4) / 2)
    model = Product("ij,jk,kl,lm->im", a, draw(3, 2, 4, 4) / 2, a, constants={1: draw(2, 4, 4) / 2}, trials=2)
    model.factors[1].requires_grad_(False)
    return model


DATA = {
    "entries": (lambda: entries_data(2, False, (4, 4)), lambda W, data, at: W[:, *data.at[at].T] - data.values[:, at]),
    "sensing": (
        lambda: irk.Sensing(draw(4, 9, 4, 4), draw(5, 2, 9)),
        lambda W, data, at: torch.einsum("tik,mik->tm", W, data.operators[at]) - data.y[:, at],
    ),
    "regression": (
        lambda: irk.Regression(draw(4, 9, 4), draw(5, 2, 9, 4)),
        lambda W, data, at: torch.einsum("tok,nk->tno", W, data.X[at]) - data.Y[:, at],
    ),
}


@pytest.mark.parametrize("batch_size", [None, 4])
@pytest.mark.parametrize("ridge", [0.0, RIDGE])
@pytest.mark.parametrize("kind", DATA)
def test_steps_equal_eager_steps(kind, ridge, batch_size):
    make, residual = DATA[kind]
    data, ours, theirs = make(), square_model(), square_model()
    still = ours.factors[1].detach().clone()

    def sgd(model):
        return torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.01, momentum=0.5)

    quiet(ours, data, sgd(ours), steps=60, ridge=ridge, batch_size=batch_size)
    optimizer, count = sgd(theirs), len(data)
    for step in range(60):
        at = torch.arange(count) if batch_size is None else batch_indices(count, batch_size, 0, step)
        a, b = theirs.factors[0], theirs.factors[1]
        W = a @ theirs.constants[1] @ b @ a
        optimizer.zero_grad()
        loss = residual(W, data, at).square().flatten(1).mean(1) + ridge * W.square().flatten(1).sum(1)
        loss.sum().backward()
        optimizer.step()
    close(ours, theirs)
    assert torch.equal(ours.factors[1], still)
