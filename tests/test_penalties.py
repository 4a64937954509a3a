"""irk.fit with penalties on the product: ridge natively, any callable in plain torch; and limits on memory."""

from __future__ import annotations

import warnings

import pytest
import torch
from test_batches import entries_data
from test_fit import engine, equal, quiet  # noqa: F401 (engine is a fixture)
from test_fit_data import CP, F64, KINDS, MATRIX, close, draw, model_of, native_only, one_thread  # noqa: F401 (a fixture)

from irkernels.nn import Product
from irkernels.observed import Observed

RIDGES = torch.tensor([0.0, 0.1, 1.0], dtype=F64)
BOTTLENECK = "ij,jk,kl->il", ((9, 1), (1, 2), (2, 9))  # Gram matrices are cheaper than the product


def problems():
    yield "dense target", MATRIX, draw(5, 3, 4, 5)
    yield "entries", MATRIX, entries_data(3, True)
    yield "entries of CP", CP, entries_data(3, False, (3, 4, 2))
    yield "entries, low rank", BOTTLENECK, entries_data(3, False, (9, 9))
    for kind, (case, data_of, shape, _) in KINDS.items():
        yield kind, case, data_of(draw(20, 3, *shape))


each_problem = pytest.mark.parametrize("case, data", [pytest.param(c, d, id=name) for name, c, d in problems()])


def eager(model, data, optimizer, steps, penalty):
    """The model's own losses by autograd, every step's penalty from the product in plain torch."""
    from irkernels.training.data import model_loss

    terms, output = model.equation.split("->")
    spread = ",".join("T" + term for term in terms.split(",")) + "->T" + output
    for _ in range(steps):
        optimizer.zero_grad()
        (model_loss(model, data, "mse", 1.0) + penalty(torch.einsum(spread, *model.factors))).sum().backward()
        optimizer.step()


def square(W):
    return RIDGES * W.square().flatten(1).sum(1)


def sgd(model, lr=5e-3):
    return torch.optim.SGD(model.parameters(), lr=lr, momentum=0.5)


@each_problem
def test_ridge_equals_eager_steps(case, data):
    ours, theirs, without = (model_of(*case, 3) for _ in range(3))
    quiet(ours, data, sgd(ours), steps=100, ridge=RIDGES)
    eager(theirs, data, sgd(theirs), 100, square)
    close(ours, theirs)
    quiet(without, data, sgd(without), steps=100)
    for p, q in zip(ours.parameters(), without.parameters()):
        torch.testing.assert_close(p[0], q[0], rtol=0, atol=1e-12)  # the first trial's ridge is 0
        assert (p[2] - q[2]).abs().max() > 1e-3


@each_problem
def test_a_callable_equals_eager_steps(case, data):
    ours, theirs = model_of(*case, 3), model_of(*case, 3)
    with pytest.warns(UserWarning, match="penalty= is called at every step"):
        quiet(ours, data, sgd(ours), steps=30, penalty=lambda W: W.abs().flatten(1).sum(1) / 10)
    eager(theirs, data, sgd(theirs), 30, lambda W: W.abs().flatten(1).sum(1) / 10)
    close(ours, theirs)


def test_single_models_and_other_optimizers():
    data = entries_data(None, False)
    for kind, lr in ((torch.optim.SGD, 5e-3), (torch.optim.Adamax, 1e-3)):
        ours, theirs = model_of(*MATRIX, None), model_of(*MATRIX, None)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            quiet(ours, data, kind(ours.parameters(), lr=lr), steps=40, ridge=0.2, penalty=lambda W: W.sum() ** 2)
        optimizer = kind(theirs.parameters(), lr=lr)
        for _ in range(40):
            optimizer.zero_grad()
            W = torch.einsum(theirs.equation, *theirs.factors)
            (theirs.completion_loss(data) + 0.2 * W.square().sum() + W.sum() ** 2).backward()
            optimizer.step()
        close(ours, theirs)


@each_problem
def test_penalties_with_mini_batches(case, data):
    ours, theirs = model_of(*case, 3), model_of(*case, 3)
    quiet(ours, data, sgd(ours), steps=40, ridge=RIDGES, batch_size=3)
    with pytest.warns(UserWarning):
        quiet(theirs, data, sgd(theirs), steps=40, penalty=square, batch_size=3)
    close(ours, theirs)


def test_constants_of_the_model_take_part():
    def model():
        return Product("ij,jx,xk->ik", draw(1, 2, 4, 3), draw(3, 2, 5, 4), constants={1: draw(2, 3, 5)}, trials=2)

    ours, theirs = model(), model()
    quiet(ours, draw(4, 4, 4), sgd(ours), steps=50, ridge=0.3)
    optimizer = sgd(theirs)
    for _ in range(50):
        optimizer.zero_grad()
        W = theirs()
        ((W - draw(4, 4, 4)).square().flatten(1).mean(1) + 0.3 * W.square().flatten(1).sum(1)).sum().backward()
        optimizer.step()
    close(ours, theirs)


def test_metrics_tell_the_loss_without_and_the_gradient_with_penalties():
    model, data = model_of(*MATRIX, 3), entries_data(3, False)
    run = quiet(model, data, sgd(model), steps=5, ridge=RIDGES, record=["loss", "gradient_norm"], record_every=5)
    loss = model.completion_loss(data)
    torch.testing.assert_close(run.metrics["loss"][-1], loss.detach())
    total = loss + square(model())
    norms = sum(g.square().flatten(1).sum(1) for g in torch.autograd.grad(total.sum(), list(model.parameters()))).sqrt()
    torch.testing.assert_close(run.metrics["gradient_norm"][-1], norms)


@each_problem
def test_threads_change_no_bit(case, data):
    native_only()
    before, ends = torch.get_num_threads(), []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        model = model_of(*case, 3)
        quiet(model, data, sgd(model), steps=40, ridge=RIDGES)
        ends.append(model)
    torch.set_num_threads(before)
    assert equal(*ends)


def test_a_resumed_run_has_the_same_penalties(tmp_path):
    data, whole, part, again = entries_data(3, False), *(model_of(*MATRIX, 3) for _ in range(3))
    quiet(whole, data, sgd(whole), steps=40, ridge=RIDGES)
    quiet(part, data, sgd(part), steps=15, ridge=RIDGES, checkpoint=tmp_path / "run")
    with pytest.raises(ValueError, match="ridge"):
        quiet(again, data, sgd(again), steps=40, ridge=0.5, resume=tmp_path / "run")
    quiet(again, data, sgd(again), steps=40, ridge=RIDGES, resume=tmp_path / "run")
    assert equal(whole, again)


@pytest.mark.parametrize("options, error, words", [
    ({"ridge": -1.0}, ValueError, "ridge must be finite and not negative, got -1.0"),
    ({"ridge": [1.0, 2.0]}, ValueError, r"ridge must be a number or \[3\], .* got shape \[2\]"),
    ({"ridge": "much"}, TypeError, "ridge must be"),
    ({"penalty": 3.0}, TypeError, "penalty must be a function of W, got float"),
    ({"penalty": lambda W: 1.0}, TypeError, "penalty must give a tensor, got float"),
    ({"penalty": lambda W: W.sum()}, ValueError, r"penalty must give \[3\], one number for each trial, got shape \[\]"),
    ({"memory_limit": -1}, ValueError, "memory_limit must be at least 0"),
    ({"memory_limit": 10**9, "penalty": square}, ValueError, "memory_limit= needs native steps, but penalty="),
])  # fmt: skip
@pytest.mark.filterwarnings("ignore:irk.fit takes")
def test_bad_arguments(options, error, words):
    model = model_of(*MATRIX, 3)
    with pytest.raises(error, match=words):
        quiet(model, entries_data(3, False), sgd(model), steps=1, **options)


@pytest.mark.parametrize("batch_size", [None, 8])
def test_the_memory_limit_holds_to_the_byte(batch_size):
    native_only()
    nnz = 40
    at = torch.stack([torch.arange(nnz) % 4, torch.arange(nnz) % 5], 1)
    data = Observed(at, draw(1, nnz), (4, 5))

    def run(limit):
        model = model_of(*MATRIX, 3)
        quiet(model, data, sgd(model), steps=10, batch_size=batch_size, memory_limit=limit)
        return model

    with pytest.raises(MemoryError, match=r"memory_limit is 0 bytes, but the steps need a workspace of \d+") as caught:
        run(0)
    need = int(str(caught.value).split()[-1])
    if batch_size is not None:
        with pytest.raises(
            MemoryError, match=r"leaves 0 bytes for mini-batches, but those of one step need \d+"
        ) as caught:
            run(need)
        need += int(str(caught.value).split()[-1])
    with pytest.raises(MemoryError):
        run(need - 1)
    assert equal(run(need), run(None))
