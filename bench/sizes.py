"""Sizes between table A's: whether ours is never slower than the best of torch.einsum, torch.compile and multi_dot.

Chains of three n x n factors for n from 2 to 1024, powers of two, primes and odd sizes among them, alone and as trials;
CP, Tucker, tensor train and hierarchical products between and around table A's, their deep forms, Hadamard chains.
"""

from __future__ import annotations

from bench import peers, report
from bench.measure import Effort, Measurement
from bench.operators import FRAMEWORK, never_slower
from bench.session import Session
from bench.workloads import chain, cp, deep, hadamard, hierarchical, tensor_train, transfer_tensors, tucker

OWN = peers.OWN.name
_PEERS = [peer for peer in peers.OPERATOR_PEERS if peer.name in FRAMEWORK or peer is peers.OWN]
_EFFORT = Effort(sample=0.005, row=1.5, rounds=(5, 21))
_AGAIN = 2  # a row that seems slower is measured this often again, and all its rounds count
_CHAINS = (
    *(2, 3, 5, 7, 8, 11, 15, 17, 23, 31, 32, 33, 47, 63, 65, 79, 97, 113, 127, 128, 129, 161, 191, 211, 257, 307, 384),
    *(433, 509, 512, 613, 719, 853, 1023),
)
_TRIALS = ((64, 3), (64, 8), (64, 31), (64, 50), (64, 65), (16, 101), (1000, 2), (1000, 7))  # trials, n
_DEPTHS = ((2, 13), (2, 200), (4, 24), (5, 77), (9, 40))  # factors, n
_CPS = ((3, 7, 19), (3, 31, 100), (3, 101, 20), (4, 13, 200), (5, 5, 64))  # order, size, rank
SIZES = [
    *(chain([n] * 4) for n in _CHAINS),
    *(chain([n] * 4, trials) for trials, n in _TRIALS),
    *(chain([n] * (depth + 1)) for depth, n in _DEPTHS),
    chain([500, 7, 300, 11], name="500x7, 7x300, 300x11"),
    *(cp(order, size, rank) for order, size, rank in _CPS),
    *(tucker(size, rank) for size, rank in ((9, 5), (37, 13), (64, 20))),
    *(tensor_train(size, rank) for size, rank in ((5, 3), (13, 17), (20, 8))),
    *(hierarchical(size, width) for size, width in ((5, 9), (8, 31), (12, 48))),
    *(transfer_tensors(size, rank) for size, rank in ((5, 3), (10, 8))),
    *(deep(product, depth) for product, depth in ((cp(3, 16, 64), 2), (tucker(12, 5), 2), (tucker(25, 25), 3))),
    *(hadamard(size, depth) for size, depth in ((1000, 3), (100_000, 4))),
]


def sizes(session: Session) -> None:
    rows = session.chosen(SIZES)
    rows = rows[::8] if session.quick else rows
    before, session.effort = session.effort, session.effort if session.quick else _EFFORT
    found = session.measured("operators", rows, _PEERS)
    for done in found:
        for _ in range(_AGAIN):
            if OWN in done.seconds and _ratio(done) < 0.97:
                _add_rounds(done, session)
    session.effort = before
    if not found:
        return
    names = [peer.name for peer in _PEERS if peer is not peers.OWN]
    report.print_beside(f"Sizes: value and all gradients, {session.dtype}", found, names, OWN)
    for done in found:
        session.json_rows += report.json_rows("sizes", done, session.about, mode="gradients", dtype=session.dtype)
    session.targets += never_slower("sizes", [done for done in found if OWN in done.seconds], names)


def _ratio(done: Measurement) -> float:
    best = done.best(list(FRAMEWORK))
    return done.ratio(best, OWN)[1] if best else 1.0


def _add_rounds(done: Measurement, session: Session) -> None:
    more = session.measured("operators", [done.row], _PEERS)[0]
    for peer, seconds in done.seconds.items():
        seconds += more.seconds.get(peer, [])
