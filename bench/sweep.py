"""No cliffs: chains of three n x n factors for every n from 1 to 128, alone and as 64 trials, float32 and float64.

Where results are kept, sweep.png shows the time for one multiply-add against n.
"""

from __future__ import annotations

from bench import peers, report
from bench.measure import Effort, Measurement
from bench.plot import Curve, plot_sweep
from bench.report import Target
from bench.session import Session
from bench.workloads import chain

OWN = peers.OWN.name
_MATMUL = next(peer for peer in peers.OPERATOR_PEERS if peer.name == "matmul")
_RISE = 1.5  # from n to n + 1 the time for one multiply-add may rise by this much
_AGAIN = 3  # a rise above it is measured anew this often: a slow moment of the machine is no cliff
_EFFORT = Effort(sample=0.002, row=0.05, rounds=(5, 9))


def sweep(session: Session) -> None:
    sizes = range(1, 129, 16) if session.quick else range(1, 129)
    before, session.effort = session.effort, _EFFORT
    curves = []
    for mode in ("value", "gradients"):
        for dtype in ("float32", "float64"):
            for trials in (None, 64):
                curves.append(_curve(_one(session, mode, dtype, trials, list(sizes)), mode, dtype, trials))
    session.effort = before
    if session.results:
        machine, threads, date, commit = (session.about[name] for name in ("machine", "threads", "date", "commit"))
        where = f"{machine}, {threads} threads, {date[:10]}, commit {commit}"
        plot_sweep(curves, where, session.results / "sweep.png")


def _curve(found: list[Measurement], mode: str, dtype: str, trials: int | None) -> Curve:
    each = {
        peer: [1e9 * done.median(peer) / done.row.value_multiply_adds for done in found] for peer in (OWN, _MATMUL.name)
    }
    return Curve(mode, dtype, trials, [dict(done.row.extents)["a"] for done in found], each)


def _one(session: Session, mode: str, dtype: str, trials: int | None, sizes: list[int]) -> list[Measurement]:
    rows = session.chosen([chain([n] * 4, trials) for n in sizes])
    found = session.measured("operators", rows, [_MATMUL, peers.OWN], mode, dtype)
    found = [done for done in found if OWN in done.seconds and _MATMUL.name in done.seconds]
    title = f"{mode}, {dtype}, {'one product' if trials is None else f'{trials} trials'}"
    for place in range(1, len(found)):
        for _ in range(_AGAIN):
            if _rise(found, place) <= _RISE:
                break
            again = session.measured(
                "operators", [found[place - 1].row, found[place].row], [_MATMUL, peers.OWN], mode, dtype
            )
            if any(OWN not in done.seconds for done in again):
                break
            found[place - 1 : place + 1] = again
    if not found:
        return found
    if session.quick:
        print(f"\nSweep: {title} ({len(found)} sizes; a rise is read between neighbours only, without --quick)")
    else:
        rises = [(_rise(found, place), found[place].row.name) for place in range(1, len(found))]
        steep = [f"{name}: {report.figure(rise)}" for rise, name in rises if rise > _RISE]
        print(f"\nSweep: {title}: rises above {_RISE}: {'; '.join(steep) or 'none'}")
        if rises:
            worst, where = max(rises)
            session.targets.append(Target(f"no cliffs, {title}: largest rise", worst, _RISE, False, where))
    ratio, where = min((done.ratio(_MATMUL.name, OWN)[1], done.row.name) for done in found)
    mean = report.geometric_mean([done.ratio(_MATMUL.name, OWN)[1] for done in found])
    print(
        f"torch.matmul's time over ours: geometric mean {report.figure(mean)}, least {report.figure(ratio)} ({where})"
    )
    session.targets.append(Target(f"never slower than torch.matmul, {title}", ratio, 0.97, where=where))
    for done in found:
        session.json_rows += report.json_rows("sweep", done, session.about, mode=mode, dtype=dtype)
    return found


def _rise(found: list[Measurement], place: int) -> float:
    before, after = found[place - 1], found[place]
    each = [done.median(OWN) / done.row.value_multiply_adds for done in (before, after)]
    return each[1] / each[0]
