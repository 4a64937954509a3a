"""No cliffs: chains of three n x n factors for every n from 1 to 128, alone and as 64 trials, float32 and float64."""

from __future__ import annotations

from bench import peers, report
from bench.measure import Effort, Measurement
from bench.report import Target
from bench.session import Session
from bench.workloads import chain

OWN = peers.OWN.name
_RISE = 1.5  # from n to n + 1 the time for one multiply-add may rise by this much
_AGAIN = 3  # a rise above it is measured anew this often: a slow moment of the machine is no cliff
_EFFORT = Effort(sample=0.002, row=0.05, rounds=(5, 9))


def sweep(session: Session) -> None:
    sizes = range(1, 129, 16) if session.quick else range(1, 129)
    session.effort = _EFFORT
    for mode in ("value", "gradients"):
        for dtype in ("float32", "float64"):
            for trials in (None, 64):
                _one(session, mode, dtype, trials, list(sizes))


def _one(session: Session, mode: str, dtype: str, trials: int | None, sizes: list[int]) -> None:
    matmul = next(peer for peer in peers.OPERATOR_PEERS if peer.name == "matmul")
    rows = session.chosen([chain([n] * 4, trials) for n in sizes])
    found = session.measured("operators", rows, [matmul, peers.OWN], mode, dtype)
    found = [done for done in found if OWN in done.seconds and matmul.name in done.seconds]
    title = f"{mode}, {dtype}, {'one product' if trials is None else f'{trials} trials'}"
    for place in range(1, len(found)):
        for _ in range(_AGAIN):
            if _rise(found, place) <= _RISE:
                break
            again = session.measured(
                "operators", [found[place - 1].row, found[place].row], [matmul, peers.OWN], mode, dtype
            )
            if any(OWN not in done.seconds for done in again):
                break
            found[place - 1 : place + 1] = again
    if not found:
        return
    if session.quick:
        print(f"\nSweep: {title} ({len(found)} sizes; a rise is read between neighbours only, without --quick)")
    else:
        rises = [(_rise(found, place), found[place].row.name) for place in range(1, len(found))]
        steep = [f"{name}: {report.figure(rise)}" for rise, name in rises if rise > _RISE]
        print(f"\nSweep: {title}: rises above {_RISE}: {'; '.join(steep) or 'none'}")
        if rises:
            worst, where = max(rises)
            session.targets.append(Target(f"no cliffs, {title}: largest rise", worst, _RISE, False, where))
    ratio, where = min((done.ratio(matmul.name, OWN)[1], done.row.name) for done in found)
    mean = report.geometric_mean([done.ratio(matmul.name, OWN)[1] for done in found])
    print(
        f"torch.matmul's time over ours: geometric mean {report.figure(mean)}, least {report.figure(ratio)} ({where})"
    )
    session.targets.append(Target(f"never slower than torch.matmul, {title}", ratio, 0.97, where=where))
    for done in found:
        session.json_rows += report.json_rows("sweep", done, session.about, mode=mode, dtype=dtype)


def _rise(found: list[Measurement], place: int) -> float:
    before, after = found[place - 1], found[place]
    each = [done.median(OWN) / done.row.value_multiply_adds for done in (before, after)]
    return each[1] / each[0]
