"""The pages under irkernels/docs do what they say: their code runs, and the family that one of them adds is right."""

from __future__ import annotations

import math
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import irkernels as irk
from irkernels import reference
from irkernels.testing import registry
from irkernels.testing.product import Product

sys.path.append(str(Path(__file__).resolve().parent.parent))

from bench.families import registered_families

DOCS = Path(irk.__file__).parent / "docs"


def blocks(page: str) -> list[str]:
    """The page's Python code, block by block."""
    return re.findall(r"^```python\n(.*?)^```$", (DOCS / page).read_text(), re.MULTILINE | re.DOTALL)


def test_the_tutorial_runs() -> None:
    found: dict[str, Any] = {}
    for number, block in enumerate(blocks("tutorial.md")):
        exec(compile(block, f"tutorial.md, block {number}", "exec"), found)
    assert torch.isfinite(found["run"].metrics["loss"][-1]).all()


@pytest.fixture(scope="module")
def kronecker() -> dict[str, Any]:
    """What the family, the reference and the registry line of add-a-family.md define."""
    family, _, plain, line = blocks("add-a-family.md")
    found: dict[str, Any] = {"__name__": "kronecker"}
    exec(compile(family, "add-a-family.md", "exec"), found)
    exec(compile(plain, "add-a-family.md", "exec"), found)
    found["product"] = eval(line.strip().rstrip(","), {"Product": Product})
    return found


@pytest.mark.parametrize("trials", [None, 3])
@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("init", ["gaussian", "balanced"])
def test_the_added_family(kronecker: dict[str, Any], depth: int, trials: int | None, init: str) -> None:
    model = kronecker["KroneckerChain"](
        (2, 3, 2), (3, 2, 4), depth, init=init, trials=trials, init_scale=1.0, seed=1, dtype=torch.float64
    )
    parts = model.parts()
    singles = [parts] if trials is None else [[part[trial] for part in parts] for trial in range(trials)]
    expected = [kronecker["kronecker_chain"](single) for single in singles]
    torch.testing.assert_close(model.matrix(), expected[0] if trials is None else torch.stack(expected))
    norms = torch.linalg.matrix_norm(model.matrix())
    torch.testing.assert_close(model.component_norms().prod(-1), norms)
    if init == "balanced":
        assert (model.unbalancedness() < 1e-12).all()


def test_the_added_family_trains(kronecker: dict[str, Any]) -> None:
    truth = kronecker["KroneckerChain"]((2, 3), (3, 2), init_scale=1.0, seed=5, dtype=torch.float64)().detach()
    at = torch.cartesian_prod(*(torch.arange(extent) for extent in truth.shape))
    model = kronecker["KroneckerChain"]((2, 3), (3, 2), init_scale=0.1, seed=2, dtype=torch.float64)
    observed = irk.Observed(at, truth.flatten(), truth.shape)
    irk.fit(model, observed, torch.optim.SGD(model.parameters(), lr=0.5), steps=5000, progress=False)
    torch.testing.assert_close(model().detach(), truth, atol=1e-6, rtol=0)


def test_the_added_registry_line(kronecker: dict[str, Any]) -> None:
    product = kronecker["product"]
    operands = [operand.requires_grad_() for operand in product.operands()]
    W = irk.einsum(product.equation, *operands)
    torch.testing.assert_close(W, reference.einsum(product.equation, *operands))
    assert torch.autograd.gradcheck(lambda *factors: irk.einsum(product.equation, *factors), operands)


def test_the_added_registry_line_can_be_timed(kronecker: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "FAMILIES", [kronecker["product"]])
    (row,) = registered_families()
    elements = sum(math.prod(shape) for shape in [*row.shapes, row.output_shape])
    assert row.value_multiply_adds >= 500_000 and elements <= 6_000_000


def test_every_verb_of_the_table_exists() -> None:
    named = re.findall(r"`irk\.([a-z_.A-Z]+)", (DOCS / "which-verb.md").read_text())
    assert len(named) >= 10
    for path in named:
        found: Any = irk
        for name in path.strip(".").split("."):
            found = getattr(found, name)
