"""Table D, listed entries of very high order: a training step of a canonical polyadic tensor of 784 modes."""

from __future__ import annotations

from bench import report
from bench import tensor_peers as peers
from bench.report import Target
from bench.session import Session
from bench.workloads import TensorCompletion, cp

_ROWS = [TensorCompletion(cp(784, 2, 15), 5000), TensorCompletion(cp(784, 2, 1), 5000)]
_EAGER = next(peer for peer in peers.TENSOR_PEERS if peer.name == "eager gather")
_OVER_EAGER = 5.0


def high_order(session: Session) -> None:
    found = session.measured("tensors", session.chosen(_ROWS), [_EAGER, peers.OWN], mode="training")
    if not found:
        return
    own = peers.OWN.name
    print(f"\nTable D, high order: microseconds a step, {session.dtype}, medians\n")
    print(report.times(found, [_EAGER.name], [own]))
    print("\nTheir time over ours, median of the rounds, the best peer with quartiles\n")
    print(report.ratio_table(found, [_EAGER.name], own))
    print(f"\nNotes\n{report.notes(found)}")
    for done in found:
        more = {"mode": "step", "dtype": session.dtype, "multiply_adds": done.row.multiply_adds}
        session.json_rows += report.json_rows("D", done, session.about, **more)
        if _EAGER.name in done.seconds and own in done.seconds:
            ratio = done.ratio(_EAGER.name, own)[1]
            session.targets.append(Target("eager gather over ours, order 784", ratio, _OVER_EAGER, where=done.row.name))
