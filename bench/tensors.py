"""Table C: a whole training step on observed entries of a tensor of each family, by the general engine."""

from __future__ import annotations

from bench import report
from bench import tensor_peers as peers
from bench.report import Target
from bench.session import Session
from bench.workloads import TENSORS

_NAMES = [peer.name for peer in peers.TENSOR_PEERS]
_OWN = peers.OWN.name
_OVER_JAX, _OVER_RESEARCH = 3.0, 50.0


def table_c(session: Session) -> None:
    running = [peer for peer in peers.TENSOR_PEERS if session.workers.threads > 1 or peer.cores is None]
    found = session.measured("tensors", session.chosen(TENSORS), running, mode="training")
    if not found:
        return
    print(f"\nTable C: microseconds a step, {session.dtype}, medians\n")
    own = [name for name in _NAMES if name.startswith(_OWN)]
    print(report.times(found, [name for name in _NAMES if name not in own], own))
    print("\nTheir time over ours, median of the rounds, the best peer with quartiles\n")
    print(report.ratio_table(found, [name for name in _NAMES if name not in own], _OWN))
    print(f"\nNotes\n{report.notes(found)}")
    for done in found:
        more = {"mode": "step", "dtype": session.dtype, "multiply_adds": done.row.multiply_adds}
        session.json_rows += report.json_rows("C", done, session.about, **more)
        best = done.best([peer.name for peer in peers.JAX_FORMULATIONS])
        goals = (("JAX's best", best, _OVER_JAX), (peers.RESEARCH.name, peers.RESEARCH.name, _OVER_RESEARCH))
        for name, peer, bound in goals:
            if peer in done.seconds and _OWN in done.seconds:
                ratio = done.ratio(peer, _OWN)[1]
                session.targets.append(Target(f"{name} over ours, a tensor", ratio, bound, where=done.row.name))
