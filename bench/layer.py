"""Factorised layers in training: a step with ours and with torch.einsum, eager, under AMP and compiled.

Beside them what issue 35 of tensorly/torch compares: the dense weight rebuilt at each step, and a plain nn.Linear.
"""

from __future__ import annotations

from bench import layer_peers as peers
from bench import report
from bench.layers import LAYERS
from bench.report import Target
from bench.session import Session

OWN, EINSUM = peers.OWN.name, peers.EINSUM.name
_TITLES = {"eager": "eager", "amp": "under autocast to bfloat16", "compiled": "under torch.compile"}
_QUICK = 2  # rows


def layer(session: Session) -> None:
    rows = session.chosen(LAYERS)
    rows = rows[:_QUICK] if session.quick else rows
    for mode in peers.MODES:
        found = session.measured("layer", rows, peers.LAYER_PEERS, mode)
        if not found:
            continue
        others = [peer.name for peer in peers.LAYER_PEERS if peer is not peers.OWN]
        print(f"\nLayer: a training step {_TITLES[mode]}, {session.dtype}, median microseconds\n")
        print(report.times(found, others, [OWN]))
        print("\nTheir time over ours, median of the rounds with quartiles\n")
        lines = [[done.row.name, *(report.ratio(done, peer, OWN) for peer in others)] for done in found]
        print(report.text_table(["row", *others], lines))
        if notes := report.notes(found):
            print(f"\nNotes\n{notes}")
        for done in found:
            session.json_rows += report.json_rows("layer", done, session.about, mode=mode, dtype=session.dtype)
        ratios = [(done.ratio(EINSUM, OWN)[1], done.row.name) for done in found if {EINSUM, OWN} <= set(done.seconds)]
        if ratios:
            ratio, where = min(ratios)
            name = f"layer, {mode}: torch.einsum's time over ours, smallest"
            session.targets.append(Target(name, ratio, 0.97, where=where))
