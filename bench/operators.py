"""Table A: end-to-end products, value and all gradients, and what a call costs at all."""

from __future__ import annotations

from bench import peers, report
from bench.measure import Measurement
from bench.report import Target
from bench.session import Session
from bench.workloads import CALLS, OPERATORS

OWN = peers.OWN.name
_OTHERS = [peer.name for peer in peers.OPERATOR_PEERS if peer is not peers.OWN]
FRAMEWORK = (peers.EINSUM.name, peers.COMPILED.name, "multi_dot")  # what "never slower" is said of
_LARGE = 1_000_000_000  # multiply-adds: --quick leaves such rows out
_ITEMSIZE = {"float32": 4, "float64": 8}


def table_a(session: Session) -> None:
    calls = call_overhead(session)
    rows = session.chosen(OPERATORS)
    if session.quick:
        rows = [row for row in rows if row.multiply_adds < _LARGE]
    found = session.measured("operators", rows, peers.OPERATOR_PEERS)
    if not found:
        return
    overhead = calls.median(peers.MM.name) if peers.MM.name in calls.seconds else 0.0
    report.print_beside(f"Table A: value and all gradients, {session.dtype}", found, _OTHERS, OWN)
    print("\nOurs against the larger of arithmetic time and compulsory bytes over stream bandwidth, microseconds\n")
    lines = [[done.row.name, *_limit_cells(session, done, overhead)] for done in found]
    print(report.text_table(["row", "arithmetic", "bytes", OWN, "share of the limit", "bound by"], lines))
    print(f"\nNotes\n{report.notes(found)}")
    for done in found:
        limit, bound = _limit(session, done, overhead)
        more = {"mode": "gradients", "dtype": session.dtype, "limit": limit, "bound_by": bound}
        more |= {"multiply_adds": done.row.multiply_adds, "bytes": done.row.bytes(_ITEMSIZE[session.dtype])}
        session.json_rows += report.json_rows("A", done, session.about, **more)
    session.targets += _targets(session, [done for done in found if OWN in done.seconds], overhead)


def call_overhead(session: Session) -> Measurement:
    """Prints what tiny calls cost; returns the measurement of one product with gradients."""
    first = None
    for mode, title in (("gradients", "value and all gradients"), ("value", "value alone under no_grad")):
        found = session.measured("operators", CALLS, peers.CALL_PEERS, mode)
        first = first or found[0]
        names = [peer.name for peer in peers.CALL_PEERS]
        print(f"\nCall overhead: {title}, {session.dtype}, median microseconds\n")
        print(report.times(found, names[:-1], names[-1:]))
        for done in found:
            session.json_rows += report.json_rows("calls", done, session.about, mode=mode, dtype=session.dtype)
        one = found[0]
        if OWN in one.seconds and mode == "value":
            session.targets.append(Target("forward alone, one 4x4 product, us", one.median(OWN) * 1e6, 4.0, False))
        if OWN in one.seconds and mode == "gradients" and peers.MM.name in one.seconds:
            over = 1 / one.ratio(peers.MM.name, OWN)[1]
            name = "forward + backward, one 4x4 product, over torch.mm's own"
            session.targets.append(Target(name, over, 1.0, False))
    return first


def _limit(session: Session, done: Measurement, overhead: float) -> tuple[float, str]:
    traffic = done.row.bytes(_ITEMSIZE[session.dtype])
    limit = session.limits.seconds(done.row.multiply_adds, traffic)
    return limit, session.limits.bound(done.row.multiply_adds, traffic, overhead)


def _limit_cells(session: Session, done: Measurement, overhead: float) -> list[str]:
    limit, bound = _limit(session, done, overhead)
    arithmetic = session.limits.seconds(done.row.multiply_adds)
    traffic = session.limits.seconds(0, done.row.bytes(_ITEMSIZE[session.dtype]))
    own, share = "-", "-"
    if OWN in done.seconds:
        own, share = report.microseconds(done.median(OWN)), f"{100 * limit / done.median(OWN):.0f} %"
    return [report.microseconds(arithmetic), report.microseconds(traffic), own, share, bound]


def _targets(session: Session, found: list[Measurement], overhead: float) -> list[Target]:
    targets = [*never_slower("A", found, list(FRAMEWORK)), *never_slower("A, beyond it", found, _OTHERS)]
    gains, allowed = [], []
    for done in found:
        if framework := done.best([peers.EINSUM.name, peers.COMPILED.name]):
            gains.append(done.ratio(framework, OWN)[1])
            allowed.append(done.median(framework) / max(_limit(session, done, overhead)[0], overhead))
    if gains:
        name = "best of torch.einsum and torch.compile over ours, geometric mean"
        targets.append(Target(name, report.geometric_mean(gains), 5.0))
        largest = report.figure(report.geometric_mean(allowed))
        print(
            f"\nThe largest that this geometric mean could be: {largest}, were every row as fast as its limit or as "
            f"torch.mm's own call ({report.microseconds(overhead)} us), whichever is slower"
        )
    shares = []
    for done in found:
        limit = session.limits.seconds(done.row.multiply_adds, done.row.bytes(_ITEMSIZE[session.dtype]))
        if limit > 500e-6:
            shares.append((limit / done.median(OWN), done.row.name))
    if shares:
        share, where = min(shares)
        targets.append(Target("share of the limit wherever it is above 500 us, smallest", share, 0.75, where=where))
    return targets


def never_slower(table: str, found: list[Measurement], names: list[str]) -> list[Target]:
    """The smallest ratio, over the rows, of the best of these peers' time to ours."""
    ratios = []
    for done in found:
        if best := done.best(names):
            ratios.append((done.ratio(best, OWN)[1], f"{done.row.name}, {best}"))
    if not ratios:
        return []
    ratio, where = min(ratios)
    return [Target(f"{table}: never slower than the best of {', '.join(names)}", ratio, 0.97, where=where)]
