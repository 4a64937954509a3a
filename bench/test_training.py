"""Table B under pytest-benchmark: one group a row, one case a peer; times are for one step of one trial.

All peers run in one process here, on all cores; `python -m bench B` keeps torch and JAX apart and counts cores.
"""

from __future__ import annotations

from typing import Any

import pytest

from bench.peer import Absent, Peer
from bench.training_peers import TRAINING_PEERS
from bench.workloads import TRAINING, Completion


@pytest.mark.parametrize("peer", [peer for peer in TRAINING_PEERS if peer.cores is None], ids=lambda peer: peer.name)
@pytest.mark.parametrize("row", TRAINING, ids=lambda row: row.name)
def test_training_steps(benchmark: Any, row: Completion, peer: Peer) -> None:
    try:
        case = peer.case(row, "float32", "training")
    except Absent as reason:
        pytest.skip(str(reason))
    benchmark.group = row.name
    benchmark.extra_info |= {"steps": case.units, "multiply_adds": row.multiply_adds, "variant": case.note}
    case.fresh(1)
    case.run()
    benchmark(case.run)
    if benchmark.enabled:
        # a run is as many steps as each peer needs: only the time for one is comparable
        samples = benchmark.stats.stats.data
        samples[:] = [seconds / case.units for seconds in samples]
