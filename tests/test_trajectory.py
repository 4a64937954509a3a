"""What irk.fit records, saves, resumes and draws."""

from __future__ import annotations

import math
import os

import pytest
import torch

from irkernels import Observed
from irkernels.nn import MatrixChain
from irkernels.optim import GroupRMSprop
from irkernels.spectrum import effective_rank, singular_values
from irkernels.training import CheckpointError, Stop, Trajectory, fit
from irkernels.training import checkpoint as files

F64 = torch.float64
AT = torch.cartesian_prod(torch.arange(4), torch.arange(5))[::2]
DATA = Observed(AT, torch.linspace(-1, 1, len(AT), dtype=F64), (4, 5))
TRUTH = torch.arange(20, dtype=F64).view(4, 5) / 10
EVERYTHING = [
    "loss",
    "error",
    "gradient_norm",
    "singular_values",
    "effective_rank",
    "product",
    {"corner": lambda m: m()[..., 0, 0]},
]


def chain(trials=None, seed=0, dtype=F64):
    return MatrixChain(4, 5, 2, trials=trials, init_scale=0.5, seed=seed, dtype=dtype)


def run_fit(model, steps, kind="momentum", data=DATA, **options):
    if kind == "momentum":
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    else:
        optimizer = GroupRMSprop(model.parameters(), lr=0.01)
    return fit(model, data, optimizer, steps=steps, progress=False, **options), optimizer


def exactly(a, b):
    assert torch.equal(a.steps, b.steps) and a.metrics.keys() == b.metrics.keys()
    for name, values in a.metrics.items():
        assert torch.equal(values, b.metrics[name]), name
    assert a.reason == b.reason and torch.equal(torch.as_tensor(a.stopped_at), torch.as_tensor(b.stopped_at))


@pytest.mark.parametrize("trials", [None, 3])
def test_metrics_are_those_of_the_model_at_the_recorded_steps(trials):
    lead = () if trials is None else (trials,)
    model = chain(trials)
    run, _ = run_fit(model, 50, record=EVERYTHING, record_every=20, truth=TRUTH)
    assert run.steps.tolist() == [0, 20, 40, 50]
    assert {n: tuple(v.shape) for n, v in run.metrics.items()} == {
        "loss": (4, *lead), "error": (4, *lead), "gradient_norm": (4, *lead), "singular_values": (4, *lead, 4),
        "effective_rank": (4, *lead), "product": (4, *lead, 4, 5), "corner": (4, *lead),
    }  # fmt: skip
    for record, step in enumerate(run.steps.tolist()):
        same = chain(trials)
        run_fit(same, step)
        W = same()
        loss = same.completion_loss(DATA)
        gradients = torch.autograd.grad(loss.sum(), list(same.parameters()))
        expected = {
            "loss": loss,
            "error": ((W - TRUTH) ** 2).flatten(-2).mean(-1),
            "gradient_norm": sum(g.square().flatten(-2).sum(-1) for g in gradients).sqrt(),
            "singular_values": torch.linalg.svdvals(W),
            "product": W,
            "corner": W[..., 0, 0],
        }
        for name, value in expected.items():
            torch.testing.assert_close(run.metrics[name][record], value.detach(), rtol=1e-9, atol=1e-12)
    s = run.metrics["singular_values"]
    p = s / s.sum(-1, keepdim=True)
    torch.testing.assert_close(run.metrics["effective_rank"], torch.exp(-(p * p.log()).sum(-1)))


def test_truth_may_be_held_out_entries():
    held = Observed(torch.tensor([[0, 1], [3, 4]]), torch.tensor([0.5, -0.5], dtype=F64), (4, 5))
    model = chain(2)
    run, _ = run_fit(model, 10, record="error", truth=held)
    torch.testing.assert_close(run.metrics["error"][-1], model.completion_loss(held).detach())


def test_a_stopped_trial_repeats_its_last_metrics():
    clock = iter(range(100))
    model = MatrixChain(4, 5, 2, trials=2, init_scale=[0.5, 1e160], seed=0, dtype=F64)
    run, _ = run_fit(model, 30, record={"time": lambda m: torch.full((2,), float(next(clock)))}, record_every=10)
    assert run.reason == ["steps", "diverged"] and run.stopped_at.tolist() == [30, 0]
    assert run.metrics["time"].tolist() == [[0, 0], [1, 0], [2, 0], [3, 0]]


def test_defaults_record_about_a_thousand_times_and_nothing_unasked():
    run, _ = run_fit(chain(), 2500, record="loss")
    assert run.steps.tolist() == [*list(range(0, 2500, 2)), 2500]
    run, _ = run_fit(chain(), 10)
    assert len(run.steps) == 0 and run.metrics == {}
    run, _ = run_fit(chain(), 0, record="loss")
    assert run.steps.tolist() == [0] and run.reason == "steps"


def test_effective_rank_of_known_spectra():
    W = torch.zeros(4, 6, 5, dtype=F64)
    W[0] = torch.eye(6, 5, dtype=F64)
    W[1, 0, 0] = 3.0
    W[3, 2, 1] = math.inf
    torch.testing.assert_close(effective_rank(W)[:3], torch.tensor([5.0, 1.0, 0.0], dtype=F64))
    assert effective_rank(W)[3].isnan() and singular_values(W)[3].isnan().all()
    assert singular_values(W.to(torch.bfloat16)).dtype == torch.float32
    with pytest.raises(ValueError, match=r"W must be \[\.\.\., rows, cols\], got \[5\]"):
        singular_values(torch.ones(5))
    with pytest.raises(TypeError, match=r"must be real floating-point, got torch.int64"):
        effective_rank(torch.ones(2, 2, dtype=torch.int64))


@pytest.mark.parametrize("kind", ["momentum", "group_rmsprop"])
@pytest.mark.parametrize("trials, dtype", [(None, F64), (3, torch.float32)])
def test_a_resumed_run_is_the_uninterrupted_one_bit_for_bit(tmp_path, kind, trials, dtype):
    file, data = tmp_path / "run.pt", DATA.to(dtype)
    options = dict(
        data=data, record=["loss", "singular_values"], record_every=30, stop=Stop(0.02, patience=2, every=20)
    )
    whole = chain(trials, dtype=dtype)
    expected, optimizer = run_fit(whole, 400, kind, **options)
    # stopped off the record grid, twice
    run_fit(chain(trials, dtype=dtype), 77, kind, checkpoint=file, **options)
    run_fit(chain(trials, seed=8, dtype=dtype), 205, kind, checkpoint=file, resume=file, **options)
    resumed = chain(trials, seed=9, dtype=dtype)
    actual, other = run_fit(resumed, 400, kind, resume=file, **options)
    exactly(actual, expected)
    for p, q in zip(resumed.parameters(), whole.parameters()):
        assert torch.equal(p, q)
        for name, value in optimizer.state[q].items():
            assert torch.equal(other.state[p][name], value), name


def test_resume_after_ctrl_c(tmp_path):
    file, whole, half = tmp_path / "run.pt", chain(2), chain(2)
    options = dict(record=["loss"], record_every=1000)
    sgd = torch.optim.SGD(half.parameters(), lr=0.05, momentum=0.9)

    def press(progress):
        raise KeyboardInterrupt

    cut = fit(half, DATA, sgd, steps=1500, progress=press, checkpoint=file, **options)
    assert cut.reason == ["interrupted"] * 2 and cut.steps[-1] < 1500
    resumed = chain(2, seed=3)
    actual, _ = run_fit(resumed, 1500, resume=file, **options)
    exactly(actual, run_fit(whole, 1500, **options)[0])
    assert torch.equal(resumed(), whole())


def test_a_finished_run_resumes_to_itself_and_further(tmp_path):
    file, model = tmp_path / "run.pt", chain()
    first, _ = run_fit(model, 45, record="loss", record_every=20, checkpoint=file)
    again, _ = run_fit(chain(seed=1), 45, record="loss", resume=file)
    exactly(again, first)
    with pytest.raises(ValueError, match="is at step 45, beyond steps=30"):
        run_fit(chain(), 30, record="loss", resume=file)


def test_another_stop_lets_converged_trials_run_on(tmp_path):
    file = tmp_path / "run.pt"
    first, _ = run_fit(chain(), 2000, stop=Stop(0.1, every=10), checkpoint=file)
    assert first.reason == "converged"
    same, _ = run_fit(chain(), 2000, stop=Stop(0.1, every=10), resume=file)
    assert same.stopped_at == first.stopped_at
    further, _ = run_fit(chain(), 2000, stop=Stop(0.01, every=10), resume=file)
    whole, _ = run_fit(chain(), 2000, stop=Stop(0.01, every=10))
    assert further.stopped_at == whole.stopped_at > first.stopped_at


@pytest.mark.parametrize(
    "change, says",
    [
        (dict(loss="l1"), "was written with loss mse, but now it is l1"),
        (dict(lr=0.3), r"was written with lr \[0.05\], but now it is \[0.3\]"),
        (dict(record=["loss", "product"]), r"was written with record \['loss'\]"),
        (dict(record_every=7), "was written with record_every 20, but now it is 7"),
        (dict(kind="group_rmsprop"), "was written with optimizer kind SGD, but now it is GroupRMSprop"),
        (dict(data=TRUTH), "was written with data observed 10 of"),
        (
            dict(model=MatrixChain(4, 5, 3, dtype=F64)),
            "was written with equation ab,bc->ac, but now it is ab,bc,cd->ad",
        ),
        (dict(model=MatrixChain(4, 5, 2, hidden=3, dtype=F64)), "was written with shapes"),
        (dict(model=chain(2)), "was written with shapes|trials"),
    ],
)
def test_resume_says_what_differs(tmp_path, change, says):
    run_fit(chain(), 40, record=["loss"], record_every=20, checkpoint=tmp_path / "run.pt")
    options = {"record": ["loss"], **change}
    model = options.pop("model", None) or chain()
    before = [p.detach().clone() for p in model.parameters()]
    with pytest.raises(ValueError, match=says):
        run_fit(model, 60, resume=tmp_path / "run.pt", **options)
    assert all(torch.equal(p, b) for p, b in zip(model.parameters(), before))


def test_checkpoints_are_replaced_whole_and_leave_nothing_behind(tmp_path):
    file = tmp_path / "run.pt"
    run_fit(chain(), 50, checkpoint=file, checkpoint_every=0)
    assert os.listdir(tmp_path) == ["run.pt"]
    assert torch.load(file, weights_only=True)["body"]["reached"] == 50
    before = file.read_bytes()
    with pytest.raises(Exception, match="pickle"):
        files.write(file, "Checkpoint", {"unfit": lambda: None})
    assert file.read_bytes() == before and os.listdir(tmp_path) == ["run.pt"]
    with pytest.raises(FileNotFoundError):
        run_fit(chain(), 5, checkpoint=tmp_path / "missing" / "run.pt")
    with pytest.raises(FileNotFoundError):
        run_fit(chain(), 5, resume=tmp_path / "missing.pt")


@pytest.mark.parametrize("trials", [None, 3])
def test_a_trajectory_is_saved_and_loaded(tmp_path, trials):
    run, _ = run_fit(chain(trials), 30, record=EVERYTHING, record_every=10, truth=TRUTH)
    run.save(tmp_path / "t.pt")
    loaded = Trajectory.load(tmp_path / "t.pt")
    exactly(loaded, run)
    assert repr(loaded) == repr(run)
    assert torch.equal(loaded.lr, run.lr) and loaded.shape == run.shape
    (tmp_path / "t.pt").write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match="damaged or not written by irkernels"):
        Trajectory.load(tmp_path / "t.pt")


def test_repr_is_readable():
    run, _ = run_fit(chain(3), 30, record=["loss", "product"], record_every=10)
    assert repr(run).splitlines()[:3] == [
        "Trajectory of ab,bc->ac (4x5), 3 trials, SGD, mse",
        "  ended: 3 completed at step 30",
        "  4 records, steps 0 to 30",
    ]
    assert "loss" in repr(run) and " -> " in repr(run)


@pytest.mark.parametrize("trials", [None, 3, 12])
def test_plot_has_a_labelled_panel_for_each_metric(tmp_path, trials):
    pytest.importorskip("matplotlib")
    run, _ = run_fit(chain(trials), 60, record=EVERYTHING, record_every=5, truth=TRUTH)
    figure = run.plot(tmp_path / "dynamics.png")
    assert (tmp_path / "dynamics.png").read_bytes().startswith(b"\x89PNG")
    labels = [panel.get_ylabel() for panel in figure.axes]
    assert len(labels) == 7 and labels[0] == "loss (mean squared)" and labels[-1] == "corner"
    assert all(panel.get_xlabel() == "step" for panel in figure.axes)
    assert [panel.get_yscale() for panel in figure.axes[:4]] == ["log", "log", "log", "linear"]
    lines = {None: 1, 3: 3, 12: 1}[trials]
    assert len(figure.axes[0].lines) == lines and len(figure.axes[3].lines) == 4
    drawn = figure.axes[3].lines[-1].get_ydata()  # the largest singular value is drawn last, on top
    top = run.metrics["singular_values"][..., 0]
    expected = top if trials is None else top.nanquantile(0.5, dim=1)
    torch.testing.assert_close(torch.as_tensor(drawn), expected)
    one = run.plot(metrics=["loss"], log_steps=True)
    assert len(one.axes) == 1 and one.axes[0].get_xscale() == "log" and (one.axes[0].lines[0].get_xdata() > 0).all()


def test_plot_says_what_it_cannot_draw():
    pytest.importorskip("matplotlib")
    empty, _ = run_fit(chain(), 5)
    with pytest.raises(ValueError, match="nothing was recorded; give fit a record="):
        empty.plot()
    run, _ = run_fit(chain(), 5, record=["loss", {"large": lambda m: torch.zeros(401)}])
    assert len(run.plot().axes) == 1
    with pytest.raises(ValueError, match="large has more than 400 values a record"):
        run.plot(metrics=["large"])
    with pytest.raises(ValueError, match="unknown metric 'lost'; recorded were loss, large"):
        run.plot(metrics=["lost"])
