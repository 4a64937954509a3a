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
pytestmark = pytest.mark.filterwarnings("ignore:irk.fit takes its steps in an ordinary")


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
        {"high": Running("max", 1 - Entry(0, 0), where=(q > 0.2) & (Loss() <= 0.3))},
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


@pytest.mark.parametrize("trials", [None, 2])
@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_entries_of_a_product_of_any_kind(engine, trials, dtype):
    """Few entries of a large product come from slices of the factors: with diagonals, constants, of any order."""
    draw = torch.Generator().manual_seed(0)

    def tensor(*shape):
        return torch.randn(*shape, generator=draw, dtype=F64).to(dtype)

    lead = () if trials is None else (trials,)
    cases = [
        (lambda: Product("ir,jr,kr->ijk", *(tensor(*lead, n, 3) for n in (5, 6, 7)), trials=trials),
         [(0, 0, 0), (4, 5, 6)]),
        (lambda: Product("aab,bc->ac", tensor(*lead, 9, 9, 4), tensor(*lead, 4, 9), trials=trials), [(8, 3)]),
        (lambda: Product("ab,bc,cd->ad", tensor(*lead, 30, 4), tensor(*lead, 4, 30), trials=trials,
                         constants={1: tensor(4, 4)}), [(29, 0), (3, 4), (3, 4)]),
        (lambda: Product("a,b->", tensor(*lead, 3), tensor(*lead, 3), trials=trials), [()]),
    ]  # fmt: skip
    for make, entries in cases:
        model = make()
        target = torch.zeros(model.shape, dtype=dtype)
        start = model().detach()
        run = run_fit(model, target, steps=3, lr=1e-4, record=[Entry(*at) for at in entries], record_every=1)
        for at in entries:
            noted = run.metrics[repr(Entry(*at))]
            tolerance = dict(rtol=1e-5, atol=1e-6) if dtype == torch.float32 else dict(rtol=1e-12, atol=1e-14)
            torch.testing.assert_close(noted[0], start[(..., *at)], **tolerance)
            torch.testing.assert_close(noted[-1], model().detach()[(..., *at)], **tolerance)
            assert noted.shape == (4, *lead) and noted.dtype == dtype


@pytest.mark.parametrize("n", [2, 3, 8])
def test_determinants_keep_their_sign_near_zero(n):
    """Singular but for the last place: against exact rational arithmetic."""
    from fractions import Fraction

    def exact(rows):
        if len(rows) == 1:
            return rows[0][0]
        pivot = next((i for i, row in enumerate(rows) if row[0]), None)
        if pivot is None:
            return Fraction(0)
        first = rows[pivot]
        others = rows[:pivot] + rows[pivot + 1 :]
        rest = [[x - row[0] / first[0] * f for x, f in zip(row[1:], first[1:])] for row in others]
        return (-1) ** pivot * first[0] * exact(rest)

    draw = torch.Generator().manual_seed(n)
    W = torch.randn(20, n, n, generator=draw, dtype=F64)
    if n == 2:  # columns that are parallel up to a rounding
        W[:, :, 1] = W[:, :, 0] * torch.randn(20, 1, generator=draw, dtype=F64)
    W[0] = 0.0
    W[1, 0] = 0.0
    model = Product("ij->ij", W, trials=20)
    run = run_fit(model, torch.zeros(n, n, dtype=F64), steps=0, record="determinant")
    found = run.metrics["determinant"][0].tolist()
    for value, matrix in zip(found, W.tolist()):
        truth = exact([[Fraction(x) for x in row] for row in matrix])
        error = abs(Fraction(value) - truth)
        assert error <= abs(truth) * (Fraction(4, 2**53) if n == 2 else Fraction(1, 10**10)) or error < 1e-300
        assert value == 0 if truth == 0 else (value > 0) == (truth > 0)


def test_a_nan_stays_in_an_extreme(engine):
    model = Product("i->i", torch.tensor([[-1.0, 2.0], [1.0, 2.0]], dtype=F64), trials=2)
    root = {"root": Running("min", Entry(0).sqrt())}
    run = run_fit(model, torch.tensor([3.0, 3.0], dtype=F64), steps=40, record=root, record_every=10)
    assert run.metrics["root"][:, 0].isnan().all() and (run.metrics["root"][:, 1] == 1).all()
    assert model.factors[0][0, 0] > 0


def test_every_metric_has_a_description_and_a_value():
    model = MatrixChain(9, 9, 2, trials=2, init_scale=0.5, seed=0, dtype=F64)
    eye = torch.eye(9, dtype=F64)
    run = run_fit(model, eye, steps=5, record=list(METRICS), record_every=2, truth=eye)
    assert list(run.metrics) == list(METRICS) and run.steps.tolist() == [0, 2, 4, 5]
    assert all(len(text) > 5 for text in METRICS.values())
    W = model().detach()
    torch.testing.assert_close(run.metrics["determinant"][-1], torch.linalg.det(W))
    left, right = model.factors
    torch.testing.assert_close(run.metrics["component_norms"][-1], (left.norm(dim=1) * right.norm(dim=2)).detach())


def test_component_norms_of_a_product_and_of_a_model():
    factors = [torch.randn(n, 4, dtype=F64) for n in (3, 5, 6)]
    model = Product("ir,jr,kr->ijk", *factors)
    run = run_fit(model, torch.zeros(3, 5, 6, dtype=F64), steps=0, record="component_norms")
    terms = torch.stack([torch.einsum("i,j,k->ijk", *(f[:, r] for f in factors)).norm() for r in range(4)])
    torch.testing.assert_close(run.metrics["component_norms"][0], terms)
    with pytest.raises(ValueError, match=r"component_norms is of a product with one contracted letter, but .* has 2"):
        run_fit(square(), observed(square()), record="component_norms")

    class Family(Product):
        def component_norms(self):
            return torch.full((2,), 7.0)

    own = Family("ij->ij", torch.ones(2, 2, dtype=F64))
    run = run_fit(own, torch.zeros(2, 2, dtype=F64), steps=0, record="component_norms")
    assert run.metrics["component_norms"].tolist() == [[7.0, 7.0]]


def test_what_cannot_be_recorded_is_said():
    model, data = square(3), observed(square(3))
    wide = MatrixChain(2, 3, 2, dtype=F64)
    for record, says in [
        ([Entry(3, 0)], r"Entry\(3, 0\) is not an entry of the product, whose shape is \(3, 3\)"),
        ([Entry(1)], r"Entry\(1,\) is not an entry"),
        (["entry"], "unknown metric 'entry'; known are loss, determinant"),
    ]:
        with pytest.raises(ValueError, match=says):
            run_fit(model, data, record=record)
    with pytest.raises(ValueError, match=r"no determinant of \(2, 3\) can be taken at each step"):
        run_fit(wide, observed(wide), record=Running("min", Determinant()))
    with pytest.raises(ValueError, match="determinant is of a square matrix"):
        run_fit(wide, observed(wide), record="determinant")
    with pytest.raises(ValueError, match="numbers are needed at a step, at most 64"):
        run_fit(model, data, record=[sum((n + Loss() for n in range(70)), Loss())])
    with pytest.raises(TypeError, match=r"write \(a < b\) & \(b < c\)"):
        0 < Loss() < 1  # noqa: B015
    with pytest.raises(ValueError, match="must be min or max, got 'mean'"):
        Running("mean", "loss")
    with pytest.raises(TypeError, match="quantity must be a Quantity, got 'error'"):
        Running("min", "error")
    with pytest.raises(TypeError, match="expected a number or a Quantity, got 'x'"):
        Loss() + "x"
    with pytest.raises(ValueError, match="coordinate must be at least 0, got -1"):
        Entry(-1, 0)


def test_recordings_of_stop_and_go_are_those_of_one_run(tmp_path):
    """Cut off the grid and on it; extremes go on from where they were."""
    data, file = observed(square()), tmp_path / "run.pt"
    options = dict(record=["product", "loss", Running("max", Entry(0, 0))], record_every=10)
    whole = run_fit(square(), data, steps=50, **options)
    for steps in (13, 20, 20, 41, 50):
        run = run_fit(square(), data, steps=steps, checkpoint=file, resume=file if file.exists() else None, **options)
        assert run.steps.tolist() == sorted({*range(0, steps + 1, 10), steps})
    for name, values in whole.metrics.items():
        assert torch.equal(run.metrics[name], values), name


def test_a_step_loop_with_records_allocates_nothing_a_step():
    """One engine call of many steps leaves no more behind than one of few: rows apart, memory does not depend on
    steps."""
    import resource

    model, data = square(2, trials=16), observed(square())
    record = ["loss", Running("min", "determinant"), {"product": abs(Entry(0, 0)) * Loss().sqrt()}]
    run_fit(model, data, steps=2000, record=record, record_every=1000, stop=Stop(1e-300, every=1))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    run_fit(model, data, steps=40_000, record=record, record_every=1000, stop=Stop(1e-300, every=1))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1024  # KiB


def test_two_metrics_of_one_name_are_refused():
    model = MatrixChain(3, 3, 2, seed=0)

    def run(record):
        return fit(
            model, torch.zeros(3, 3), torch.optim.SGD(model.parameters(), lr=0.1), steps=2, record=record,
            progress=False,
        )  # fmt: skip

    with pytest.raises(ValueError, match="two metrics are named 'loss'"):
        run(["loss", {"loss": lambda model: torch.tensor(7.0)}])
    assert list(run(["loss", "loss", Loss() * 1.0000001, Loss() * 1.0000002]).metrics) == [
        "loss", "(loss * 1.0000001)", "(loss * 1.0000002)",
    ]  # fmt: skip
    with pytest.raises(TypeError, match="record: word must give a tensor or a number, got str"):
        run({"word": lambda model: "seven"})
    with pytest.raises(ValueError, match="metrics names none; recorded were loss"):
        run("loss").plot(metrics=[])
