"""TensorLy's decompositions, unchanged, stock against irkernels computing beneath them; and its functions against
ours."""

from __future__ import annotations

from bench import decomposition_peers as peers
from bench import report
from bench.decomposition_peers import Work
from bench.report import Target
from bench.session import Session

STOCK, OWN = peers.STOCK.name, peers.OWN.name
_ITERATIONS = {10: 10, 30: 10, 100: 3, 200: 2, 300: 2}
_QUICK = 100  # largest extent
_CUBES = [(n,) * 3 for n in _ITERATIONS]

DECOMPOSITIONS = [Work("parafac", shape, rank, _ITERATIONS[shape[0]]) for shape in _CUBES for rank in (5, 20, 50, 100)]
DECOMPOSITIONS += [Work("parafac", shape, 10, 5) for shape in ((12, 400, 400), (30,) * 4, (500, 300))]
DECOMPOSITIONS += [Work("tucker", (n,) * 3, rank, 3) for n, rank in ((10, 3), (30, 5), (100, 10))]
_PRODUCTS = ("multi_mode_dot", "khatri_rao", "cp_to_tensor", "tt_to_tensor")
FUNCTIONS = [
    Work(what, (n,) * 3, rank)
    for what in (*(f"MTTKRP mode {mode}" for mode in range(3)), *_PRODUCTS)
    for n, rank in ((10, 5), (30, 20), (100, 10), (100, 50), (200, 20))
]


def decompositions(session: Session) -> None:
    for title, rows, unit in (
        ("TensorLy's decompositions", DECOMPOSITIONS, "an iteration"),
        ("TensorLy's functions", FUNCTIONS, "a call"),
    ):
        rows = [row for row in session.chosen(rows) if not session.quick or max(row.shape) <= _QUICK]
        found = session.measured("decompositions", rows, peers.DECOMPOSITION_PEERS, "value")
        if not found:
            continue
        print(f"\n{title}, stock and with irkernels: microseconds {unit}, {session.dtype}, medians\n")
        print(report.times(found, [STOCK], [OWN]))
        print("\nStock's time over ours, median of the rounds with quartiles\n")
        print(report.text_table(["row", "ratio"], [[done.row.name, report.ratio(done, STOCK, OWN)] for done in found]))
        print(f"\nNotes\n{report.notes(found)}")
        for done in found:
            session.json_rows += report.json_rows("tensorly", done, session.about, mode="value", dtype=session.dtype)
        ratio, where = min(
            (done.ratio(STOCK, OWN)[1] if {STOCK, OWN} <= set(done.seconds) else 0.0, done.row.name) for done in found
        )
        session.targets.append(Target(f"{title}: stock's time over ours, smallest", ratio, 0.97, where=where))
