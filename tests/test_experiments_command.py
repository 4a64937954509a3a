"""irkernels reproduce: parameters and sweeps, pages, interruption, exit codes."""

from __future__ import annotations

import json

import pytest
import torch

from irkernels import cli, experiments
from irkernels.experiments import EXPERIMENTS, command, e3, e8, page
from irkernels.experiments.criteria import Criterion
from irkernels.experiments.grid import trials_of
from irkernels.experiments.parameters import parameters_of, sweepable
from irkernels.experiments.session import Session, tag_of

pytest.importorskip("matplotlib")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_help_and_table_name_the_same_experiments():
    assert {name: module.TITLE for name, module in EXPERIMENTS.items()} == cli._EXPERIMENTS


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_says_what_it_is(name):
    module = EXPERIMENTS[name]
    assert module.__doc__.startswith(name) and "Copy this file" in module.__doc__ and module.PAPER
    assert {"trials", "seed", "steps", "dtype"} <= set(module.PARAMETERS) and set(module.QUICK) <= set(
        module.PARAMETERS
    )
    assert sweepable(module)


def test_combinations_are_trials_in_order():
    settings = trials_of(2, scale=(0.1, 0.2), lr=1.0)
    assert [tuple(each.values()) for each in settings.each] == [(0.1, 1.0, 0), (0.1, 1.0, 1), (0.2, 1.0, 0),
                                                                (0.2, 1.0, 1)]
    assert settings.column("scale").tolist() == [0.1, 0.1, 0.2, 0.2]
    assert settings.where(scale=0.2, trial=1).tolist() == [False, False, False, True]
    assert settings.combinations() == [{"scale": 0.1, "lr": 1.0}, {"scale": 0.2, "lr": 1.0}]


def test_parameters_are_read_by_the_kind_of_their_default():
    found = parameters_of(e3, "paper", {"trials": 1, "seed": None},
                          ["--depth", "2,3", "--lr=0.1,0.2", "--init-scale", "1e-2"])
    assert found == {**e3.PARAMETERS, "trials": 1, "depth": (2, 3), "lr": (0.1, 0.2), "init_scale": (0.01,)}
    assert parameters_of(EXPERIMENTS["E1"], "quick", {})["trials"] == 1
    assert parameters_of(EXPERIMENTS["E2"], "paper", {}, ["--init-std", "paper"])["init_std"] == "paper"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--width", "3"], "unknown option --width; this experiment has --depth, --init-scale"),
        (["--depth", "2.5"], "--depth: expected a whole number, got '2.5'"),
        (["--lr", "fast"], "--lr: expected a number, got 'fast'"),
        (["--lr", "nan"], "--lr: expected a finite number"),
        (["--lr"], "--lr: a value is missing"),
        (["--depth", "2", "3"], "unexpected '3'; a list of values has commas"),
        (["--depth", "2,2"], "--depth 2,2: a value is there twice"),
    ],
)
def test_bad_parameters_are_one_line_and_exit_code_2(folder, capsys, words, message):
    assert cli.main(["reproduce", "E3", *words]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and message in err


def test_a_sweep_is_one_fit_where_shapes_agree(folder, capsys):
    arguments = ["reproduce", "E3", "--steps", "4", "--trials", "1", "--depth", "2,3", "--init-scale", "1e-1,1e-2",
                 "--lr", "0.1,0.2"]
    assert cli.main([*arguments, "--json"]) == 1
    got = json.loads(capsys.readouterr().out)
    assert len(got["eager"]) == 2 and len(got["settings"]) == 8  # a fit for each depth, four combinations in each
    alone = e3.run(Session(), (3,), (1e-2,), (0.2,), "distinct", 1, 0, 4, torch.float64).runs[3]
    (row,) = [row for row in got["settings"][4:] if (row["init_scale"], row["lr"]) == (1e-2, 0.2)]
    assert row["error"] == float(alone.final("error")) and row["steps"] == 4
    text = (folder / "E3.md").read_text()
    assert "| init_scale | lr | runs | steps | loss | error |" in text and "depth: 2 to 3" not in text


def test_criteria_of_settings_that_a_sweep_lacks_are_left_out(folder, capsys):
    cli.main(["reproduce", "E3", "--steps", "4", "--trials", "1", "--depth", "2", "--json"])
    assert [each["name"][:8] for each in json.loads(capsys.readouterr().out)["criteria"]] == ["depth 2:"] * 2


def test_e8_passes_and_writes_its_page(folder, capsys):
    assert cli.main(["reproduce", "E8", "--ratio", "0.1,0.5,0.9,1.1,1.4,2.0", "--out", "results"]) == 0
    assert "E8 passes" in capsys.readouterr().out
    results = folder / "results"
    # no checkpoint stays
    assert sorted(path.name for path in results.iterdir()) == ["E8.json", "E8.md", "E8.png", "README.md"]
    text, index = (results / "E8.md").read_text(), (results / "README.md").read_text()
    assert (
        text.startswith("# E8: ")
        and "![E8](E8.png)" in text
        and "| < 1e-08 | pass |" in text
        and "eager PyTorch would take" in text
    )
    assert "| [E8](E8.md) |" in index and "5 of 5" in index and "Criteria not met" not in index
    kept = json.loads((results / "E8.json").read_text())
    assert kept["pass"] and kept["speed-up"] > 0 and kept["steps a second"] > 0 and kept["scale"] == "paper"


def test_e8_criteria_can_fail():
    run = e8.run(Session(), (0.1, 0.9, 1.1, 1.4), 1, 0, 5000, torch.float64)
    assert run.passed and len(run.criteria) == 5
    (only,) = run.runs.values()
    for metric, factor in (("sharpness", 1.05), ("square norm", -1.0), ("l1 norm", 1.01)):
        kept = only.metrics[metric].clone()
        only.metrics[metric].mul_(factor)
        assert not all(each.passed for each in e8.criteria(run.runs))
        only.metrics[metric].copy_(kept)
    assert abs(e8.flow_sharpness() - 14.98751) < 1e-5
    few = e8.run(Session(), (0.1, 2.0), 1, 0, 3, torch.float64)  # neither has come to its end
    assert not few.criteria[0].passed


def test_the_gathering_page_lists_what_was_not_met(tmp_path):
    criteria = [Criterion("good", 1.0, high=2.0).summary(), Criterion("bad | worse", float("nan"), high=2.0,
                                                                      paper="1").summary()]
    summary = {
        "experiment": "E9", "title": "a title", "paper": "a paper", "scale": "quick", "criteria": criteria,
        "notes": ["a note"],
        "parameters": {"depth": (2, 3), "lr": 0.1}, "settings": [{"lr": 0.1, "loss": [0.5, None]}, {"a": 1}],
        "picture": "E9.png",
        "training seconds": 2.5, "steps a second": 1234.5, "eager seconds": 10.0, "speed-up": 4.0,
        "beside eager": "a line",
        "command": "irkernels reproduce E9", "date": "2026-01-01", "machine": "cpu",
    }  # fmt: skip
    page.write(summary, "What it is.", tmp_path)
    text, index = (tmp_path / "E9.md").read_text(), (tmp_path / "README.md").read_text()
    assert "1 of 2" in index and "| [E9](E9.md) | bad \\| worse | not finite | < 2 |" in index
    assert (
        "**fail**" in text and "- a note" in text and "- depth: 2, 3" in text and "| 0.1 | 0.5 to not finite |" in text
    )
    assert "| a |\n| --- |\n| 1 |" in text


def test_an_interrupted_command_goes_on_where_it_was(folder, capsys, monkeypatch):
    arguments = ["reproduce", "E3", "--steps", "40", "--trials", "1", "--depth", "1,2", "--json"]
    cli.main([*arguments, "--out", "whole"])
    whole = json.loads(capsys.readouterr().out)

    class Interrupted(Session):
        def fit(self, name, *positional, **options):
            if name == "depth 2":
                options["steps"], record = 15, options["record_every"]
                options["record_every"] = record
                super().fit(name, *positional, **options)
                raise KeyboardInterrupt
            return super().fit(name, *positional, **options)

    monkeypatch.setattr(command, "Session", Interrupted)
    assert cli.main([*arguments, "--out", "parts"]) == 130
    left = sorted(path.name for path in (folder / "parts").iterdir())
    assert len(left) == 4 and all(name.startswith(".E3-") for name in left)
    monkeypatch.undo()
    monkeypatch.chdir(folder)
    resumed = []
    original = experiments.session.fit

    def fit(*positional, **options):
        resumed.append(options["resume"])
        return original(*positional, **options)

    monkeypatch.setattr(experiments.session, "fit", fit)
    capsys.readouterr()
    cli.main([*arguments, "--out", "parts"])
    got = json.loads(capsys.readouterr().out)
    assert all(resumed) and got["settings"] == whole["settings"] and got["criteria"] == whole["criteria"]
    assert not list((folder / "parts").glob(".*"))


def test_a_session_says_progress_and_hands_an_interrupt_on(tmp_path):
    lines = []

    def say(text):
        lines.append(text)
        raise KeyboardInterrupt

    session = Session(say=say, folder=tmp_path, tag="E3-x")
    with pytest.raises(KeyboardInterrupt):
        e3.run(session, (2,), (1e-3,), (0.1,), "distinct", 1, 0, 2000, torch.float64)
    assert lines[0].startswith("E3-x depth 2: step ") and "left" in lines[0]
    assert list(tmp_path.glob("*.checkpoint"))
    session.clear()
    assert not list(tmp_path.iterdir())


def test_a_damaged_checkpoint_is_begun_anew(tmp_path):
    session = Session(folder=tmp_path, tag="E3-x")
    (tmp_path / ".E3-x-depth-1.checkpoint").write_bytes(b"nonsense")
    outcome = e3.run(session, (1,), (1e-3,), (0.1,), "distinct", 1, 0, 4, torch.float64)
    assert outcome.runs[1].steps[-1] == 4


def test_other_parameters_have_other_checkpoints():
    tags = {tag_of("E3", {"lr": lr, "depth": depth}, device) for lr in (0.1, 0.2) for depth in (1, 2)
            for device in ("cpu", "cuda")}
    assert len(tags) == 8


def test_all_runs_every_experiment_and_gathers_them(folder, capsys, monkeypatch):
    monkeypatch.setattr(command, "EXPERIMENTS", {"E3": e3, "E8": e8})
    monkeypatch.setattr(e3, "QUICK", {"trials": 1, "depth": (2,)})
    assert cli.main(["reproduce", "all", "--scale", "quick", "--steps", "4", "--out", "all", "--json"]) == 1
    out, err = capsys.readouterr()
    assert [each["experiment"] for each in json.loads(out)] == ["E3", "E8"]
    assert "1/2 E3 FAILS" in err and "2/2 E8 FAILS" in err
    index = (folder / "all" / "README.md").read_text()
    assert "[E3](E3.md)" in index and "[E8](E8.md)" in index and "| quick |" in index
    assert cli.main(["reproduce", "all", "--depth", "2"]) == 2
    assert "go with its name" in capsys.readouterr().err
