"""Readers of incomplete arrays: positions, labels, headers, missing values, and errors that say where."""

from __future__ import annotations

import gzip

import numpy as np
import pytest

from irkernels.io import DataError, read, write_tns
from irkernels.io.array import from_dense


def _write(folder, name, text):
    path = folder / name
    path.write_text(text)
    return path


def _entries(array):
    return {tuple(at): value for at, value in zip(array.at.tolist(), array.values.tolist(), strict=True)}


def test_tns_counts_from_one(tmp_path):
    array = read(_write(tmp_path, "a.tns", "# a comment\n1 1 1 2.5\n\n3 2 4 -1e-3  # the corner\n"))
    assert array.shape == (3, 2, 4)
    assert _entries(array) == {(0, 0, 0): 2.5, (2, 1, 3): -1e-3}
    assert np.isnan(array.dense()).sum() == 22


def test_tns_may_be_compressed(tmp_path):
    path = tmp_path / "a.tns.gz"
    path.write_bytes(gzip.compress(b"1 2 3.0\n2 1 4.0\n"))
    assert _entries(read(path)) == {(0, 1): 3.0, (1, 0): 4.0}


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("1 1 2.0\n1 2\n", r"line 2: expected 3 columns as in line 1, got 2: '1 2'"),
        ("1 1 2.0\n\n0 2 1.0\n", r"line 3, column 1: positions start at 1, got 0"),
        ("1 1 2.0\n1 -2 1.0\n", r"line 2, column 2: positions start at 1, got -2"),
        ("1 1 2.0\n1 1.5 1.0\n", r"line 2, column 2: expected a whole number from 1, got '1.5'"),
        ("1 1 2.0\n1 2 two\n", r"line 2: expected a number as the value, got 'two'"),
        ("1 1 inf\n", r"line 1: the value is infinite"),
        ("1 2.0\n", r"line 1: expected at least two coordinates and a value"),
        ("1 1 nan\n", r"no known entry"),
        ("# nothing\n", r"the file is empty"),
    ],
)
def test_tns_errors_name_line_and_content(tmp_path, text, where):
    with pytest.raises(DataError, match=where):
        read(_write(tmp_path, "bad.tns", text))


@pytest.mark.parametrize("seed", range(40))
def test_what_is_written_as_tns_is_read_back(tmp_path, seed):
    draw = np.random.default_rng(seed)
    shape = tuple(int(n) for n in draw.integers(1, 9, size=draw.integers(2, 7)))
    known = draw.random(shape) < draw.choice([0.05, 0.5, 1.0])
    known[tuple(0 for _ in shape)] = True
    scales = 10.0 ** draw.integers(-300, 300, size=shape)
    array = from_dense(np.where(known, draw.standard_normal(shape) * scales, np.nan), "made")
    path = tmp_path / ("a.tns" if seed % 2 else "a.tns.gz")
    write_tns(array, path, ["a comment", "shape: not the first"])
    again = read(path)
    assert again.shape == shape
    np.testing.assert_array_equal(again.at, array.at)
    np.testing.assert_array_equal(again.values, array.values)


def test_a_large_list_is_written_in_pieces(tmp_path):
    draw = np.random.default_rng(0)
    array = from_dense(draw.standard_normal((150, 160)), "made")
    write_tns(array, tmp_path / "a.tns")
    np.testing.assert_array_equal(read(tmp_path / "a.tns").dense(), array.dense())


@pytest.mark.parametrize("shape", ["2 2", "2 1 2", "2 x 2", "2 2 2 2"])
def test_a_stated_shape_must_hold_the_positions(tmp_path, shape):
    path = _write(tmp_path, "a.tns", f"# made by hand\n# shape: {shape}\n1 2 1 0.5\n")
    with pytest.raises(DataError, match=r"line 2: the shape .* does not hold the positions, whose largest are 1 2 1"):
        read(path)


def test_text_that_is_not_text(tmp_path):
    path = tmp_path / "a.tns"
    path.write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(DataError, match="not readable as text"):
        read(path)
    packed = tmp_path / "a.tns.gz"
    packed.write_bytes(b"1 1 2.0\n")
    with pytest.raises(DataError, match="not readable as text"):
        read(packed)


def test_duplicates_are_averaged_with_a_note(tmp_path):
    array = read(_write(tmp_path, "a.tns", "1 1 2.0\n2 1 5.0\n1 1 4.0\n"))
    assert _entries(array) == {(0, 0): 3.0, (1, 0): 5.0}
    assert array.notes == ["1 coordinates are listed more than once; their values are averaged"]


def test_csv_without_header_counts_from_one(tmp_path):
    array = read(_write(tmp_path, "a.csv", "1,1,0.5\n2,3,1.5\n"))
    assert array.shape == (2, 3) and array.labels == (None, None)
    assert _entries(array) == {(0, 0): 0.5, (1, 2): 1.5}


def test_csv_counts_from_zero_if_any_column_has_a_zero(tmp_path):
    array = read(_write(tmp_path, "a.csv", "row,column,value\n0,1,0.5\n2,2,1.5\n"))
    assert array.shape == (3, 3)
    assert _entries(array) == {(0, 1): 0.5, (2, 2): 1.5}


def test_csv_labels_header_quotes_and_missing_values(tmp_path):
    text = 'who,what,score\n"Ann, B.",tea,1\nBob,tea,\nBob,coffee,NaN\nBob,milk,3\n'
    array = read(_write(tmp_path, "a.csv", text))
    assert array.labels == (("Ann, B.", "Bob"), ("coffee", "milk", "tea"))
    assert _entries(array) == {(0, 2): 1.0, (1, 1): 3.0}


def test_csv_ids_far_apart_are_labels_in_numeric_order(tmp_path):
    array = read(_write(tmp_path, "a.csv", "9000000,1,1\n10000,2,2\n70000,1,3\n"))
    assert array.labels == (("10000", "70000", "9000000"), None)
    assert _entries(array) == {(0, 1): 2.0, (1, 0): 3.0, (2, 0): 1.0}


def test_csv_value_column_by_name_and_number(tmp_path):
    path = _write(tmp_path, "a.csv", "value,i,j\n7,1,1\n8,1,2\n")
    for value in ("value", "1"):
        assert _entries(read(path, value=value)) == {(0, 0): 7.0, (0, 1): 8.0}
    with pytest.raises(DataError, match=r"no column 'rating'; the columns are \['value', 'i', 'j'\]"):
        read(path, value="rating")


def test_tsv_and_semicolons(tmp_path):
    assert _entries(read(_write(tmp_path, "a.tsv", "i\tj\tv\nx\ty z\t1\n"))) == {(0, 0): 1.0}
    assert _entries(read(_write(tmp_path, "a.csv", "i;j;v\n1;2;1.5\n"))) == {(0, 1): 1.5}


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("i,j,v\n1,2,3\n1,2\n", r"line 3: expected 3 columns as in line 1, got 2: '1 2'"),
        ("i,j,v\n1,2,3\n1,2,x\n", r"line 3: expected a number as the value, got 'x'"),
        ("i,j,v\n1,,3\n", r"line 2, column 2: the coordinate is empty"),
        ("i,j,v\n", r"nothing but a header"),
        ("", r"the file is empty"),
        ('i,j,v\n"1,2,3\n', r"line 2: "),
    ],
)
def test_csv_errors_name_line_and_content(tmp_path, text, where):
    with pytest.raises(DataError, match=where):
        read(_write(tmp_path, "bad.csv", text))


def test_movielens_from_either_copy(tmp_path):
    ratings = "196\t242\t3\t881250949\n1\t2\t5\t891717742\n"
    group_lens = read(_write(tmp_path, "u.data", ratings))
    recbole = read(
        _write(tmp_path, "ml-100k.inter", "user_id:token\titem_id:token\trating:float\ttimestamp:float\n" + ratings)
    )
    for array in (group_lens, recbole):
        assert array.shape == (196, 242)
        assert _entries(array) == {(195, 241): 3.0, (0, 1): 5.0}
    with pytest.raises(DataError, match=r"line 1: expected the columns user_id, item_id, rating"):
        read(_write(tmp_path, "b.inter", "a:token\tb:token\tc:float\n1\t1\t1\n"))


def test_npy_nan_is_missing(tmp_path):
    array = np.arange(12.0).reshape(3, 4)
    array[1, 2] = np.nan
    np.save(tmp_path / "a.npy", array)
    got = read(tmp_path / "a.npy")
    assert got.known == 11 and not got.image
    np.testing.assert_array_equal(got.dense(), array)


def test_integer_arrays_and_masks(tmp_path):
    array = np.arange(6, dtype=np.int16).reshape(2, 3)
    mask = np.array([[0, 1, 0], [0, 0, 0]])
    np.save(tmp_path / "a.npy", array)
    np.save(tmp_path / "m.npy", mask)
    np.savez(tmp_path / "a.npz", data=array, mask=mask)
    for got in (read(tmp_path / "a.npy", mask=tmp_path / "m.npy"), read(tmp_path / "a.npz")):
        assert got.known == 5 and (0, 1) not in _entries(got)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.ones(3), "at least two axes"),
        (np.ones((2, 2), complex), "expected real numbers"),
        (np.full((2, 2), np.nan), "every entry is missing"),
        (np.array([[1.0, 2.0], [np.inf, 1.0]]), r"entry \(1, 0\) is infinite"),
        (np.zeros((0, 3)), "every entry is missing"),
    ],
)
def test_arrays_that_cannot_be_used(tmp_path, array, message):
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(DataError, match=message):
        read(tmp_path / "a.npy")


def test_pickles_and_damaged_archives_are_refused(tmp_path):
    np.save(tmp_path / "a.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    (tmp_path / "b.npz").write_bytes(b"PK\x03\x04 not an archive")
    np.savez(tmp_path / "c.npz", a=np.ones((2, 2)), b=np.ones((2, 2)))
    for name, message in (
        ("a.npy", "not readable as a NumPy file"),
        ("b.npz", "not readable"),
        ("c.npz", "expected one array"),
    ):
        with pytest.raises(DataError, match=message):
            read(tmp_path / name)


def test_images_lose_what_is_transparent_or_masked(tmp_path):
    image = pytest.importorskip("PIL.Image")
    rgba = np.zeros((4, 5, 4), np.uint8)
    rgba[..., 0], rgba[..., 3] = 200, 255
    rgba[1, 2, 3] = 0
    image.fromarray(rgba).save(tmp_path / "a.png")
    got = read(tmp_path / "a.png")
    assert got.image and got.shape == (4, 5, 3) and got.known == 57
    assert np.isnan(got.dense()[1, 2]).all() and got.dense()[0, 0, 0] == 200
    mask = np.zeros((4, 5), np.uint8)
    mask[:2] = 255
    image.fromarray(mask).save(tmp_path / "m.png")
    assert read(tmp_path / "a.png", mask=tmp_path / "m.png").known == 30
    image.fromarray(mask[:, :3]).save(tmp_path / "n.png")
    with pytest.raises(DataError, match=r"the mask has shape \(4, 3\), the image \(4, 5\)"):
        read(tmp_path / "a.png", mask=tmp_path / "n.png")


def test_grey_and_sixteen_bit_images(tmp_path):
    image = pytest.importorskip("PIL.Image")
    grey = np.arange(20, dtype=np.uint8).reshape(4, 5)
    image.fromarray(np.repeat(grey[:, :, None], 3, axis=2)).save(tmp_path / "grey.png")
    np.testing.assert_array_equal(read(tmp_path / "grey.png").dense(), grey)
    deep = (1000 * grey.astype(np.uint16)).astype(np.uint16)
    image.fromarray(deep).save(tmp_path / "deep.png")
    got = read(tmp_path / "deep.png")
    np.testing.assert_array_equal(got.dense(), deep)
    assert not got.image
    (tmp_path / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    with pytest.raises(DataError, match="not readable as an image"):
        read(tmp_path / "bad.png")


def test_named_sets_of_tensorly():
    pytest.importorskip("tensorly")
    kinetic = read("tensorly:kinetic")
    assert kinetic.shape == (64, 12, 10, 60) and kinetic.known == 460_800 - 1754
    il2 = read("tensorly:il2")
    assert il2.shape == (13, 4, 12, 8) and il2.known == 4992 - 192
    assert read("tensorly:covid19").shape == (438, 6, 11)


def test_named_image_is_found_without_importing_its_package():
    pytest.importorskip("PIL")
    import importlib.util
    import sys

    if importlib.util.find_spec("sklearn") is None:
        pytest.skip("scikit-learn is not installed")
    before = "sklearn" in sys.modules
    china = read("sklearn:china")
    assert china.shape == (427, 640, 3) and china.image and china.source == "sklearn:china"
    assert ("sklearn" in sys.modules) == before


def test_unknown_sources(tmp_path):
    with pytest.raises(DataError, match="no data set 'tensorly:nothing'; the named ones are tensorly:kinetic"):
        read("tensorly:nothing")
    with pytest.raises(FileNotFoundError, match="no such file"):
        read(tmp_path / "none.tns")
    with pytest.raises(DataError, match="unknown kind of file"):
        read(_write(tmp_path, "a.xyz", "1"))
    with pytest.raises(DataError, match="is a folder"):
        read(tmp_path)


def test_options_that_do_not_apply_are_refused(tmp_path):
    path = _write(tmp_path, "a.tns", "1 1 2.0\n")
    with pytest.raises(DataError, match="--mask does not apply"):
        read(path, mask=path)
    with pytest.raises(DataError, match="--value does not apply"):
        read(path, value="1")
