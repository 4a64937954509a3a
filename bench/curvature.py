"""Second derivatives: what a Hessian-vector product costs beside the gradient, and sharpness beside torch.func's."""

from __future__ import annotations

from bench import curvature_peers as peers
from bench import report
from bench.report import Target
from bench.session import Session
from bench.workloads import Product, chain, cp, hierarchical, tensor_train, tucker

GRADIENT, OWN, FUNCTORCH = (peer.name for peer in peers.CURVATURE_PEERS)
_MOST_GRADIENTS, _FASTER = 3.0, 5.0

PRODUCTS: list[Product] = [
    *(chain([n] * 4) for n in (4, 16, 50, 100, 256)),
    chain([32] * 7),
    chain([16] * 4, trials=64),
    cp(3, 16, 256),
    tucker(25, 25),
    tensor_train(10, 8),
    hierarchical(8, 64),
]
SHARPNESS: list[Product] = [chain([n] * 4) for n in (10, 50, 100)]


def curvature(session: Session) -> None:
    _products(session)
    _sharpness(session)


def _products(session: Session) -> None:
    found = session.measured("curvature", session.chosen(PRODUCTS), peers.CURVATURE_PEERS, "hvp")
    done = [each for each in found if {GRADIENT, OWN} <= set(each.seconds)]
    if not done:
        return
    print(f"\nHessian-vector products, {session.dtype}, median microseconds\n")
    print(report.times(found, [GRADIENT, FUNCTORCH], [OWN]))
    print("\nOurs over our gradient, and torch.func's over ours, median of the rounds with quartiles\n")
    lines = [[d.row.name, report.ratio(d, OWN, GRADIENT), _over(d, FUNCTORCH)] for d in done]
    print(report.text_table(["row", "gradients", "torch.func / ours"], lines))
    for each in found:
        session.json_rows += report.json_rows("curvature", each, session.about, mode="hvp", dtype=session.dtype)
    ratio, where = max((each.ratio(OWN, GRADIENT)[1], each.row.name) for each in done)
    name = "Hessian-vector product over a gradient, largest"
    session.targets.append(Target(name, ratio, _MOST_GRADIENTS, False, where))


def _sharpness(session: Session) -> None:
    rows = session.chosen(SHARPNESS)
    found = session.measured("curvature", rows, [peers.OWN, peers.FUNCTORCH], "sharpness")
    done = [each for each in found if {OWN, FUNCTORCH} <= set(each.seconds)]
    if not done:
        return
    print(f"\nSharpness by the same Lanczos iteration, {session.dtype}, median microseconds\n")
    print(report.times(found, [FUNCTORCH], [OWN]))
    print("\ntorch.func's over ours\n")
    print(report.text_table(["row", "ratio"], [[each.row.name, _over(each, FUNCTORCH)] for each in done]))
    for each in found:
        session.json_rows += report.json_rows("curvature", each, session.about, mode="sharpness", dtype=session.dtype)
    for each in done:
        if each.row == SHARPNESS[1]:
            ratio = each.ratio(FUNCTORCH, OWN)[1]
            session.targets.append(
                Target("sharpness: torch.func's time over ours", ratio, _FASTER, where=each.row.name)
            )


def _over(done, peer: str) -> str:
    return report.ratio(done, peer, OWN) if peer in done.seconds else "-"
