"""Every row of `python -m bench curvature` once, at tiny size: ours and torch.func's results are equal."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("opt_einsum", reason="bench counts arithmetic with opt_einsum")
# last on the path: the checkout's own source tree must not hide an installed irkernels
sys.path.append(str(Path(__file__).resolve().parent.parent))

from bench.curvature import PRODUCTS, SHARPNESS
from bench.curvature_peers import FUNCTORCH, GRADIENT, OWN
from bench.peer import Peer
from bench.workloads import Product


def results(peer: Peer, row: Product, mode: str) -> list:
    case = peer.case(row, "float64", mode)
    case.fresh(3)
    return case.results(case.run())


@pytest.mark.parametrize("row", list(dict.fromkeys(row.tiny() for row in PRODUCTS)), ids=lambda row: row.name)
def test_products_with_the_hessian(row: Product) -> None:
    own, theirs = results(OWN, row, "hvp"), results(FUNCTORCH, row, "hvp")
    for a, b, gradient in zip(own, theirs, results(GRADIENT, row, "hvp"), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)
        assert gradient.shape == a.shape


def test_sharpness() -> None:
    row = SHARPNESS[0].tiny()
    np.testing.assert_allclose(results(OWN, row, "sharpness"), results(FUNCTORCH, row, "sharpness"), rtol=1e-9)
