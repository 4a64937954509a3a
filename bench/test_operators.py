"""Table A under pytest-benchmark: one group a row, one case a peer (`pytest bench/test_operators.py`).

All peers run in one process here; `python -m bench A` keeps torch and JAX apart and takes their samples in turns.
"""

from __future__ import annotations

from typing import Any

import pytest

from bench.peer import Absent, Peer
from bench.peers import OPERATOR_PEERS
from bench.workloads import OPERATORS, Product


@pytest.mark.parametrize("peer", OPERATOR_PEERS, ids=lambda peer: peer.name)
@pytest.mark.parametrize("row", OPERATORS, ids=lambda row: row.name)
def test_value_and_gradients(benchmark: Any, row: Product, peer: Peer) -> None:
    try:
        case = peer.case(row, "float32", "gradients")
    except Absent as reason:
        pytest.skip(str(reason))
    benchmark.group = row.name
    benchmark.extra_info |= {"multiply_adds": row.multiply_adds, "bytes": row.bytes(4), "variant": case.note}
    case.fresh(1)
    case.run()
    benchmark(case.run)
