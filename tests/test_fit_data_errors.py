"""Data of irk.fit that do not fit: the type of the error, and what its message names."""

from __future__ import annotations

import pytest
import torch
from test_fit_data import F64, MATRIX, draw, model_of

import irkernels as irk

NAN = draw(1, 6, 4, 5)
NAN[2, 1, 3] = torch.nan
VECTORS = (draw(1, 6, 4), draw(2, 6, 5))

MADE = [  # at construction
    ("operators no tensor", lambda: irk.Sensing("abc", draw(1, 6)), TypeError, "sensing: operators must be a tensor"),
    (
        "operators of integers",
        lambda: irk.Sensing(torch.ones(6, 4, 5, dtype=torch.int64), draw(1, 6)),
        TypeError,
        "int64",
    ),
    ("operators with a NaN", lambda: irk.Sensing(NAN, draw(1, 6)), ValueError, r"operators has nan at \[2, 1, 3\]"),
    (
        "y infinite",
        lambda: irk.Sensing(draw(1, 2, 4), torch.tensor([1.0, torch.inf], dtype=F64)),
        ValueError,
        r"y has inf at \[1\]",
    ),
    (
        "operators a number",
        lambda: irk.Sensing(torch.tensor(1.0), draw(1, 6)),
        TypeError,
        "y is of dtype torch.float64",
    ),
    ("no measurement", lambda: irk.Sensing(draw(1, 0, 4, 5), draw(1, 0)), ValueError, r"m at least 1, got \[0, 4, 5\]"),
    (
        "dtypes",
        lambda: irk.Sensing(draw(1, 6, 4, 5), draw(1, 6).float()),
        TypeError,
        "y is of dtype torch.float32, but operators of",
    ),
    ("grad", lambda: irk.Sensing(draw(1, 6, 4, 5).requires_grad_(), draw(1, 6)), ValueError, "must not require grad"),
    (
        "too few y",
        lambda: irk.Sensing(draw(1, 6, 4, 5), draw(1, 7)),
        ValueError,
        r"y must be \[6\] or \[trials, 6\].* got \[7\]",
    ),
    ("y of a third axis", lambda: irk.Sensing(draw(1, 6, 4), draw(1, 2, 2, 6)), ValueError, r"got \[2, 2, 6\]"),
    (
        "vectors in one tensor",
        lambda: irk.RankOneSensing(draw(1, 6, 4), draw(1, 6)),
        TypeError,
        "a sequence of .* got Tensor",
    ),
    ("no vectors", lambda: irk.RankOneSensing([], draw(1, 6)), ValueError, "vectors is empty"),
    (
        "vectors of other lengths",
        lambda: irk.RankOneSensing((draw(1, 6, 4), draw(2, 7, 5)), draw(1, 6)),
        ValueError,
        "vectors 1 has 7 rows, but vectors 0 has 6",
    ),
    (
        "vectors with a third axis",
        lambda: irk.RankOneSensing((draw(1, 6, 4, 2), draw(2, 6, 5)), draw(1, 6)),
        ValueError,
        r"vectors 0 must be \[m, d\], got \[6, 4, 2\]",
    ),
    (
        "rows of X and Y",
        lambda: irk.Regression(draw(1, 6, 5), draw(2, 7, 4)),
        ValueError,
        r"Y must be \[6, ...\] .* got \[7, 4\]",
    ),
    (
        "devices",
        lambda: irk.Regression(draw(1, 6, 5), draw(2, 6, 4).to("meta")),
        (ValueError,),
        "Y is on meta, but X on cpu",
    ),
]

FITTED = [  # against a model of 4 x 5 with 3 trials
    (
        "kind",
        lambda: [1.0],
        TypeError,
        "data must be an irkernels.Observed, Sensing, RankOneSensing, Regression or a tensor",
    ),
    (
        "operators",
        lambda: irk.Sensing(draw(1, 6, 5, 4), draw(1, 6)),
        ValueError,
        r"data: operators must be \[6, 4, 5\] for a product of \(4, 5\), got \[6, 5, 4\]",
    ),
    (
        "trials of y",
        lambda: irk.Sensing(draw(1, 6, 4, 5), draw(1, 2, 6)),
        ValueError,
        r"data: y must be \[6\] or \[3, 6\], got \[2, 6\]",
    ),
    (
        "number of vectors",
        lambda: irk.RankOneSensing((*VECTORS, draw(3, 6, 2)), draw(1, 6)),
        ValueError,
        "vectors are 3, .* needs 2",
    ),
    (
        "a vector's length",
        lambda: irk.RankOneSensing(VECTORS[::-1], draw(1, 6)),
        ValueError,
        r"vectors 0 must be \[6, 4\]",
    ),
    (
        "X",
        lambda: irk.Regression(draw(1, 6, 4), draw(2, 6, 4)),
        ValueError,
        r"X must be \[n, \*in\].*\(4, 5\), got \[6, 4\]",
    ),
    ("X of too many axes", lambda: irk.Regression(draw(1, 6, 2, 4, 5), draw(2, 6)), ValueError, "X must be"),
    (
        "Y",
        lambda: irk.Regression(draw(1, 6, 5), draw(2, 6, 3)),
        ValueError,
        r"data: Y must be \[6, 4\] or \[3, 6, 4\], got \[6, 3\]",
    ),
    (
        "dtype",
        lambda: irk.Regression(draw(1, 6, 5), draw(2, 6, 4)).to(torch.float32),
        TypeError,
        "float32, but the factors are .*float64",
    ),
]


@pytest.mark.parametrize("make, error, words", [pytest.param(*row[1:], id=row[0]) for row in MADE])
def test_construction_names_what_is_wrong(make, error, words):
    with pytest.raises(error, match=words):
        make()


@pytest.mark.parametrize("name", ["data", "truth"])
@pytest.mark.parametrize("make, error, words", [pytest.param(*row[1:], id=row[0]) for row in FITTED])
def test_fit_names_what_is_wrong(make, error, words, name):
    model = model_of(*MATRIX, 3)
    given = {"data": draw(1, 4, 5), name: make()}
    with pytest.raises(error, match=words.replace("data", name)):
        irk.fit(model, given.pop("data"), torch.optim.SGD(model.parameters(), lr=0.1), steps=1, progress=False, **given)
