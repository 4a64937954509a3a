"""Table B: a whole training step, gradient descent on the mean squared error over observed entries."""

from __future__ import annotations

from bench import report
from bench import training_peers as peers
from bench.measure import Measurement
from bench.report import Target
from bench.session import Session
from bench.workloads import MANY_TRIALS, TRAINING, TRIALS

_NAMES = [peer.name for peer in peers.TRAINING_PEERS]
_ONE = peers.OWN.name
_TRIALS = peers.OWN_TRIALS.name
_MANY = peers.OWN_MANY_TRIALS.name
_EAGER = peers.EAGER.name
_LATENCY = 1e-6  # below a microsecond of arithmetic the steps' dependence on one another decides
# n -> how many times faster than JAX's best: one trial, and per trial of many
_ONE_TRIAL = {2: 3.0, 10: 10.0, 30: 4.0, 64: 2.0, 100: 2.0, 300: 2.0}
_OF_TRIALS = {2: 8.0, 100: 3.0}
_OF_MANY_TRIALS = {2: 8.0}
_OVER_EAGER = {2: 1000.0}


def table_b(session: Session) -> None:
    running = [peer for peer in peers.TRAINING_PEERS if session.workers.threads > 1 or peer.cores is None]
    found = session.measured("training", session.chosen(TRAINING), running, mode="training")
    if not found:
        return
    trials = f"per trial where there are {TRIALS} or {MANY_TRIALS}"
    print(f"\nTable B: microseconds a step ({trials}), {session.dtype}, medians\n")
    own = [name for name in _NAMES if name.startswith(_ONE)]
    print(report.times(found, [name for name in _NAMES if name not in own], own))
    print("\nTheir time over ours, median of the rounds with quartiles; the best of JAX on one core and on all\n")
    lines = [[done.row.name, *(report.ratio(done, *pair) for pair in _pairs(done))] for done in found]
    of_trials = [f"JAX, per trial of {n}" for n in (TRIALS, MANY_TRIALS)]
    print(report.text_table(["row", "JAX, one trial", *of_trials, "eager"], lines))
    print("\nOurs against arithmetic time on all cores, microseconds\n")
    lines = [[done.row.name, *_limit_cells(session, done)] for done in found]
    print(report.text_table(["row", "limit", "share of it", "bound by"], lines))
    print(f"\nNotes\n{report.notes(found)}")
    for done in found:
        more = {"mode": "step", "dtype": session.dtype, "multiply_adds": done.row.multiply_adds}
        more |= {"limit": _limit(session, done)[0], "bound_by": _limit(session, done)[1]}
        session.json_rows += report.json_rows("B", done, session.about, **more)
        session.targets += _targets(done)


def _jax_best(done: Measurement, *trials: str) -> str | None:
    return done.best([peers.JAX_ONE_CORE.name, peers.JAX.name, *trials])


def _pairs(done: Measurement) -> list[tuple[str | None, str]]:
    """What is compared: JAX's best with one trial and per trial of many, and eager with one trial."""
    some = _jax_best(done, peers.JAX_TRIALS.name)
    many = _jax_best(done, peers.JAX_TRIALS.name, peers.JAX_MANY_TRIALS.name)
    return [(_jax_best(done), _ONE), (some, _TRIALS), (many, _MANY), (_EAGER, _ONE)]


def _limit(session: Session, done: Measurement) -> tuple[float, str]:
    limit = session.limits.seconds(done.row.multiply_adds)
    return limit, "arithmetic" if limit > _LATENCY else "latency of dependent steps"


def _limit_cells(session: Session, done: Measurement) -> list[str]:
    limit, bound = _limit(session, done)
    share = f"{100 * limit / done.median(_ONE):.0f} %" if _ONE in done.seconds else "-"
    return [report.microseconds(limit), share, bound]


def _targets(done: Measurement) -> list[Target]:
    names = [
        "JAX's best over ours, one trial",
        *(f"JAX's best per trial over ours, {n} trials" for n in (TRIALS, MANY_TRIALS)),
        "eager over ours, one trial",
    ]
    targets = []
    for name, (peer, own), bounds in zip(names, _pairs(done), (_ONE_TRIAL, _OF_TRIALS, _OF_MANY_TRIALS, _OVER_EAGER)):
        if done.row.n in bounds and peer in done.seconds and own in done.seconds:
            targets.append(Target(name, done.ratio(peer, own)[1], bounds[done.row.n], where=done.row.name))
    return targets
