"""The lanes tier of irk.fit: a trial in each SIMD lane, the same bits as the core tier."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import irkernels as irk
from irkernels import _launch
from irkernels._watching import Watching
from irkernels.nn import Product
from irkernels.optim import GroupRMSprop
from irkernels.testing.fingerprint import bits
from irkernels.training.engines import NativeSteps
from irkernels.training.objective import Objective
from irkernels.training.overrides import Overrides
from irkernels.training.quantities import compile_records

pytestmark = pytest.mark.skipif(_launch.LAUNCHES, reason="this kernel target has no native training")

OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.05),
    "decayed, maximized": lambda p: torch.optim.SGD(p, lr=0.01, weight_decay=1e-2, maximize=True),
    "momentum": lambda p: torch.optim.SGD(p, lr=0.02, momentum=0.9, dampening=0.2, weight_decay=1e-3),
    "nesterov": lambda p: torch.optim.SGD(p, lr=0.02, momentum=0.9, nesterov=True),
    "adam": lambda p: torch.optim.Adam(p, lr=0.01),
    "amsgrad": lambda p: torch.optim.Adam(p, lr=0.01, amsgrad=True, weight_decay=1e-2),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.01),
    "group_rmsprop": lambda p: GroupRMSprop(p, lr=0.01),
}
EQUATIONS = {  # shapes of one trial's factors
    "ij,jk,kl->il": ((3, 2), (2, 4), (4, 3)),
    "ir,jr,kr->ijk": ((3, 2), (2, 2), (4, 2)),
    "ip,jq,kr,pqr->ijk": ((2, 2), (3, 2), (2, 3), (2, 2, 3)),
    "ij,ij->ij": ((3, 3), (3, 3)),
    "ii,ij->j": ((3, 3), (3, 2)),
    "i,i->": ((40,), (40,)),
}


def factors(equation: str, trials: int | None, dtype: torch.dtype, scale: float = 0.5) -> list[Tensor]:
    """Of each trial its own, whatever their number."""
    found = []
    for position, shape in enumerate(EQUATIONS[equation]):
        draw = torch.Generator().manual_seed(position)
        many = torch.randn(40, *shape, generator=draw, dtype=torch.float64) * scale
        found.append(torch.nn.Parameter((many[:trials] if trials else many[0]).to(dtype)))
    return found


def model_of(equation: str, trials: int | None = 5, dtype: torch.dtype = torch.float64) -> Product:
    return Product(equation, *factors(equation, trials, dtype), trials=trials)


def observed(model: Product, weighted: bool = False, own: bool = False) -> irk.Observed:
    """Every second entry and one twice; weights with zeros; values and weights of each trial its own."""
    every = torch.cartesian_prod(*(torch.arange(n) for n in model.shape)).reshape(-1, len(model.shape))
    at, draw = torch.cat([every[::2], every[:1]]), torch.Generator().manual_seed(7)
    lead, dtype = (40,) if own else (), model.factors[0].dtype
    values = torch.randn(*lead, len(at), generator=draw, dtype=torch.float64).to(dtype)
    weights = torch.randint(0, 3, (*lead, len(at)), generator=draw).to(dtype) if weighted else None
    if own:
        values, weights = values[: model.trials], weights[: model.trials] if weighted else None
    return irk.Observed(at, values, model.shape, weights)


def dense(model: Product) -> Tensor:
    return torch.linspace(-1, 1, math.prod(model.shape), dtype=model.factors[0].dtype).reshape(model.shape)


def trained(tier: str, model: Product, data: irk.Observed | Tensor, kind: str = "sgd", steps: int = 23,
            **settings) -> dict[str, Tensor]:
    """Everything a run leaves behind: factors, optimizer state, losses, what ended each trial."""
    optimizer = OPTIMIZERS[kind](model.parameters())
    run = irk.fit(model, data, optimizer, steps=steps, tier=tier, progress=False, record="loss" if model.shape else (),
                  record_every=7, **settings)
    assert run.tier.startswith(tier), run.tier
    left = {f"factor {p}": factor.detach() for p, factor in enumerate(model.factors)}
    for p, state in enumerate(optimizer.state.values()):
        left |= {f"state {p} {name}": torch.as_tensor(value) for name, value in state.items()}
    return left | run.metrics | {"stopped at": torch.as_tensor(run.stopped_at), "reason": run.reason}


def assert_same(found: dict, expected: dict) -> None:
    assert found.keys() == expected.keys() and found.pop("reason") == expected.pop("reason")
    differing = [name for name, tensor in expected.items() if bits(found[name]) != bits(tensor)]
    assert not differing, f"other bits in lanes: {differing}"


def assert_tiers_agree(equation: str, data, trials: int | None = 5, dtype: torch.dtype = torch.float64,
                       **settings) -> None:
    runs = []
    for tier in ("lanes", "core"):
        model = model_of(equation, trials, dtype)
        runs.append(trained(tier, model, data(model), **settings))
    assert_same(*runs)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("equation", EQUATIONS)
def test_equations(equation: str, dtype: torch.dtype) -> None:
    if not equation.endswith("->"):
        assert_tiers_agree(equation, observed, dtype=dtype)
    assert_tiers_agree(equation, dense, dtype=dtype)


@pytest.mark.parametrize("trials", [None, 1, 2, 3, 4, 7, 8, 9, 15, 16, 17, 31, 32, 33])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_numbers_of_trials(trials: int | None, dtype: torch.dtype) -> None:
    own = trials is not None
    assert_tiers_agree("ij,jk,kl->il", lambda model: observed(model, own, own), trials, dtype, kind="momentum")


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("kind", OPTIMIZERS)
@pytest.mark.parametrize("clipped", [{}, {"clip": 0.1, "clip_value": 0.05}], ids=["free", "clipped"])
def test_rules(kind: str, clipped: dict[str, float], dtype: torch.dtype) -> None:
    assert_tiers_agree("ij,jk,kl->il", observed, dtype=dtype, kind=kind, **clipped)


@pytest.mark.parametrize("loss", ["mse", "half_sse", "l1", "huber"])
@pytest.mark.parametrize("weighted, own", [(False, False), (False, True), (True, False), (True, True)])
def test_losses(loss: str, weighted: bool, own: bool) -> None:
    for dtype in (torch.float64, torch.float32):
        assert_tiers_agree("ij,jk,kl->il", lambda model: observed(model, weighted, own), dtype=dtype, loss=loss,
                           delta=0.3)


def test_rates_of_each_trial() -> None:
    rates = [0.001, 0.01, 0.03, 0.1, 0.2]
    for kind in ("sgd", "adam", "group_rmsprop"):
        assert_tiers_agree("ij,jk,kl->il", observed, kind=kind, lr=rates)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("kind", ["sgd", "momentum", "adam", "group_rmsprop"])
def test_trials_that_diverge_stop_by_themselves(kind: str, dtype: torch.dtype) -> None:
    """At steps of their own, the others going on; all of them in one case."""
    rates = [0.01, 1e30, 0.02, 3e9, 0.01]
    assert_tiers_agree("ij,jk,kl->il", observed, dtype=dtype, kind=kind, lr=rates, steps=40)
    assert_tiers_agree("ij,jk,kl->il", observed, dtype=dtype, kind=kind, lr=1e35, steps=40)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("kind", ["sgd", "momentum", "decayed, maximized"])
def test_many_steps_that_nobody_looks_at(kind: str, dtype: torch.dtype) -> None:
    """They are checked together, and taken again one by one where some trial has diverged among them."""
    ends = []
    for tier in ("lanes", "core"):
        model = model_of("ij,jk,kl->il", 7, dtype)
        optimizer = OPTIMIZERS[kind](model.parameters())
        run = irk.fit(model, observed(model), optimizer, steps=600, lr=[0.01, 1e30, 0.02, 3e9, 0.6, 0.9, 1.5],
                      tier=tier, progress=False)
        ends.append({"stopped at": run.stopped_at, "reason": run.reason,
                     **{str(p): f.detach() for p, f in enumerate(model.factors)}})
    assert any(8 < step < 600 for step in ends[0]["stopped at"].tolist()), "no trial has diverged on the way"
    assert_same(*ends)


def test_a_bound_does_not_hide_gradients_that_are_not_finite() -> None:
    """That of a overflows on the way, and cut at the bound moves nothing: its rate is 0."""
    for tier in ("lanes", "core"):
        a, b, c = (torch.nn.Parameter(torch.full((2,), value)) for value in (1e-30, 1e18, 1e20))
        optimizer = torch.optim.SGD([{"params": [a], "lr": 0.0}, {"params": [b, c]}], lr=1e28)
        target = torch.full((2,), 1e30)
        run = irk.fit(Product("i,i,i->i", a, b, c), target, optimizer, steps=100, loss="l1", clip_value=1e30, tier=tier,
                      progress=False)
        assert (run.reason, run.stopped_at) == ("diverged", 12)


def test_trials_that_have_converged_rest() -> None:
    """Some lanes are not taken up again by later calls."""
    stop = irk.Stop(loss=0.3, every=5)
    assert_tiers_agree("ij,jk,kl->il", observed, trials=19, steps=60, stop=stop)


NOTED = [
    "loss",
    "determinant",
    irk.Entry(1, 1),
    irk.Running("min", irk.Entry(0, 1)),
    irk.Running("max", abs(irk.Determinant()) / (1 + irk.Loss()).sqrt() - irk.Entry(2, 0) ** 2,
                where=irk.Loss() >= 0.1),
]


def noted(tier: str, kind: str, every: int, trials: int | None, dtype: torch.dtype, order: int = 3, **settings) -> dict:
    """Of a run in which a trial diverges, one converges and the others do neither, where there are so many."""
    draw = torch.Generator().manual_seed(5)
    start = torch.randn(2, 18, order, order, generator=draw, dtype=torch.float64).to(dtype) / 2
    model = Product("ij,jk->ik", *(f[:trials] if trials else f[0] for f in start), trials=trials)
    rates = [*[0.05] * 9, 1e20, 0.3, *[0.05] * 7] if trials else [0.05]
    stop = irk.Stop(loss=0.05, every=3, patience=2)
    run = irk.fit(
        model, torch.eye(order, dtype=dtype), OPTIMIZERS[kind](model.parameters()),
        lr=rates[: trials or 1] if trials else rates[0],
        record=NOTED, record_every=every, stop=stop, tier=tier, progress=False, **{"steps": 70, **settings},
    )  # fmt: skip
    assert run.tier.startswith(tier)
    left = {f"factor {p}": factor.detach() for p, factor in enumerate(model.factors)}
    return left | run.metrics | {"stopped at": torch.as_tensor(run.stopped_at), "reason": run.reason}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("trials", [None, 11])
@pytest.mark.parametrize("kind, every", [("sgd", 1), ("sgd", 4), ("sgd", 60), ("adam", 4), ("momentum", 1)])
def test_what_is_noted_of_the_steps(kind: str, every: int, trials: int | None, dtype: torch.dtype) -> None:
    """Row by row, or by the steps themselves where rows are dense; limits and extremes by the steps in any case."""
    runs = [noted(tier, kind, every, trials, dtype) for tier in ("lanes", "core")]
    assert trials is None or kind != "sgd" or len(set(runs[0]["reason"])) == 3
    assert_same(*runs)


def test_notes_of_more_steps_than_are_taken_at_once() -> None:
    """And a trial that diverges among them."""
    for every in (1, 2, 7):
        assert_same(*(noted(tier, "sgd", every, 11, torch.float64, 4, steps=1500) for tier in ("lanes", "core")))


def test_entries_of_a_product_with_constants_and_frozen_factors() -> None:
    """Slices of factors and of what does not move, by their places in memory."""
    runs = []
    for tier in ("lanes", "core"):
        a, b = factors("ij,ij->ij", 3, torch.float64)
        inputs = torch.linspace(-1, 1, 24, dtype=torch.float64).reshape(8, 3).t()
        model = Product("ij,jx,jk->ikx", a, b.requires_grad_(False), constants={1: inputs}, trials=3)
        optimizer = OPTIMIZERS["sgd"]([a])
        watched = [irk.Entry(2, 1, 7), irk.Running("max", irk.Entry(0, 0, 3))]
        run = irk.fit(model, dense(model), optimizer, steps=30, record=watched, record_every=1, tier=tier,
                      progress=False)
        runs.append(run.metrics | {"reason": run.reason})
    assert_same(*runs)


def test_other_records_are_written_out_anew() -> None:
    """One engine, told to note nothing, then an entry, then another one."""
    model = model_of("ij,jk,kl->il")
    engine = NativeSteps(model, Objective(dense(model)), OPTIMIZERS["sgd"](model.parameters()), Overrides(), "lanes")
    for entry in (None, (0, 0), (1, 1)):
        start, active = model().detach(), torch.ones(5, dtype=torch.bool)
        within = {} if entry is None else {"it": irk.Entry(*entry)}
        watching = Watching(5, records=compile_records(within, model.shape, 5, 1, model.factors[0].detach()))
        engine.advance(3, active, watching)
        if entry is not None:
            torch.testing.assert_close(watching.rows[0, :, 0], start[:, entry[0], entry[1]])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("trials", [None, 5])
@pytest.mark.parametrize("kind", ["momentum", "adam"])
def test_ridge(kind: str, trials: int | None, dtype: torch.dtype) -> None:
    """Of each trial its own."""
    ridge = torch.linspace(0, 0.3, trials) if trials else 0.1
    for equation in ("ij,jk,kl->il", "ir,jr,kr->ijk", "ii,ij->j"):
        assert_tiers_agree(equation, observed, trials, dtype, kind=kind, ridge=ridge, stop=irk.Stop(loss=0.1))
        assert_tiers_agree(equation, dense, trials, dtype, kind=kind, ridge=ridge)


def measured(trials: int | None, dtype: torch.dtype, own: bool) -> tuple[Product, irk.Regression | irk.Sensing]:
    """Fifty measurements: of a sensed matrix, or pairs of vectors whose targets are each trial's own."""
    draw = torch.Generator().manual_seed(3)

    def tensor(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=draw, dtype=torch.float64).to(dtype)

    a, b, _ = factors("ij,jk,kl->il", trials, dtype)
    model = Product("ij,jk->ik", a, b, trials=trials)
    if not own:
        return model, irk.Sensing(tensor(50, 3, 4), tensor(50))
    return model, irk.Regression(tensor(50, 4), tensor(*([trials] if trials else []), 50, 3))


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("trials", [None, 19])
@pytest.mark.parametrize("kind", ["sgd", "adam"])
def test_batches_of_measurements(kind: str, trials: int | None, own: bool) -> None:
    """Trials that diverge and converge in between; the last steps look back at a batch, too."""
    rates = [*[0.02] * 9, 1e25, *[0.05] * 9] if trials else 0.02
    for dtype in (torch.float64, torch.float32):
        runs = []
        for tier in ("lanes", "core"):
            model, data = measured(trials, dtype, own)
            runs.append(trained(tier, model, data, kind, 40, batch_size=8, sampler_seed=2, lr=rates, ridge=0.01,
                                stop=irk.Stop(loss=0.4)))
        assert_same(*runs)
        assert not trials or kind == "adam" or len(set(torch.as_tensor(runs[0]["stopped at"]).tolist())) > 1


def test_batches_of_listed_entries_are_not_for_lanes() -> None:
    model = model_of("ij,jk,kl->il")
    with pytest.raises(ValueError, match="tier='lanes': lanes take no mini-batches of listed entries"):
        irk.fit(model, observed(model), OPTIMIZERS["sgd"](model.parameters()), steps=3, batch_size=2, tier="lanes",
                progress=False)


def test_constants() -> None:
    runs = []
    for tier in ("lanes", "core"):
        a, b = factors("ij,ij->ij", 3, torch.float64)
        inputs = torch.linspace(-1, 1, 24, dtype=torch.float64).reshape(8, 3).t()  # not contiguous
        model = Product("ij,jx,jk->ikx", a, b, constants={1: inputs}, trials=3)
        runs.append(trained(tier, model, torch.linspace(-1, 1, 72, dtype=torch.float64).reshape(3, 3, 8)))
    assert_same(*runs)


@pytest.mark.parametrize("trials", [None, 5])
def test_tied_and_frozen_factors(trials: int | None) -> None:
    runs = []
    for tier in ("lanes", "core"):
        tied, still = factors("ij,ij->ij", trials, torch.float64)
        model = Product("ij,jk,jk,kl->il", tied, still.requires_grad_(False), tied, tied, trials=trials)
        runs.append(trained(tier, model, observed(model)))
    assert_same(*runs)


def test_a_step_too_long_to_be_written_out_is_refused() -> None:
    draw = torch.Generator().manual_seed(0)
    model = Product("ij,jk->ik", *(torch.nn.Parameter(torch.randn(60, 60, generator=draw)) for _ in range(2)))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(
        ValueError, match=r"tier='lanes': a step of one trial has .* multiply-adds, and lanes take at most"
    ):
        irk.fit(model, torch.zeros(60, 60), optimizer, steps=3, tier="lanes", progress=False)
    run = irk.fit(model, torch.zeros(60, 60), optimizer, steps=3, progress=False)
    assert ": a step of one trial has" in run.tier


def test_the_tier_is_chosen_by_cost() -> None:
    def tier_of(n: int, trials: int | None, **settings) -> str:
        model = irk.nn.MatrixChain(n, n, 3, trials=trials, init_scale=0.3, seed=0)
        target = torch.zeros(n, n)
        return irk.fit(model, target, OPTIMIZERS["sgd"](model.parameters()), steps=2, progress=False, **settings).tier

    assert tier_of(2, None).startswith("lanes") and tier_of(2, 16).startswith("lanes")
    assert tier_of(10, None).startswith("core: an estimated") and tier_of(20, 1).startswith("core")
    assert tier_of(2, None, tier="core") == "core: as asked"
    with pytest.raises(ValueError, match="unknown tier 'fast'; known are None, 'lanes', 'core', 'grid'"):
        tier_of(2, None, tier="fast")


@pytest.mark.parametrize("trials", [None, 1, 2, 5])
def test_every_tier_gives_the_same_bits(trials: int | None, threads: Callable[[int], None]) -> None:
    """By trials or by steps over threads, more of them than trials and fewer."""
    ends, served = [], set()
    for tier, count in (("lanes", 1), ("core", 1), ("core", 3), ("grid", 1), ("grid", 2), ("grid", 3)):
        threads(count)
        model = irk.nn.MatrixChain(9, 8, 3, trials=trials, init_scale=0.3, seed=0)
        at = torch.cartesian_prod(torch.arange(9), torch.arange(8))[::3]
        observed = irk.Observed(at, torch.linspace(-1, 1, len(at)), (9, 8))
        run = irk.fit(model, observed, irk.optim.GroupRMSprop(model.parameters()), steps=20, tier=tier, progress=False)
        served.add(run.tier)
        ends.append([factor.detach().clone() for factor in model.factors])
    assert {"core: as asked", "grid: as asked"} < served
    assert all(torch.equal(a, b) for other in ends[1:] for a, b in zip(ends[0], other))


def test_a_large_trial_alone_is_for_the_grid(threads: Callable[[int], None]) -> None:
    model = irk.nn.MatrixChain(90, 90, 3, seed=0)
    for count, name in ((1, "core"), (2, "grid")):
        threads(count)
        run = irk.fit(model, torch.zeros(90, 90), torch.optim.SGD(model.parameters(), lr=0.1), steps=1, progress=False)
        assert run.tier.startswith(f"{name}: a step of one trial has")


@pytest.mark.filterwarnings("ignore:irk.fit takes its steps in an ordinary Python loop")
def test_a_tier_needs_native_steps() -> None:
    model = model_of("ij,jk,kl->il")
    with pytest.raises(ValueError, match="tier='lanes' needs native steps, but Rprop"):
        irk.fit(model, dense(model), torch.optim.Rprop(model.parameters()), steps=1, tier="lanes", progress=False)
    ordinary = irk.fit(model, dense(model), torch.optim.Rprop(model.parameters()), steps=1, progress=False)
    assert ordinary.tier == "none: steps in a Python loop"
    half = model_of("ij,jk,kl->il", dtype=torch.bfloat16)
    with pytest.raises(ValueError, match=r"tier='core' needs native steps, but the factors are torch.bfloat16 on cpu"):
        irk.fit(half, dense(half), OPTIMIZERS["sgd"](half.parameters()), steps=1, tier="core", progress=False)
    assert irk.fit(half, dense(half), OPTIMIZERS["sgd"](half.parameters()), steps=1,
                   progress=False).tier.startswith("none")
