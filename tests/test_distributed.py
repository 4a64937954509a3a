"""Two gloo ranks against one process: trials split over ranks bit for bit, observations split over ranks to 1e-12."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

from irkernels import Entry, Observed, Running, Stop, fit
from irkernels.nn import MatrixChain
from irkernels.optim import GroupRMSprop

pytestmark = pytest.mark.skipif(not torch.distributed.is_available(), reason="this torch has no torch.distributed")
F64 = torch.float64
AT = torch.cartesian_prod(torch.arange(4), torch.arange(5))[::2]
VALUES = torch.linspace(-1, 1, len(AT), dtype=F64)
WEIGHTS = torch.rand(3, len(AT), generator=torch.Generator().manual_seed(2), dtype=F64)

_RANK = """
import sys, torch
sys.path.insert(0, {tests!r})
import torch.distributed as dist
dist.init_process_group("gloo", init_method="file://{folder}/meet", rank=int(sys.argv[1]), world_size=2)
from test_distributed import all_cases
torch.save(all_cases(int(sys.argv[1]), {folder!r}), "{folder}/" + sys.argv[1])
dist.destroy_process_group()
"""


def trials_case(kind, trials, **options):
    """A model, its run and its optimizer's state: rates at which some trials stop early and one diverges."""
    model = MatrixChain(4, 5, 3, trials=trials, init_scale=0.5, seed=0, dtype=F64)
    if kind == "momentum":
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        options["lr"] = [0.05 * (t + 1) if t != 2 else 1e3 for t in range(trials)]
    else:
        optimizer = GroupRMSprop(model.parameters(), lr=0.01, trials=trials)
    corner = {"corner": lambda m: m()[..., 0, 0]}
    record = ["loss", "singular_values", Running("min", Entry(0, 0)), corner]
    run = fit(
        model, Observed(AT, VALUES, (4, 5)), optimizer, record=record, record_every=7, stop=Stop(0.02, every=3),
        progress=False, **{"steps": 200, **options},
    )  # fmt: skip
    return plain(run, model), list(optimizer.state_dict()["state"].values())


def plain(run, model):
    return {
        **run.metrics, "steps": run.steps, "stopped_at": run.stopped_at, "reason": run.reason,
        "parameters": [p.detach().clone() for p in model.parameters()],
    }  # fmt: skip


def momentum(parameters):
    return torch.optim.SGD(parameters, lr=0.05, momentum=0.5)


def observations_case(loss, weights, optimizer=momentum, keep=slice(None), **options):
    model = MatrixChain(4, 5, 2, trials=3, init_scale=0.5, seed=0, dtype=F64)
    data = Observed(AT[keep], VALUES[keep], (4, 5), WEIGHTS[:, keep] if weights else None)
    run = fit(
        model, data, optimizer(model.parameters()), loss=loss, record=["loss", Running("max", "loss")], record_every=5,
        progress=False, **{"steps": 30, **options},
    )  # fmt: skip
    return plain(run, model)


OBSERVED = {
    "mse": ("mse", False), "weighted mse": ("mse", True), "half_sse": ("half_sse", True), "l1": ("l1", False),
    "huber": ("huber", True),
}  # fmt: skip
TRIALS = {"momentum": ("momentum", 5), "group_rmsprop": ("group_rmsprop", 3), "more ranks than trials": ("momentum", 1)}


def adam(parameters):
    return torch.optim.Adam(parameters, lr=0.01)


def fourth_powers(W):
    return 0.01 * W.pow(4).sum((-2, -1))


PENALTIES = dict(ridge=[0.0, 0.02, 0.3], penalty=fourth_powers)


def all_cases(rank, folder):
    """What one rank does; the second rank of the observations has the smaller part."""
    keep = [slice(0, 7), slice(7, None)][rank]
    found = {name: trials_case(*case, distributed="trials") for name, case in TRIALS.items()}
    file = f"{folder}/run.pt"
    trials_case("momentum", 5, steps=50, distributed="trials", checkpoint=file)
    found["resumed"] = trials_case("momentum", 5, distributed="trials", resume=file)
    for name, case in OBSERVED.items():
        found[name] = observations_case(*case, keep=keep, distributed="observations")
    stop = Stop(0.3, every=1)
    found["adam"] = observations_case("mse", False, adam, keep=keep, distributed="observations", stop=stop)
    found["penalties"] = observations_case("mse", True, keep=keep, distributed="observations", **PENALTIES)
    errors = []
    for wrong in (dict(steps=10 + rank), dict(distributed="trials", steps=10), dict(batch_size=2)):
        try:
            observations_case("mse", False, keep=keep, **{"distributed": "observations", **wrong})
        except ValueError as error:
            errors.append(str(error))
    found["errors"] = errors
    return found


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    """What both ranks have found."""
    folder = os.fspath(tmp_path_factory.mktemp("ranks"))
    script = _RANK.format(tests=os.path.dirname(__file__), folder=folder)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    started = [subprocess.Popen([sys.executable, "-c", script, str(rank)], env=environment) for rank in range(2)]
    try:
        assert [process.wait(timeout=300) for process in started] == [0, 0]
    finally:
        for process in started:
            process.kill()
            process.wait()
    return [torch.load(f"{folder}/{rank}", weights_only=False) for rank in range(2)]


def same(a, b):
    if isinstance(a, torch.Tensor):
        return torch.equal(a.nan_to_num(nan=7e77), b.nan_to_num(nan=7e77)) and a.dtype == b.dtype
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


@pytest.mark.parametrize("name", [*TRIALS, "resumed"])
def test_trials_split_over_ranks_are_those_of_one_process(ranks, name):
    expected, state = trials_case(*TRIALS.get(name, TRIALS["momentum"]))
    for found in ranks:
        actual, other = found[name]
        assert actual.keys() == expected.keys()
        for key, value in expected.items():
            assert same(actual[key], value), key
        assert same(other, state)
    if name == "momentum":
        assert {"converged", "diverged", "steps"} <= {*expected["reason"]} or len({*expected["reason"]}) > 1


@pytest.mark.parametrize("name", OBSERVED)
def test_observations_split_over_ranks_are_those_of_one_process(ranks, name):
    expected = observations_case(*OBSERVED[name])
    for found in ranks:
        for key in ("loss", "max loss", "parameters"):
            torch.testing.assert_close(found[name][key], expected[key], rtol=1e-12, atol=1e-14)
    assert same(ranks[0][name], ranks[1][name])


@pytest.mark.filterwarnings("ignore:irk.fit takes its steps in an ordinary")
def test_any_optimizer_steps_over_ranks(ranks):
    expected = observations_case("mse", False, adam, stop=Stop(0.3, every=1))
    assert torch.equal(ranks[0]["adam"]["stopped_at"], expected["stopped_at"])
    torch.testing.assert_close(ranks[1]["adam"]["parameters"], expected["parameters"], rtol=1e-10, atol=1e-12)
    assert min(expected["stopped_at"].tolist()) < 30


@pytest.mark.filterwarnings("ignore:irk.fit takes its steps in plain torch")
def test_penalties_count_once_over_ranks(ranks):
    expected = observations_case("mse", True, **PENALTIES)
    assert not torch.allclose(expected["loss"], observations_case("mse", True)["loss"])
    for found in ranks:
        for key in ("loss", "max loss", "parameters"):
            torch.testing.assert_close(found["penalties"][key], expected[key], rtol=1e-12, atol=1e-14)


def test_ranks_that_differ_say_so(ranks):
    for found in ranks:
        assert "distributed: steps is 10 on rank 0, but 11 on rank 1" in found["errors"][0]
        assert "distributed: data is observed 7 of" in found["errors"][1]
        assert "batch_size= is of one process" in found["errors"][2]


def test_what_cannot_be_distributed_is_said():
    with pytest.raises(ValueError, match="distributed must be None, 'trials' or 'observations', got 'both'"):
        observations_case("mse", False, distributed="both")
    with pytest.raises(RuntimeError, match="needs a process group: start with torchrun"):
        observations_case("mse", False, distributed="trials")
