"""Equations that bytes bound, as an einsum meets them anywhere: sums, scaled rows, matrix-vector and outer products.

The value without a graph, and value and all gradients, against torch.einsum eager and compiled. Where torch.einsum has
a view for a gradient (of a sum: the cotangent, expanded), ours is a new tensor.
"""

from __future__ import annotations

from bench import peers, report
from bench.operators import FRAMEWORK, never_slower
from bench.session import Session
from bench.workloads import plain

OWN = peers.OWN.name
_PEERS = [peer for peer in peers.OPERATOR_PEERS if peer.name in FRAMEWORK or peer is peers.OWN]
_SQUARE = ("ij,j->i", "ij,i->ij", "ij,ji->ij", "ij,ij->i", "ij,ji->", "ij->i")
_VECTORS = ("i->", "i,i->", "i,i,i->i")
ROWS = [
    *(plain(equation, i=n, j=n) for equation in _SQUARE for n in (300, 1500)),
    *(plain(equation, i=n) for equation in _VECTORS for n in (1_000, 100_000, 3_000_000)),
    plain("i,j->ij", i=700, j=500),
    plain("i,ij,j->", i=200, j=300),
    plain("ij,jk,k->i", i=400, j=500, k=600),
    plain("bij,bj->bi", b=64, i=50, j=50),
    plain("bij,bij->b", b=500, i=20, j=20),
    plain("ar,br,cr->abcr", a=30, b=40, c=20, r=10),
]


def plain_equations(session: Session) -> None:
    rows = session.chosen(ROWS)
    rows = rows[::5] if session.quick else rows
    for mode, what in (("value", "value without a graph"), ("gradients", "value and all gradients")):
        found = session.measured("operators", rows, _PEERS, mode=mode)
        if not found:
            return
        names = [peer.name for peer in _PEERS if peer is not peers.OWN]
        report.print_beside(f"Plain equations: {what}, {session.dtype}", found, names, OWN)
        for done in found:
            session.json_rows += report.json_rows("plain", done, session.about, mode=mode, dtype=session.dtype)
        session.targets += never_slower(f"plain, {mode}", [done for done in found if OWN in done.seconds], names)
