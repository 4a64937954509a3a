"""The plan of a step on measurements: never more work than forming W first, never a larger workspace than need be."""

from __future__ import annotations

import math

import pytest
import torch
from test_fit_data import draw

import irkernels as irk
from irkernels import _fit
from irkernels.nn import Product
from irkernels.training.engines import NativeSteps
from irkernels.training.objective import Objective
from irkernels.training.overrides import Overrides

CHAIN, DEEP, CP = "ij,jk->ik", "ij,jk,kl,lm->im", "ar,br,cr,dr->abcd"
SQUARE, THIN, WIDE = ((40, 40), (40, 40)), ((60, 3), (3, 60)), ((30, 50),) + ((50, 50),) * 2 + ((50, 20),)
MODES, LONG = ((6, 4),) * 4, ((100, 5),) * 4


def sensing(m):
    return lambda shape: irk.Sensing(draw(1, m, *shape), draw(2, m))


def rank_one(m):
    return lambda shape: irk.RankOneSensing([draw(axis, m, extent) for axis, extent in enumerate(shape)], draw(9, m))


def regression(n):
    return lambda shape: irk.Regression(draw(1, n, shape[-1]), draw(2, n, *shape[:-1]))


# equation, factors, data of a product's shape, the most elements of one trial's workspace
CASES = {
    "few operators": (CHAIN, SQUARE, sensing(10), 3 * 40 * 40 + 100),
    "many operators": (CHAIN, SQUARE, sensing(300), 3 * 40 * 40 + 1000),
    "operators of CP": (CP, MODES, sensing(50), 4 * 6**4),
    "vectors of a chain": (CHAIN, SQUARE, rank_one(200), 3 * 200 * 40),
    "vectors of a thin chain": (CHAIN, THIN, rank_one(200), 2 * 200 * 3 * 4),
    "vectors of a product that nobody could hold": (CP, LONG, rank_one(500), 12 * 500 * 5),
    "few samples": (DEEP, WIDE, regression(5), 4 * 50 * 50 + 8 * 5 * 50),
    "many samples": (DEEP, WIDE, regression(2000), 2000 * 30 + 5 * 50 * 50),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_work_and_workspace(name):
    equation, shapes, data_of, most = CASES[name]
    model = Product(equation, *(draw(p, *shape) for p, shape in enumerate(shapes)))

    def plan(data):
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        return _fit._train_plan(NativeSteps(model, Objective(data), optimizer, Overrides()).problem)

    data = data_of(model.shape)
    found = plan(data)
    entries = math.prod(model.shape)
    formed = plan(draw(3, *model.shape)).work if entries < 10**6 else 3 * entries * 5
    # value and cotangent of W against every operator, pair of vectors or sample
    product_with_each = 2 * data.count * (entries + sum(model.shape))
    assert found.work <= formed + product_with_each
    assert found.scratch <= most, found.explain()


@pytest.mark.parametrize("equation, shapes, cheaper", [(CHAIN, SQUARE, "W"), (CHAIN, THIN, "Gram"), (CP, LONG, "Gram")])
def test_ridge_takes_the_cheaper_of_product_and_gram_matrices(equation, shapes, cheaper):
    model = Product(equation, *(draw(p, *shape) for p, shape in enumerate(shapes)))
    data = rank_one(20)(model.shape)

    def work(ridge):
        objective = Objective(data, ridge=torch.full((1,), ridge, dtype=torch.float64) if ridge else None)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        return _fit._train_plan(NativeSteps(model, objective, optimizer, Overrides()).problem)

    with_ridge, without = work(0.1), work(0.0)
    added, entries = with_ridge.work - without.work, math.prod(model.shape)
    rank = shapes[0][1]
    if cheaper == "W":
        assert (
            added <= 3 * entries * rank + 2 * entries + 2 * sum(map(math.prod, shapes))
            and with_ridge.scratch >= entries
        )
    else:
        gram = len(shapes) * 4 * shapes[0][0] * rank**2  # both copies' Gram matrices, up and down
        assert added <= gram + 20 * rank**2 + 2 * sum(map(math.prod, shapes)) and with_ridge.scratch < entries
