"""Completions: unfoldings, the split, baselines against known answers, chains, output files and the picture."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from irkernels.complete import Options, complete, output, report
from irkernels.complete.baselines import column_mean, global_mean, hard_impute, row_mean, soft_impute
from irkernels.complete.entries import Entries, Scale, split
from irkernels.complete.folding import chosen, flattened, natural, unchanged, unfolded
from irkernels.complete.models import MODELS
from irkernels.io import DataError, read
from irkernels.io.array import from_dense

QUICK = Options(depths=(1, 2), steps=300, init_scales=(1e-2, 1e-3), heldout=0.3, lr=0.05)


def low_rank(rows=40, columns=30, rank=2, seed=0):
    generator = np.random.default_rng(seed)
    return generator.standard_normal((rows, rank)) @ generator.standard_normal((rank, columns))


def every_entry(matrix):
    return Entries(np.argwhere(np.ones(matrix.shape)), matrix.ravel())


def parts_of(matrix, heldout=0.4, seed=0):
    return split(every_entry(matrix), heldout, 0.15, seed)


# ---- unfolding


@pytest.mark.parametrize("rows", [(0,), (1,), (0, 2), (1, 3), (0, 1, 3)])
def test_refolding_undoes_unfolding(rows):
    tensor = np.arange(120.0).reshape(2, 3, 4, 5)
    at = np.argwhere(np.ones(tensor.shape))
    for folding in (unfolded(tensor.shape, rows), unchanged(tensor.shape), flattened(tensor.shape)):
        folded = np.full(folding.shape, np.nan)
        folded[tuple(folding.positions(at).T)] = tensor.ravel()
        np.testing.assert_array_equal(folded, folding.fold(tensor))
        np.testing.assert_array_equal(folding.refold(folded), tensor)


def test_unfolding_keeps_the_order_of_axes():
    tensor = np.random.default_rng(0).standard_normal((2, 3, 4))
    unfolding = unfolded(tensor.shape, (0, 2))
    np.testing.assert_array_equal(unfolding.refold(tensor.transpose(0, 2, 1).reshape(8, 3)), tensor)
    assert str(unfolding) == "0,2|1" and unfolding.shape == (8, 3)


def test_the_natural_unfolding_is_square_and_cuts_across_missing_blocks():
    full = np.ones((6, 5, 6))
    assert natural(full.shape, np.argwhere(full)).shape == (6, 30)
    known = np.ones((4, 4, 4, 4), dtype=bool)
    assert str(natural(known.shape, np.argwhere(known))) == "0,1|2,3"
    known[2, 3] = False  # a row of 0,1|2,3 of which nothing is known
    assert str(natural(known.shape, np.argwhere(known))) == "0,2|1,3"


def test_the_natural_unfolding_of_a_high_order_is_found_without_trying_all():
    known = np.random.default_rng(0).integers(0, 2, (500, 26))
    assert natural((2,) * 26, known).shape == (2**13, 2**13)


@pytest.mark.parametrize("text", ["", "a", "0,1,2", "3", "-1", "0;1"])
def test_bad_unfoldings_are_named(text):
    with pytest.raises(DataError, match="--unfold"):
        chosen((2, 3, 4), np.zeros((1, 3), int), text)


# ---- split and scale


def test_split_is_a_partition_that_the_seed_repeats():
    known = every_entry(low_rank())
    parts = split(known, 0.25, 0.1, seed=3)
    assert len(parts.heldout) == 300 and len(parts.validation) == 90 and len(parts.train) == 810
    keys = [entries.rows * 30 + entries.columns for entries in (parts.train, parts.validation, parts.heldout)]
    assert len(np.unique(np.concatenate(keys))) == 1200
    np.testing.assert_array_equal(known[parts.heldout_at].values, parts.heldout.values)
    np.testing.assert_array_equal(split(known, 0.25, 0.1, seed=3).heldout_at, parts.heldout_at)
    assert not np.array_equal(split(known, 0.25, 0.1, seed=4).heldout_at, parts.heldout_at)


def test_splits_without_entries_are_errors():
    two = every_entry(np.ones((1, 2)))
    with pytest.raises(DataError, match="2 known entries are too few"):
        split(two, 0.5, 0.5, 0)
    with pytest.raises(DataError, match="--heldout must be between 0 and 1"):
        split(two, 1.0, 0.5, 0)


def test_scale_centres_and_restores():
    train = every_entry(3 + 5 * low_rank())
    scale = Scale.of(train)
    reduced = scale.reduced(train)
    assert abs(reduced.values.mean()) < 1e-12 and abs(reduced.values.std() - 1) < 1e-12
    np.testing.assert_allclose(scale.restored(reduced.values), train.values)
    assert Scale.of(every_entry(np.ones((2, 2)))).spread == 1.0


# ---- baselines


def test_means_are_means_of_the_training_entries_only():
    train = Entries(np.array([[0, 0], [0, 1], [1, 0]]), np.array([1.0, 3.0, 5.0]))
    assert (global_mean((3, 3), train).matrix == 3.0).all()
    np.testing.assert_array_equal(row_mean((3, 3), train).matrix[:, 0], [2.0, 5.0, 3.0])
    np.testing.assert_array_equal(column_mean((3, 3), train).matrix[0], [3.0, 3.0, 3.0])
    np.testing.assert_array_equal(
        column_mean((3, 2), Entries(train.at, np.array([1.0, 3.0, 7.0]))).matrix[0], [4.0, 3.0]
    )


def test_hard_impute_finds_an_exact_low_rank_matrix():
    matrix = low_rank(rank=3) + 7.0
    parts = parts_of(matrix)
    found = hard_impute(matrix.shape, parts.train, parts.validation)
    assert parts.heldout.rmse(found.matrix) < 0.01 * matrix.std()


def test_soft_impute_solves_its_problem():
    """At a minimum of half the squares + lambda ||W||_*: ||residual||_2 = lambda, <residual, W> = lambda ||W||_*."""
    matrix = low_rank(rank=2) + 0.3 * low_rank(rank=20, seed=1)
    parts = parts_of(matrix)
    found = soft_impute(matrix.shape, parts.train, parts.validation)
    scale = Scale.of(parts.train)
    reduced = scale.reduced(parts.train)
    solution = (found.matrix - scale.centre) / scale.spread
    residual = np.zeros(matrix.shape)
    residual[reduced.rows, reduced.columns] = reduced.values - solution[reduced.rows, reduced.columns]
    weight = found.chosen["lambda"]
    assert np.linalg.norm(residual, 2) == pytest.approx(weight, rel=0.02)
    assert np.sum(residual * solution) == pytest.approx(weight * np.linalg.norm(solution, "nuc"), rel=0.02)


def test_baselines_choose_by_validation_and_never_see_the_heldout_entries():
    matrix = low_rank() + 0.5 * np.random.default_rng(2).standard_normal((40, 30))
    parts = parts_of(matrix)
    for method in (hard_impute, soft_impute):
        found = method(matrix.shape, parts.train, parts.validation)
        assert parts.validation.rmse(found.matrix) < parts.validation.rmse(
            global_mean(matrix.shape, parts.train).matrix
        )
        assert 0 < found.chosen["rank"] < 30


# ---- chains


@pytest.fixture(scope="module")
def completed():
    array = 10 + 3 * low_rank()
    array[4:7, 5:9] = np.nan
    return complete(from_dense(array, "made"), QUICK)


def test_a_chain_completes_a_low_rank_matrix(completed):
    parts = completed.parts
    shallow, deep = completed.fits
    spread = parts.heldout.values.std()
    assert parts.heldout.rmse(deep.matrix) < 0.1 * spread
    assert parts.heldout.rmse(shallow.matrix) > 0.9 * spread  # depth 1 cannot move what it does not see
    assert completed.best is deep


def test_the_kept_factors_are_those_of_the_best_recorded_step(completed):
    for fit in completed.fits:
        curve, record = fit.curve, int(np.searchsorted(fit.curve["steps"], fit.step))
        assert curve["validation"][record] <= curve["validation"].min() * (1 + 2e-4)
        for name in ("train", "validation", "heldout"):
            assert getattr(completed.parts, name).rmse(fit.matrix) == pytest.approx(curve[name][record], rel=1e-3)


def test_a_depth_ends_when_patience_does():
    noise = np.random.default_rng(0).standard_normal((20, 20))
    done = complete(from_dense(noise, "noise"), Options(depths=(2,), steps=100_000, patience=50, init_scales=(1e-1,)))
    ended = done.fits[0]
    assert ended.steps == ended.step + 50 == ended.curve["steps"][-1] and not ended.interrupted


def test_the_same_seed_gives_the_same_completion_and_another_does_not():
    array = from_dense(low_rank(12, 10), "made")
    options = Options(depths=(2,), steps=50, init_scales=(1e-2,))
    first, again = (complete(array, options).fits[0].matrix for _ in range(2))
    np.testing.assert_array_equal(first, again)
    other = complete(array, Options(depths=(2,), steps=50, init_scales=(1e-2,), seed=1)).fits[0].matrix
    assert not np.array_equal(first, other)


def test_known_entries_stay_and_missing_ones_are_filled(completed):
    given = completed.array.dense()
    filled = completed.completed()
    missing = np.isnan(given)
    assert missing.sum() == 12
    np.testing.assert_array_equal(filled[~missing], given[~missing])
    np.testing.assert_array_equal(filled[missing], completed.prediction()[missing])


def test_heldout_entries_are_filled_where_nothing_is_missing():
    tensor = low_rank(12, 12).reshape(12, 3, 4)
    done = complete(from_dense(tensor, "made"), Options(depths=(2,), steps=25, init_scales=(1e-2,)))
    mask = done.heldout_mask()
    assert mask.sum() == len(done.parts.heldout) == round(0.2 * 144)
    np.testing.assert_array_equal(done.completed()[mask], done.prediction()[mask])
    np.testing.assert_array_equal(done.completed()[~mask], tensor[~mask])
    assert done.parts.heldout.rmse(done.best.matrix) == pytest.approx(
        np.sqrt(np.mean((done.prediction() - tensor)[mask] ** 2))
    )


def test_vectors_and_giants_are_refused():
    with pytest.raises(DataError, match="at least two rows and two columns"):
        complete(from_dense(np.ones((1, 9)), "row"))
    known = from_dense(np.ones((2, 2)), "huge")
    giant = type(known)(known.at, known.values, (2**20, 2**20), "huge")
    with pytest.raises(DataError, match="1,099,511,627,776 entries; the largest is"):
        complete(giant)


# ---- the other families


def made_tensor(shape=(9, 8, 7), rank=2, seed=0):
    generator = np.random.default_rng(seed)
    factors = [generator.standard_normal((extent, rank)) for extent in shape]
    letters = "abcdefgh"[: len(shape)]
    return np.einsum(",".join(letter + "z" for letter in letters) + "->" + letters, *factors)


@pytest.mark.parametrize("model", ["cp", "tucker", "tt", "ht"])
def test_a_family_completes_a_tensor_of_low_rank_that_it_is_fitted_to_as_it_is(model):
    array = from_dense(5 + 2 * made_tensor(), "made")
    options = Options(model=model, depths=(1,), ranks=(4,), steps=600, init_scales=(1e-2, 1e-3), heldout=0.3, lr=0.05)
    done = complete(array, options)
    assert done.fitted == (9, 8, 7) and done.ranks == 4
    assert done.parts.heldout.rmse(done.best.matrix) < 0.5 * done.parts.heldout.values.std()
    mask, prediction = done.heldout_mask(), done.prediction()
    error = np.sqrt(np.mean((prediction - array.dense())[mask] ** 2))
    assert error == pytest.approx(done.parts.heldout.rmse(done.best.matrix))


@pytest.mark.parametrize("order", [2, 3, 5])
@pytest.mark.parametrize("model", MODELS)
def test_every_model_takes_every_order_with_its_default_ranks_and_depths(model, order):
    array = from_dense(made_tensor((4, 3, 2, 3, 2)[:order]), "made")
    done = complete(array, Options(model=model, steps=25, init_scales=(1e-2,), heldout=0.3))
    assert [fit.depth for fit in done.fits] == list(MODELS[model].depths)
    assert done.prediction().shape == array.shape and np.isfinite(done.prediction()).all()
    assert f"{model}, depth" in report.table(done)
    found = report.summary(done, "a", "b", 1.0)["model"]
    assert found["name"] == model and found["shape"] == list(done.fitted)


def test_a_hadamard_chain_says_nothing_of_what_it_has_not_seen():
    done = complete(from_dense(3 + made_tensor(), "made"), Options(model="hadamard", steps=200, init_scales=(1e-4,)))
    mean = done.parts.heldout.rmse(done.baselines["global_mean"].matrix)
    assert done.parts.heldout.rmse(done.best.matrix) == pytest.approx(mean, rel=1e-2)
    assert MODELS["hadamard"].note


@pytest.mark.parametrize(
    ("model", "ranks", "depths", "message"),
    [
        (
            "tucker",
            (2, 2),
            (1,),
            "--model tucker with 3 axes, rank \\(2, 2\\), depth 1: ranks must have 3 entries, got 2",
        ),
        ("tt", (2, 2, 2), (1,), "ranks must have 2 entries, got 3"),
        ("cp", (2, 3, 4), (1,), "--model cp .* rank must be an integer"),
        ("chain", (2, 3), (2,), "a chain of depth 2 has 1 inner sizes, got 2"),
        ("chain", None, (2, 0), "depth must be at least 1, got 0"),
        ("hadamard", (2,), (1,), "--rank: --model hadamard has no rank"),
        ("parafac", None, None, "no model 'parafac'; there are chain, hadamard, cp, tucker, tt, ht"),
    ],
)
def test_ranks_that_do_not_fit_are_named_before_anything_is_fitted(model, ranks, depths, message):
    said = []
    with pytest.raises(DataError, match=message):
        complete(from_dense(made_tensor(), "made"), Options(model=model, ranks=ranks, depths=depths), said.append)
    assert not said


@pytest.mark.parametrize("shape", [(1, 5), (64, 12, 10, 60), (300, 300, 300), (2,) * 20])
def test_default_ranks_are_what_the_array_can_have_and_no_more_than_a_step_affords(shape):
    sizes = [int(np.prod(shape[:cut], dtype=float)) for cut in range(1, len(shape))]
    core, bonds, one = (MODELS[name].ranks(shape) for name in ("tucker", "tt", "cp"))
    assert all(rank <= extent for rank, extent in zip(core, shape)) and np.prod(core, dtype=float) <= max(
        2**14, 2 ** len(shape)
    )
    assert all(rank <= min(left, np.prod(shape, dtype=float) / left, 32) for rank, left in zip(bonds, sizes))
    assert 1 <= one <= 64


# ---- report, output, picture


def test_the_summary_is_plain_json_with_the_promised_keys(completed):
    summary = json.loads(json.dumps(report.summary(completed, "a.npy", "a.png", 1.0), allow_nan=False))
    assert list(summary) == ["rmse_train", "rmse_heldout", "baselines", "model", "output", "picture", "seconds"]
    assert set(summary["baselines"]) == {"global_mean", "row_mean", "column_mean", "hard_impute", "soft_impute"}
    assert [depth["depth"] for depth in summary["model"]["depths"]] == [1, 2]
    assert summary["rmse_heldout"] == summary["model"]["depths"][1]["rmse_heldout"]


def test_the_table_has_a_line_for_every_method_and_marks_the_choice(completed):
    table = report.table(completed)
    for name in ("global-mean", "soft-impute", "chain, depth 1", "chain, depth 2"):
        assert sum(name in line for line in table.splitlines()) >= 1
    assert next(line for line in table.splitlines() if "<- chosen" in line).startswith("chain, depth 2")


def test_written_arrays_read_back(completed, tmp_path):
    assert output.write(completed, tmp_path / "a.npy") == [tmp_path / "a.npy"]
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), completed.completed())
    for name in ("a.tns", "a.tns.gz"):
        assert output.write(completed, tmp_path / name) == [tmp_path / name]
        np.testing.assert_array_equal(read(tmp_path / name).dense(), completed.completed())
    output.write(completed, tmp_path / "a.npz")
    archive = np.load(tmp_path / "a.npz")
    np.testing.assert_array_equal(archive["prediction"], completed.prediction())
    assert archive["heldout"].sum() == len(completed.parts.heldout)


def test_output_names_are_checked_before_the_work(tmp_path):
    for path in (tmp_path / "a.txt", tmp_path / "none" / "a.npy"):
        with pytest.raises(DataError, match="--out"):
            output.check_output(path)
    with pytest.raises(DataError, match="--picture"):
        output.check_picture(tmp_path / "a.jpeg")


@pytest.mark.parametrize(
    ("source", "stem"), [("tensorly:il2", "il2"), ("a/b.c.csv", "b.c"), ("x.tns.gz", "x"), ("u.data", "u")]
)
def test_outputs_are_named_after_the_source(source, stem):
    assert output.stem(source) == stem


def test_a_picture_of_a_matrix_and_of_an_image(completed, tmp_path):
    pytest.importorskip("matplotlib")
    image = pytest.importorskip("PIL.Image")
    from irkernels.complete.picture import draw

    draw(completed, tmp_path / "a.png")
    pixels = np.asarray(image.open(tmp_path / "a.png").convert("RGB"))
    assert min(pixels.shape[:2]) > 800 and len(np.unique(pixels.reshape(-1, 3), axis=0)) > 100

    ramp = np.add.outer(np.arange(16.0), np.arange(12.0))[:, :, None] * np.array([8.0, 4.0, 2.0])
    missing = np.zeros(ramp.shape, dtype=bool)
    missing[3:6, 3:6] = True
    done = complete(
        from_dense(ramp, "ramp.png", missing, image=True),
        Options(depths=(2,), steps=100, init_scales=(1e-2,), dtype=torch.float64),
    )
    draw(done, tmp_path / "b.png")
    assert (tmp_path / "b.png").stat().st_size > 10_000
    npy, png = output.write(done, tmp_path / "c.npy")
    assert np.asarray(image.open(png)).shape == (16, 12, 3)
    assert np.load(npy).min() >= 0 and np.load(npy).max() <= 255
