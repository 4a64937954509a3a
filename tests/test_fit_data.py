"""irk.fit on every kind of data: native steps against plain eager torch, losses, trials, resuming, bits."""

from __future__ import annotations

import pytest
import torch
from test_fit import engine, equal, quiet  # noqa: F401 (engine is a fixture)

import irkernels as irk
from irkernels import _fit, reference
from irkernels.nn import Product
from irkernels.training import engines

F64 = torch.float64
LOSSES = {
    "mse": lambda r, delta: (r**2).mean(-1),
    "half_sse": lambda r, delta: (r**2).sum(-1) / 2,
    "l1": lambda r, delta: r.abs().mean(-1),
    "huber": lambda r, delta: torch.where(r.abs() <= delta, r**2 / 2, delta * (r.abs() - delta / 2)).mean(-1),
}


@pytest.fixture(autouse=True)
def one_thread():
    """torch's own threads gain nothing at these sizes, and lose much where cores are shared."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def draw(seed, *shape):
    return torch.randn(*shape, dtype=F64, generator=torch.Generator().manual_seed(seed))


def model_of(equation, shapes, trials):
    lead = () if trials is None else (trials,)
    return Product(equation, *(draw(p, *lead, *shape) / 2 for p, shape in enumerate(shapes)), trials=trials)


MATRIX = "ij,jk,kl->il", ((4, 3), (3, 3), (3, 5))
CP = "ar,br,cr->abc", ((3, 4), (4, 4), (2, 4))
# name -> (model, data from a target y of this shape, that shape, prediction in plain torch from W [trials, ...])
KINDS = {
    "sensing": (
        MATRIX,
        lambda y: irk.Sensing(draw(9, 11, 4, 5), y),
        (11,),
        lambda W: torch.einsum("til,mil->tm", W, draw(9, 11, 4, 5)),
    ),
    "sensing a tensor": (
        CP,
        lambda y: irk.Sensing(draw(9, 7, 3, 4, 2), y),
        (7,),
        lambda W: torch.einsum("tabc,mabc->tm", W, draw(9, 7, 3, 4, 2)),
    ),
    "rank-one sensing": (
        CP,
        lambda y: irk.RankOneSensing([draw(7, 9, 3), draw(8, 9, 4), draw(9, 9, 2)], y),
        (9,),
        lambda W: torch.einsum("tabc,ma,mb,mc->tm", W, draw(7, 9, 3), draw(8, 9, 4), draw(9, 9, 2)),
    ),
    "regression": (
        MATRIX,
        lambda y: irk.Regression(draw(9, 13, 5), y),
        (13, 4),
        lambda W: torch.stack([torch.nn.functional.linear(draw(9, 13, 5), w) for w in W]),
    ),
    "regression of a tensor": (
        CP,
        lambda y: irk.Regression(draw(9, 6, 4, 2), y),
        (6, 3),
        lambda W: torch.einsum("tabc,nbc->tna", W, draw(9, 6, 4, 2)),
    ),
}


def eager(model, y, predict, optimizer, steps, loss, delta):
    """autograd and torch.optim, nothing of ours but the factors."""
    terms, output = model.equation.split("->")
    spread = model.equation if model.trials is None else ",".join("T" + t for t in terms.split(",")) + "->T" + output
    for _ in range(steps):
        optimizer.zero_grad()
        W = torch.einsum(spread, *model.factors)
        W = W if model.trials is not None else W[None]
        LOSSES[loss]((predict(W) - y).flatten(1), delta).sum().backward()
        optimizer.step()


def native_only():
    if engines._engine is not _fit.fit_steps:
        pytest.skip("bits are promised of native steps")


def close(a, b, relative=1e-10):
    scale = max(p.detach().abs().max().item() for p in b.parameters())
    for p, q in zip(a.parameters(), b.parameters(), strict=True):
        torch.testing.assert_close(p.detach(), q.detach(), rtol=0, atol=relative * scale)


@pytest.mark.parametrize("trials", [None, 3], ids=["single", "trials"])
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("kind", KINDS)
def test_steps_equal_eager_steps(kind, loss, trials):
    (equation, shapes), data_of, shape, predict = KINDS[kind]
    y = draw(20, *(() if trials is None else (trials,)), *shape)
    ours, theirs, start = (model_of(equation, shapes, trials) for _ in range(3))
    rate = 2e-3 / (shape[0] if loss == "half_sse" else 1)
    quiet(ours, data_of(y), torch.optim.SGD(ours.parameters(), lr=rate, momentum=0.5), steps=100, loss=loss, delta=0.7)
    eager(theirs, y, predict, torch.optim.SGD(theirs.parameters(), lr=rate, momentum=0.5), 100, loss, 0.7)
    close(ours, theirs)
    with pytest.raises(AssertionError):
        close(ours, start, 1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_metrics_are_of_the_measurements(kind):
    (equation, shapes), data_of, shape, predict = KINDS[kind]
    y, other = draw(20, 2, *shape), draw(21, *shape)
    model = model_of(equation, shapes, 2)
    run = quiet(
        model,
        data_of(y),
        torch.optim.SGD(model.parameters(), lr=1e-3),
        steps=4,
        record=["loss", "error", "gradient_norm"],
        record_every=2,
        truth=data_of(other),
        loss="huber",
    )
    W = model()
    loss = LOSSES["huber"]((predict(W) - y).flatten(1), 1.0)
    error = LOSSES["mse"]((predict(W) - other).flatten(1), 1.0)
    gradients = torch.autograd.grad(loss.sum(), list(model.parameters()))
    norm = sum(g.square().flatten(1).sum(1) for g in gradients).sqrt()
    for name, expected in (("loss", loss), ("error", error), ("gradient_norm", norm)):
        torch.testing.assert_close(run.metrics[name][-1], expected.detach(), rtol=1e-10, atol=1e-12)


def test_reference_predictions():
    W, X = draw(1, 3, 4, 5), draw(2, 7, 5)
    torch.testing.assert_close(reference.sensing(W, draw(3, 6, 4, 5)), torch.einsum("tik,mik->tm", W, draw(3, 6, 4, 5)))
    torch.testing.assert_close(reference.regression(W[0], X), torch.nn.functional.linear(X, W[0]))
    torch.testing.assert_close(reference.regression(W, X, trials=True), torch.einsum("tok,nk->tno", W, X))
    vectors = [draw(4, 6, 4), draw(5, 6, 5)]
    torch.testing.assert_close(reference.rank_one_sensing(W, vectors), torch.einsum("tik,mi,mk->tm", W, *vectors))
    outer = torch.einsum("mi,mk->mik", *vectors)
    torch.testing.assert_close(reference.rank_one_sensing(W, vectors), reference.sensing(W, outer))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_other_dtypes(kind, dtype):
    (equation, shapes), data_of, shape, _ = KINDS[kind]
    exact, model = model_of(equation, shapes, 2), model_of(equation, shapes, 2).to(dtype)
    data = data_of(draw(20, *shape))
    quiet(exact, data, torch.optim.SGD(exact.parameters(), lr=1e-3), steps=30)
    quiet(model, data.to(dtype), torch.optim.SGD(model.parameters(), lr=1e-3), steps=30)
    close(model.double(), exact, 1e-5 if dtype == torch.float32 else 0.1)


@pytest.mark.parametrize("kind", KINDS)
def test_a_trial_alone_and_any_threads_give_the_same_bits(kind):
    native_only()
    (equation, shapes), data_of, shape, _ = KINDS[kind]
    y, before = draw(20, 5, *shape), torch.get_num_threads()

    def end(start, y):
        quiet(start, data_of(y), torch.optim.SGD(start.parameters(), lr=1e-3, momentum=0.5), steps=40)
        return [p.detach() for p in start.parameters()]

    ends = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        ends.append(end(model_of(equation, shapes, 5), y))
    torch.set_num_threads(before)
    alone = end(Product(equation, *(p.detach()[3] for p in model_of(equation, shapes, 5).parameters())), y[3])
    for one, two, three, single in zip(*ends, alone):
        assert torch.equal(one, two) and torch.equal(one, three) and torch.equal(one[3], single)


def test_measurements_are_copied_described_and_moved():
    X, Y = draw(1, 6, 3), draw(2, 6, 2)
    data = irk.Regression(X, Y)
    X.zero_()
    assert data.X.any() and len(data) == 6
    assert repr(data) == "Regression(X=(6, 3), Y=(6, 2), dtype=torch.float64, device=cpu)"
    assert data.to(F64) is data and data.to(torch.float32).X.dtype == torch.float32
    vectors = irk.RankOneSensing([draw(1, 6, 3), draw(2, 6, 2)], draw(3, 6))
    assert repr(vectors) == "RankOneSensing(vectors=((6, 3), (6, 2)), y=(6,), dtype=torch.float64, device=cpu)"
    assert [v.dtype for v in vectors.to(torch.float32).vectors] == [torch.float32] * 2
    with pytest.raises(AttributeError):
        data.X = X


@pytest.mark.parametrize("kind", KINDS)
def test_resuming_is_bitwise_and_knows_its_data(kind, tmp_path):
    (equation, shapes), data_of, shape, _ = KINDS[kind]
    data, path = data_of(draw(20, *shape)), tmp_path / "run"

    def run(model, steps, data=data, **more):
        return quiet(model, data, torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.5), steps=steps, **more)

    whole, part = model_of(equation, shapes, 2), model_of(equation, shapes, 2)
    run(whole, 60)
    run(part, 25, checkpoint=path)
    again = model_of(equation, shapes, 2)
    run(again, 60, resume=path)
    assert equal(whole, again)
    with pytest.raises(ValueError, match="data"):
        run(again, 60, data=data_of(draw(22, *shape)), resume=path)
