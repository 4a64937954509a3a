"""What gradients cost: the time of value and all gradients over the time of the value alone, per family."""

from __future__ import annotations

from bench import peers, report
from bench.families import registered_families
from bench.report import Target
from bench.session import Session
from bench.workloads import HIGH_ORDER

OWN, VALUE = peers.OWN.name, peers.OWN_VALUE.name
_BOUND = 3.5


def gradient_cost(session: Session) -> None:
    rows = session.chosen([*registered_families(), *HIGH_ORDER])
    rows = rows[::4] if session.quick else rows
    found = session.measured("operators", rows, [peers.OWN_VALUE, peers.OWN])
    lines, ratios = [], []
    for done in found:
        session.json_rows += report.json_rows("gradients", done, session.about, dtype=session.dtype)
        if OWN not in done.seconds or VALUE not in done.seconds:
            continue
        ratios.append((done.ratio(OWN, VALUE)[1], done.row.name))
        lines.append(
            [done.row.name, *(report.spread(done, name) for name in (VALUE, OWN)), report.ratio(done, OWN, VALUE)]
        )
    if not ratios:
        return
    print(f"\nGradients: irkernels, {session.dtype}, median microseconds (quartiles)\n")
    print(report.text_table(["row", "value", "value and gradients", "ratio"], lines))
    ratio, where = max(ratios)
    session.targets.append(Target("value and all gradients over value, largest", ratio, _BOUND, False, where))
