"""The command line: exit codes, what goes to which stream, and the shape of --json."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import irkernels
import irkernels.io
from irkernels import cli

pytest.importorskip("matplotlib")

_QUICK = ["--depth", "1", "2", "--steps", "50", "--init-scale", "0.01", "--heldout", "0.3"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    generator = np.random.default_rng(0)
    matrix = generator.standard_normal((15, 2)) @ generator.standard_normal((2, 12))
    matrix[2, 3] = np.nan
    np.save(tmp_path / "small.npy", matrix)
    return tmp_path


def test_complete_writes_its_files_and_a_table(folder, capsys):
    assert cli.main(["complete", "small.npy", *_QUICK]) == 0
    out, err = capsys.readouterr()
    assert "15 x 12, 179 of 180 entries known" in out and "chain, depth 2" in out and "held-out RMSE" in out
    assert "baseline: soft-impute" in err and "depth 2" in err
    completed, given = np.load("small-completed.npy"), np.load("small.npy")
    assert np.isfinite(completed).all() and completed.shape == given.shape
    np.testing.assert_array_equal(completed[~np.isnan(given)], given[~np.isnan(given)])
    assert (folder / "small-report.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_complete_json_is_one_object_and_alone_on_stdout(folder, capfd):
    assert (
        cli.main(["complete", "small.npy", *_QUICK, "--json", "--out", "a.npz", "--picture", "b.svg", "--threads", "1"])
        == 0
    )
    out, err = capfd.readouterr()
    assert out.count("\n") == 1
    got = json.loads(out)
    assert list(got) == ["rmse_train", "rmse_heldout", "baselines", "model", "output", "picture", "seconds"]
    assert got["output"] == "a.npz" and got["picture"] == "b.svg" and got["seconds"] > 0
    assert set(np.load("a.npz").files) == {"completed", "prediction", "heldout"}
    assert (folder / "b.svg").stat().st_size > 1000
    assert err


def test_complete_a_labelled_tensor_with_a_chosen_unfolding(folder, capsys):
    rows = [
        f"{who},{when},{dose},{value + when * dose}"
        for value, who in enumerate(["a", "b", "c"])
        for when in range(4)
        for dose in range(5)
    ]
    (folder / "t.csv").write_text("who,when,dose,response\n" + "\n".join(rows) + "\n")
    assert cli.main(["complete", "t.csv", *_QUICK, "--unfold", "0,1", "--json", "--out", "t.npz"]) == 0
    model = json.loads(capsys.readouterr().out)["model"]
    assert (model["rows"], model["columns"], model["unfold"]) == (12, 5, "0,1|2")
    archive = np.load("t.npz")
    assert archive["completed"].shape == (3, 4, 5) and archive["labels_0"].tolist() == ["a", "b", "c"]


def test_complete_a_tensor_by_a_tensor_family_from_tns_to_tns(folder, capsys):
    lines = [f"{i} {j} {k} {i + j * k}" for i in range(1, 5) for j in range(1, 4) for k in range(1, 4)
             if (i, j, k) != (2, 2, 2)]
    (folder / "t.tns").write_text("\n".join(lines) + "\n")
    arguments = ["complete", "t.tns", "--model", "tucker", "--rank", "2", "3", "2", "--steps", "50", "--heldout", "0.3"]
    assert cli.main([*arguments, "--out", "t.out.tns.gz"]) == 0
    out, _ = capsys.readouterr()
    assert (
        "4 x 3 x 3, 35 of 36 entries known" in out
        and "tucker, depth 1" in out
        and "wrote t.out.tns.gz, t-report.png" in out
    )
    assert irkernels.io.read("t.out.tns.gz").known == 36
    assert cli.main([*arguments, "--json"]) == 0
    model = json.loads(capsys.readouterr().out)["model"]
    assert (model["family"], model["rank"], model["shape"], model["depth"]) == ("Tucker", [2, 3, 2], [4, 3, 3], 1)
    assert cli.main(["complete", "t.tns", "--model", "hadamard", "--steps", "25"]) == 0
    assert "note: a Hadamard chain has weights of its own" in capsys.readouterr().err


def test_help_and_table_name_the_same_models():
    from irkernels.complete.models import MODELS

    assert tuple(MODELS) == cli._MODELS


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["complete", "small.npy", "--model", "tucker", "--rank", "2", "2", "2"], "ranks must have 2 entries, got 3"),
        (["complete", "none.npy"], "none.npy: no such file"),
        (["complete", "bad.tns"], "bad.tns, line 2: expected 3 columns as in line 1, got 2: '1 2'"),
        (["complete", "tensorly:none"], "no data set 'tensorly:none'"),
        (
            ["complete", "small.npy", "--out", "a.txt"],
            "--out a.txt: expected a name that ends in .npy, .npz, .tns or .tns.gz",
        ),
        (["complete", "small.npy", "--picture", "none/a.png"], "the folder none does not exist"),
        (["complete", "small.npy", "--unfold", "5"], "--unfold 5: the array has the axes 0 to 1"),
        (["complete", "small.npy", "--value", "2"], "--value does not apply"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(folder, capsys, arguments, message):
    (folder / "bad.tns").write_text("1 1 2.0\n1 2\n")
    assert cli.main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and message in err


@pytest.mark.parametrize(
    "arguments",
    [[], ["nothing"], ["complete"], ["complete", "a", "--steps", "0"], ["complete", "a", "--heldout", "1"],
     ["complete", "a", "--init-scale", "-1"], ["complete", "a", "--model", "x"], ["complete", "a", "--rank", "0"],
     ["complete", "a", "--seed", "x"], ["reproduce", "E99"],
     ["complete", "a", "--depths", "2"], ["reproduce", "E3", "--trials", "0"], ["reproduce", "E3", "--scale", "huge"]],
)  # fmt: skip
def test_bad_options_are_exit_code_2(arguments, capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main(arguments)
    assert stopped.value.code == 2 and capsys.readouterr().out == ""


def test_reproduce_tells_failure_from_success(folder, capsys, monkeypatch):
    arguments = [
        "reproduce",
        "E3",
        "--steps",
        "10",
        "--trials",
        "1",
        "--dtype",
        "float32",
        "--out",
        "results",
        "--json",
    ]
    assert cli.main(arguments) == 1  # ten steps cannot pass
    got = json.loads(capsys.readouterr().out)
    assert got["experiment"] == "E3" and got["pass"] is False and got["seconds"] > 0
    assert (
        all(list(criterion) == ["name", "value", "bound", "paper", "pass"] for criterion in got["criteria"])
        and len(got["criteria"]) == 6
    )
    assert (folder / "results" / "E3.png").stat().st_size > 10_000

    from irkernels.experiments import e3
    from irkernels.experiments.criteria import Criterion

    monkeypatch.setattr(e3, "criteria", lambda runs: [Criterion("always", 1.0, high=2.0)])
    assert cli.main(arguments[:-1]) == 0
    out = capsys.readouterr().out
    assert "always" in out and "E3 passes" in out


def test_info_is_a_table_or_one_object(capsys, monkeypatch):
    facts = {"version": "1.2", "targets": ["a", "b"], "torch": {"version": "2"}, "cuda_architectures": []}
    monkeypatch.setattr(irkernels, "build_info", lambda: facts, raising=False)
    assert cli.main(["info"]) == 0
    assert "targets             a, b\n" in capsys.readouterr().out
    assert cli.main(["info", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == facts


def test_an_interrupt_is_exit_code_130(folder, capsys, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("irkernels.complete.output.check_output", interrupted)
    assert cli.main(["complete", "small.npy"]) == 130
    assert capsys.readouterr().err == "irkernels: interrupted\n"


def test_python_dash_m(folder):
    environment = {**os.environ, "PYTHONPATH": str(Path(irkernels.__file__).parents[1])}
    command = [sys.executable, "-m", "irkernels", "complete", "none.tns"]
    got = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert got.returncode == 2 and got.stdout == "" and "no such file" in got.stderr and "Traceback" not in got.stderr


def test_constant_data_have_a_report(folder, capsys):
    np.save("constant.npy", np.full((6, 6), 3.0))
    assert cli.main(["complete", "constant.npy", *_QUICK]) == 0
    assert "held-out RMSE" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["reproduce", "E2", "--device", "foo"], "--device foo: "),
        (["reproduce", "E2", "--device", "meta:7:1"], "--device meta:7:1: "),
        (["reproduce", "E2", "--init-std", "paper,1e-3"], "--init-std paper,1e-3: paper stands alone"),
    ],
)
def test_odd_options_are_told(folder, capsys, arguments, said):
    assert cli.main(arguments) == 2
    assert said in capsys.readouterr().err


def test_a_position_beyond_all_integers_is_told(folder, capsys):
    with open("far.tns", "w") as file:
        file.write("1 1 1.0\n99999999999999999999 2 2.0\n")
    assert cli.main(["complete", "far.tns", *_QUICK]) == 2
    assert "far.tns, line 2, column 1: positions end below 2^63" in capsys.readouterr().err


def test_more_threads_than_numbers(folder):
    with pytest.raises(SystemExit):
        cli.main(["info", "--threads", "100000000000"])
