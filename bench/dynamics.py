"""The end-to-end preconditioner of a balanced chain against fractional matrix powers in torch, value and gradients."""

from __future__ import annotations

from bench import dynamics_peers as peers
from bench import report
from bench.dynamics_peers import Preconditioner
from bench.report import Target
from bench.session import Session

OWN, POWERS, SHARED = peers.OWN.name, peers.POWERS.name, peers.SHARED.name
_QUICK = 128  # largest extent
_LARGEST = Preconditioner(512, 5)
PRECONDITIONERS = [Preconditioner(32, 3), Preconditioner(100, 3), Preconditioner(128, 5), _LARGEST]


def dynamics(session: Session) -> None:
    rows = session.chosen(PRECONDITIONERS)
    rows = [row for row in rows if not session.quick or row.n <= _QUICK]
    found = session.measured("dynamics", rows, peers.DYNAMICS_PEERS)
    if not found:
        return
    print(f"\nEnd-to-end preconditioner, value and gradients, {session.dtype}, median microseconds\n")
    print(report.times(found, [POWERS, SHARED], [OWN]))
    print("\nPowers' time over ours, median of the rounds with quartiles\n")
    cells = [[done.row.name, *(report.ratio(done, peer, OWN) for peer in (POWERS, SHARED))] for done in found]
    print(report.text_table(["row", POWERS, SHARED], cells))
    for done in found:
        session.json_rows += report.json_rows("dynamics", done, session.about, mode="gradients", dtype=session.dtype)
        if done.row == _LARGEST and {OWN, POWERS} <= set(done.seconds):
            ratio = done.ratio(POWERS, OWN)[1]
            session.targets.append(Target("preconditioner against matrix powers", ratio, 3.0, where=done.row.name))
