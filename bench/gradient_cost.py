"""What gradients cost: the time of value and all gradients over the time of the value alone, per family (goal G1)."""

from __future__ import annotations

from bench import peers, report
from bench.families import registered_families
from bench.report import Target
from bench.session import Session
from bench.workloads import HIGH_ORDER

OWN = peers.OWN.name
_BOUND = 3.5


def gradient_cost(session: Session) -> None:
    rows = session.chosen([*registered_families(), *HIGH_ORDER])
    rows = rows[::4] if session.quick else rows
    both = session.measured("operators", rows, [peers.OWN], "gradients")
    alone = session.measured("operators", rows, [peers.OWN], "value")
    lines, ratios = [], []
    for gradients, value in zip(both, alone):
        session.json_rows += report.json_rows("gradient cost", gradients, session.about, mode="gradients")
        session.json_rows += report.json_rows("gradient cost", value, session.about, mode="value")
        if OWN not in gradients.seconds or OWN not in value.seconds:
            continue
        ratios.append((gradients.median(OWN) / value.median(OWN), gradients.row.name))
        times = [report.microseconds(done.median(OWN)) for done in (value, gradients)]
        lines.append([gradients.row.name, *times, report.figure(ratios[-1][0])])
    if not ratios:
        return
    print(f"\nGradients: irkernels, {session.dtype}, median microseconds\n")
    print(report.text_table(["row", "value", "value and gradients", "ratio"], lines))
    ratio, where = max(ratios)
    session.targets.append(Target("value and all gradients over value, largest", ratio, _BOUND, False, where))
