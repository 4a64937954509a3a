"""Every row of `python -m bench tensorly` once, at tiny size: stock's and our results are equal."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("tensorly", reason="these rows compare with TensorLy")
# last on the path: the checkout's own source tree must not hide an installed irkernels
sys.path.append(str(Path(__file__).resolve().parent.parent))

from bench.decomposition_peers import CALLS, OWN, STOCK, Work
from bench.decompositions import DECOMPOSITIONS, FUNCTIONS

TINY = list(dict.fromkeys(row.tiny() for row in (*DECOMPOSITIONS, *FUNCTIONS)))


@pytest.mark.parametrize("row", TINY, ids=lambda row: row.name)
def test_both_compute_the_same(row: Work) -> None:
    import tensorly

    before = tensorly.get_backend()
    try:
        found = []
        for peer in (STOCK, OWN):
            case = peer.case(row, "float64", "value")
            case.fresh(3)
            found.append(case.results(case.run()))
        assert case.note.startswith("results within")
        STOCK.case(row, "float64", "value")  # leaves TensorLy as it is
    finally:
        tensorly.set_backend(before)
    for ours, stock in zip(*found, strict=True):
        np.testing.assert_allclose(ours, stock, rtol=1e-9, atol=1e-9 * np.abs(stock).max())


def test_every_kind_of_call_has_a_row() -> None:
    assert {row.what for row in (*DECOMPOSITIONS, *FUNCTIONS)} == set(CALLS)
    assert len({row.name for row in (*DECOMPOSITIONS, *FUNCTIONS)}) == len(DECOMPOSITIONS) + len(FUNCTIONS)
