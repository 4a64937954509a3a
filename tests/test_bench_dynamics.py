"""The preconditioner's benchmark once, at tiny size and untimed: all peers compute the same."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

# last on the path: the checkout's own source tree must not hide an installed irkernels
sys.path.append(str(Path(__file__).resolve().parent.parent))
pytest.importorskip("opt_einsum", reason="bench counts arithmetic with opt_einsum")

from bench.dynamics import PRECONDITIONERS
from bench.dynamics_peers import DYNAMICS_PEERS, Preconditioner
from bench.peer import Peer
from irkernels.reference import velocities


@pytest.mark.parametrize("row", PRECONDITIONERS[1:3], ids=lambda row: row.name)
@pytest.mark.parametrize("peer", DYNAMICS_PEERS, ids=lambda peer: peer.name)
def test_peers_agree_with_the_reference(row: Preconditioner, peer: Peer) -> None:
    row = row.tiny()
    draw = torch.Generator().manual_seed(5)
    W, G, cotangent = (torch.randn(row.n, row.n, generator=draw, dtype=torch.float64) for _ in range(3))
    W, G = W.requires_grad_(), G.requires_grad_()
    value = -velocities.balanced_velocity(W, G, row.depth)
    expected = [value, *torch.autograd.grad(value, (W, G), cotangent)]
    for mode in ("value", "gradients"):
        case = peer.case(row, "float64", mode)
        case.fresh(5)
        results = case.results(case.run())
        assert len(results) == (1 if mode == "value" else 3)
        for found, wanted in zip(results, expected):
            np.testing.assert_allclose(found, wanted.detach().numpy(), rtol=0, atol=1e-9)
