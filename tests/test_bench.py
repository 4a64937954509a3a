"""Every case of the benchmarks once, at tiny size and untimed: all peers of a row compute the same thing."""

from __future__ import annotations

import importlib.util
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import irkernels as irk

# last on the path: the checkout's own source tree must not hide an installed irkernels
sys.path.append(str(Path(__file__).resolve().parent.parent))
opt_einsum = pytest.importorskip("opt_einsum", reason="bench counts arithmetic with opt_einsum")

from bench import cost, families, inputs, keep, large, report, table  # noqa: E402
from bench.layer_peers import LAYER_PEERS, LINEAR, MODES, REBUILT, STEPS  # noqa: E402
from bench.layers import LAYERS, Layer, low_rank, tensor_train, tucker  # noqa: E402
from bench.layers import cp as cp_layer  # noqa: E402
from bench.measure import QUICK, Measurement, side_by_side  # noqa: E402
from bench.peer import Absent, Peer  # noqa: E402
from bench.peers import CALL_PEERS, COMPILED, EINSUM, OPERATOR_PEERS, OWN  # noqa: E402
from bench.plain import ROWS as PLAIN  # noqa: E402
from bench.plot import Curve, plot_sweep  # noqa: E402
from bench.sizes import SIZES  # noqa: E402
from bench.tensor_peers import TENSOR_PEERS  # noqa: E402
from bench.training_peers import LEARNING_RATE, TRAINING_PEERS  # noqa: E402
from bench.workers import Failed, Workers  # noqa: E402
from bench.workloads import (  # noqa: E402
    CALLS,
    HIGH_ORDER,
    MANY_TRIALS,
    OPERATORS,
    TENSORS,
    TRAINING,
    Completion,
    Product,
    TensorCompletion,
    chain,
    cp,
)  # fmt: skip

# arithmetic limits worked out by hand, at 117 GFLOP/s on each of two cores, microseconds
_LIMITS = {
    "chain 3 x (100x100)": 51, "64 chains of 3 x (100x100)": 3280, "chain 6 x (32x32)": 4.2,
    "2000x16, 16x16, 16x2000": 1654, "CP order 4, 10, R 1000": 260, "Tucker 100^3, rank 10": 285,
    "TT order 4, 10, rank 8": 2.4, "HT order 4, 8, widths 64": 20,
}  # fmt: skip


def _case(peer: Peer, row: object, mode: str):
    try:
        return peer.case(row, "float64", mode)
    except Absent as reason:
        pytest.skip(str(reason))


def _cases() -> list:
    """Rows with their peers; compiling takes seconds, so that one row with and one without a chain stand for all."""
    pairs = [(CALLS[0], peer) for peer in CALL_PEERS if peer is not COMPILED]
    pairs += [
        (row, peer)
        for row in OPERATORS
        for peer in OPERATOR_PEERS
        if peer is not COMPILED or row in (OPERATORS[0], OPERATORS[-1])
    ]
    pairs += [(row, peer) for row in PLAIN for peer in OPERATOR_PEERS if peer in (EINSUM, OWN)]
    return [pytest.param(row, peer, id=f"{row.name}-{peer.name}") for row, peer in pairs]


@pytest.mark.parametrize("row, peer", _cases())
def test_operator_peers_agree_with_the_reference(row: Product, peer: Peer) -> None:
    row = row.tiny()
    case = _case(peer, row, "gradients")
    case.fresh(5)
    results = case.results(case.run())
    arrays, cotangent = inputs.operands(row, "float64", 5)
    operands = [torch.from_numpy(array) for array in arrays]
    expected = [irk.reference.einsum(row.subscripts, *operands)]
    expected += irk.reference.gradients(row.subscripts, *operands, cotangent=torch.from_numpy(cotangent))
    assert len(results) == len(expected)
    for found, wanted in zip(results, expected):
        np.testing.assert_allclose(found, wanted.numpy(), rtol=1e-10, atol=1e-12)
    value = _case(peer, row, "value")
    value.fresh(5)
    np.testing.assert_allclose(value.results(value.run())[0], expected[0].numpy(), rtol=1e-10, atol=1e-12)


def _gradient_descent(row: Completion, factors: list, steps: int, at: np.ndarray, values: np.ndarray) -> list:
    """By the formula: dL/dF_j = (F_0..F_{j-1})^T G (F_{j+1}..)^T with G = 2 (W - values) / nnz at observed entries."""
    eye = np.eye(row.n)
    for _ in range(steps):
        G = np.zeros((row.n, row.n))
        residual = np.linalg.multi_dot(factors)[at[:, 0], at[:, 1]] - values
        np.add.at(G, (at[:, 0], at[:, 1]), 2 * residual / len(values))
        left = [np.linalg.multi_dot([eye, eye, *factors[:j]]) for j in range(row.depth)]
        right = [np.linalg.multi_dot([*factors[j + 1 :], eye, eye]) for j in range(row.depth)]
        factors = [f - LEARNING_RATE * left[j].T @ G @ right[j].T for j, f in enumerate(factors)]
    return factors


@pytest.mark.parametrize("row", TRAINING, ids=lambda row: row.name)
@pytest.mark.parametrize("peer", TRAINING_PEERS, ids=lambda peer: peer.name)
def test_training_peers_take_the_same_steps(row: Completion, peer: Peer) -> None:
    if row != TRAINING[0] and (peer.name == "torch.compile" or str(MANY_TRIALS) in peer.name):
        pytest.skip("compiling and many trials take seconds: one row stands for all")
    row = row.tiny()
    case = _case(peer, row, "training")
    case.fresh(5)
    results = case.results(case.run())
    assert len(results) == row.depth
    trials = case.units // row.given_steps
    problem = inputs.completing(row, "float64", 5, trials if trials > 1 else None)
    factors = [factor.reshape(trials, row.n, row.n) for factor in problem.factors]
    for trial in range(trials):
        given = [factor[trial] for factor in factors]
        expected = _gradient_descent(row, given, row.given_steps, problem.at, problem.values)
        for found, wanted, start in zip(results, expected, given):
            found = found.reshape(trials, row.n, row.n)[trial]
            np.testing.assert_allclose(found, wanted, rtol=1e-10, atol=1e-13)
            assert not np.array_equal(found, start)


@pytest.mark.parametrize("row", [TENSORS[2], *TENSORS[4:]], ids=lambda row: row.name)
@pytest.mark.parametrize("peer", TENSOR_PEERS, ids=lambda peer: peer.name)
def test_tensor_peers_take_the_same_steps(row: TensorCompletion, peer: Peer) -> None:
    row = row.tiny()
    case = _case(peer, row, "training")
    case.fresh(5)
    results = case.results(case.run())
    problem = inputs.completing_tensor(row, "float64", 5)
    factors, at = [torch.from_numpy(factor) for factor in problem.factors], tuple(problem.at.T)
    for _ in range(case.units):
        W = irk.reference.einsum(row.product.equation, *factors)
        G = torch.zeros_like(W)
        G[at] = 2 * (W[at] - torch.from_numpy(problem.values)) / len(problem.values)
        slopes = irk.reference.gradients(row.product.equation, *factors, cotangent=G)
        factors = [factor - LEARNING_RATE * slope for factor, slope in zip(factors, slopes)]
    for found, wanted, start in zip(results, factors, problem.factors, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-10, atol=1e-13)
        assert not np.array_equal(found, start)


def test_large_completion_takes_eager_pytorchs_steps() -> None:
    row = large.COMPLETIONS[0].tiny()
    (own, observed), (eager, _) = large.problem(row, 5), large.problem(row, 5)
    start = [factor.detach().clone() for factor in own.parameters()]
    large.own_steps(own, observed, 3, 0.1)
    for _ in range(3):
        large.eager_step(eager, observed, 0.1, chunk=8)
    for found, wanted, before in zip(own.parameters(), eager.parameters(), start, strict=True):
        np.testing.assert_allclose(found.detach(), wanted.detach(), rtol=1e-4, atol=1e-6)
        assert not torch.equal(found, before)


def test_large_completion_is_measured_and_kept() -> None:
    row = large.COMPLETIONS[0].tiny()
    found = large.measured(row, 1, 2, 3)
    assert len(found.step) == len(found.once) == 2 and len(found.eager) == 1 and found.peak > row.data_bytes
    # 25 million x 3 rows of 256 bytes, and 4.3
    assert large.COMPLETIONS[1].step_bytes == pytest.approx(23.5e9, rel=0.05)
    assert large.COMPLETIONS[1].data_bytes + large.COMPLETIONS[1].factor_bytes < 2e9


_SMALL_LAYERS = [low_rank(6, 5, 2, 3), tensor_train((2, 3, 2), (3, 1, 2), 2, 3), tucker((2, 3), (3, 2), 2, 3)]


@pytest.mark.parametrize("row", [*_SMALL_LAYERS, cp_layer((2, 3), (4,), 3, 3)], ids=lambda row: row.name)
def test_layer_peers_train_the_same_layer(row: Layer) -> None:
    curves = []
    for peer in LAYER_PEERS:
        if peer is not LINEAR:
            case = _case(peer, row, "eager")
            case.fresh(5)
            case.run()
            curves += case.results(case.run())  # a run starts anew
    assert len(curves) == 3 and curves[0].shape == (STEPS,) and curves[0][0] != curves[0][-1]
    for curve in curves[1:]:
        np.testing.assert_allclose(curve, curves[0], rtol=1e-12)


def test_a_layer_is_the_einsum_of_its_input_and_factors() -> None:
    row = tensor_train((2, 3, 2), (3, 1, 2), 4, 5)
    assert (row.equation, row.weight_equation) == ("Babc,adC,CbeD,Dcf->Bdef", "adC,CbeD,Dcf->abcdef")
    assert row.shapes == [(2, 3, 4), (4, 3, 1, 4), (4, 2, 2)] and row.features == (12, 6)
    assert tucker((2, 3), (3, 2), 2, 3).weight_equation == "CDEF,aC,bD,cE,dF->abcd"
    case = REBUILT.case(row, "float32", "amp")
    assert np.isfinite(case.results(case.run())[0]).all()
    assert len({layer.name for layer in LAYERS}) == len(LAYERS) and set(MODES) == {"eager", "amp", "compiled"}


def test_sizes_lie_between_and_around_those_of_table_a() -> None:
    chains = {dict(row.extents)["a"] for row in SIZES if row.family == "chain" and len(row.shapes) == 3}
    assert min(chains) == 2 and max(chains) == 1023 and sum(n % 2 for n in chains) > 20
    assert len({row.name for row in SIZES}) == len(SIZES) and not {row.name for row in SIZES} & {
        r.name for r in OPERATORS
    }


def test_results_are_kept_one_line_a_row(tmp_path: Path) -> None:
    about = {"machine": "m", "threads": 2, "commit": "c", "date": "d"}
    done = Measurement(chain([3] * 4), {"irkernels": [1e-6, 2e-6, 3.00004e-6], "matmul": [2e-6]})
    rows = report.json_rows("sweep", done, about, mode="value", dtype="float32")
    target = report.Target("fast", 1.0, 0.97)
    path = keep.keep(tmp_path / "new", "sweep", about, rows, [target])
    found = json.loads(path.read_text())
    assert found["environment"] == about and found["targets"][0]["met"] and path.name == "sweep.json"
    assert found["rows"] == [
        {
            "table": "sweep",
            "row": "chain 3 x (3x3)",
            "mode": "value",
            "dtype": "float32",
            "microseconds": {"irkernels": [1.5, 2.0, 2.5], "matmul": [2.0, 2.0, 2.0]},
        }
    ]


def test_the_sweep_is_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    sizes = list(range(1, 129))
    curves = [
        Curve(mode, dtype, trials, sizes, {peer: [100 / n for n in sizes] for peer in ("irkernels", "matmul")})
        for mode in ("value", "gradients")
        for dtype in ("float32", "float64")
        for trials in (None, 64)
    ]
    plot_sweep(curves, "a machine", tmp_path / "sweep.png")
    picture = (tmp_path / "sweep.png").read_bytes()
    assert picture.startswith(b"\x89PNG") and 10_000 < len(picture) < 150_000


@pytest.mark.parametrize("name", _LIMITS)
def test_arithmetic_is_counted_as_the_workloads_page_does(name: str) -> None:
    row = next(row for row in OPERATORS if row.name == name)
    assert 2 * row.multiply_adds / 234e3 == pytest.approx(_LIMITS[name], rel=0.03)


def test_the_pairwise_order_is_the_cheapest() -> None:
    # (2000 x 2) (2 x 2000) (2000 x 2): from the right 2 * 2000 * 2 twice, from the left 2000 * 2000 * 2 twice
    assert cost.multiply_adds("ab,bc,cd->ad", {"a": 2000, "b": 2, "c": 2000, "d": 2}) == 16_000
    assert cp(3, 5, 7).value_multiply_adds == 25 * 7 + 125 * 7
    assert chain([3] * 4, trials=10).multiply_adds == 10 * 3 * 2 * 27


def test_bytes_count_every_tensor_twice() -> None:
    assert chain([10, 20, 30]).bytes(4) == 2 * 4 * (10 * 20 + 20 * 30 + 10 * 30)


@pytest.mark.parametrize("row", [*families.registered_families(), *HIGH_ORDER], ids=lambda row: row.name)
def test_families_are_large_enough_to_time_and_small_enough_to_run(row: Product) -> None:
    elements = sum(int(np.prod(shape)) for shape in [*row.shapes, row.output_shape])
    assert row.value_multiply_adds >= 500_000 and elements <= 6_000_000
    small = row.tiny()
    arrays, _ = inputs.operands(small, "float64", 0)
    expected = opt_einsum.contract(small.subscripts, *arrays, optimize="dp")
    found = irk.einsum(small.subscripts, *map(torch.from_numpy, arrays))
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-10, atol=1e-12 * np.abs(expected).max())


def test_a_ratio_is_taken_round_by_round() -> None:
    done = Measurement(None, {"peer": [1.0, 20.0, 3.0], "own": [1.0, 10.0, 1.0]})
    assert done.ratio("peer", "own")[1] == 2.0
    assert done.best(["peer", "absent"]) == "peer" and done.best(["absent"]) is None


def test_a_target_knows_its_good_side() -> None:
    assert report.Target("share", 0.8, 0.75).met and not report.Target("share", 0.7, 0.75).met
    assert report.Target("us", 3.0, 4.0, at_least=False).met and not report.Target("us", 5.0, 4.0, at_least=False).met


def test_figures_have_three_significant_digits() -> None:
    assert [report.figure(value) for value in (0.01234, 1.0, 12.34, 123.4, 71900.0)] == [
        "0.0123",
        "1.00",
        "12.3",
        "123",
        "71900",
    ]


def test_the_command_prints_a_table_and_writes_json(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    out = tmp_path / "rows.json"
    folder = tmp_path / "results"
    keeping = ["--json", str(out), "--results", str(folder)]
    table.main(["A", "--quick", "--rows", "3 x (4x4)", "--threads", "1", *keeping])
    printed = capsys.readouterr().out
    assert "the best of torch.einsum, torch.compile, multi_dot" in printed and "JAX: " in printed
    assert "largest that this geometric mean could be" in printed
    assert json.loads((folder / "A.json").read_text())["targets"]
    assert "| chain 3 x (4x4)" in printed and "geometric mean" in printed and "Targets" in printed
    rows = json.loads(out.read_text())["rows"]
    own = [row for row in rows if row["table"] == "A" and row["peer"] == "irkernels"]
    assert len(own) == 1 and 0 < own[0]["q25"] <= own[0]["median"] <= own[0]["q75"]
    assert {"machine", "threads", "commit", "date", "multiply_adds", "limit", "bound_by"} <= set(own[0])
    named = {row["peer"] for row in rows if row["table"] == "A"}
    assert {"torch.einsum", "multi_dot", "matmul"} <= named
    assert ("JAX" in named) == (importlib.util.find_spec("jax") is not None)


def test_a_peer_that_fails_costs_a_note_and_never_the_run() -> None:
    matmul = next(peer for peer in CALL_PEERS if peer.name == "matmul")
    wrong = replace(chain([3] * 4, name="wrong"), equation="ab,bc,cd->az")
    with Workers(1) as workers:
        done = side_by_side(workers, "operators", wrong, [matmul], "float32", "gradients", QUICK)
        assert done.seconds == {} and "KeyError" in done.notes["matmul"]
        worker = workers.of(matmul)
        worker._running.terminate()
        with pytest.raises(Failed, match="its process ended while asked to prepare"):
            worker.ask("prepare", "operators/matmul", chain([3] * 4), "float32", "value")
        assert worker.ask("prepare", "operators/matmul", chain([3] * 4), "float32", "value") == ""


@pytest.mark.parametrize(
    "arguments, message", [(["Z"], "unknown table 'Z'"), (["--threads", "0"], "at least 1, got 0")]
)
def test_wrong_arguments_are_named(arguments: list[str], message: str, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit):
        table.main(arguments)
    assert message in capsys.readouterr().err
