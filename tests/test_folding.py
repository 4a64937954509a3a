"""Constants of a fit that meet before any factor: contracted once where that pays, never into something larger."""

from __future__ import annotations

import itertools

import pytest
import torch
from test_fit import quiet
from test_fit_data import F64, close, draw, one_thread  # noqa: F401 (a fixture)

import irkernels as irk
from irkernels import _fit
from irkernels._watching import Watching
from irkernels.nn import Product
from irkernels.training.engines import NativeSteps
from irkernels.training.objective import Objective
from irkernels.training.overrides import Overrides

# equation, factors' shapes, constants, data that go with W, the equation left after folding (None: as it was)
FOLDED = {
    "a sketched network": (
        "ij,jk,kx->ix",
        ((4, 3), (3, 5)),
        {2: (5, 6)},
        lambda: irk.Regression(draw(9, 40, 6), draw(8, 40, 4)),
        "ij,jk,ak->ai",
    ),
    "two constants side by side": (
        "ij,jk,kl->il",
        ((4, 9),),
        {1: (9, 30), 2: (30, 5)},
        lambda: draw(8, 4, 5),
        "ij,jl->il",
    ),
    "a summed letter": ("ij,jks->ik", ((4, 9),), {1: (9, 5, 7)}, lambda: draw(8, 4, 5), "ij,jk->ik"),
    "one measurement": (
        "ij,jx->ix",
        ((4, 3),),
        {1: (3, 6)},
        lambda: irk.Sensing(draw(9, 1, 4, 6), draw(8, 1)),
        "ij,aji->a",
    ),
    "vectors of no common letter": (
        "ar,br->ab",
        ((4, 3), (5, 3)),
        {},
        lambda: irk.RankOneSensing((draw(9, 30, 4), draw(8, 30, 5)), draw(7, 30)),
        None,
    ),
    "a product that would grow": ("ij,jk,l->ikl", ((4, 3),), {1: (3, 5), 2: (6,)}, lambda: draw(8, 4, 5, 6), None),
}
each = pytest.mark.parametrize("name", FOLDED)


def setup(name, trials=2):
    equation, shapes, constants, data, left = FOLDED[name]
    factors = (draw(p, trials, *shape) / 2 for p, shape in enumerate(shapes))
    given = {position: draw(30 + position, *shape) / 3 for position, shape in constants.items()}
    return Product(equation, *factors, constants=given, trials=trials), data(), left


@each
def test_what_is_folded(name):
    model, data, left = setup(name)
    problem = NativeSteps(model, Objective(data), torch.optim.SGD(model.parameters(), lr=0.1), Overrides()).problem
    before = list(problem.constants.values())
    used = _fit.fit_workspace(problem)
    assert problem.kept["folded"].get("equation") == left
    made = [c for c in problem.kept["folded"].get("constants", {}).values() if all(c is not b for b in before)]
    assert (left is not None) == bool(made)
    assert sum(c.numel() for c in made) <= sum(c.numel() for c in before)
    assert used >= sum(c.numel() * c.itemsize for c in made)


@each
@pytest.mark.parametrize("batch_size", [None, 1])
def test_folded_steps_equal_eager_steps(name, batch_size):
    from irkernels.reference.fit import fit_steps

    ours, data, _ = setup(name)
    theirs, _, _ = setup(name)
    quiet(ours, data, torch.optim.SGD(ours.parameters(), lr=1e-3, momentum=0.5), steps=50, batch_size=batch_size)
    optimizer = torch.optim.SGD(theirs.parameters(), lr=1e-3, momentum=0.5)
    if batch_size is None:
        from irkernels.training.data import model_loss

        for _ in range(50):
            optimizer.zero_grad()
            model_loss(theirs, data, "mse", 1.0).sum().backward()
            optimizer.step()
    else:
        objective = irk.training.objective.with_batches(Objective(data), theirs, batch_size, 0)
        fit_steps(NativeSteps(theirs, objective, optimizer, Overrides()).problem, 50)
    close(ours, theirs)


def test_bits_do_not_depend_on_threads_or_chunks():
    ends, before = [], torch.get_num_threads()
    for threads, parts in ((1, (60,)), (2, (60,)), (1, (7, 13, 40))):
        torch.set_num_threads(threads)
        model, data, _ = setup("a sketched network")
        steps = NativeSteps(model, Objective(data), torch.optim.SGD(model.parameters(), lr=1e-2), Overrides())
        for reached, part in zip((0, *itertools.accumulate(parts)), parts):
            steps.advance(part, torch.ones(2, dtype=torch.bool), Watching(2, first=reached))
        ends.append([p.detach() for p in model.parameters()])
    torch.set_num_threads(before)
    assert all(torch.equal(a, b) for other in ends[1:] for a, b in zip(ends[0], other))
    assert ends[0][0].dtype == F64
