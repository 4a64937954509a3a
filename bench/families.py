"""The registry's families at sizes worth timing: every extent above 1 grown by one factor until the work is large."""

from __future__ import annotations

import math

from bench.workloads import Product
from irkernels.testing import registry

_MULTIPLY_ADDS = 3_000_000  # of the value: about 0.1 ms, so that a call's own overhead hides nothing
_ELEMENTS = 4_000_000  # of all operands and the product together


def registered_families() -> list[Product]:
    return [_grown(entry) for entry in registry.FAMILIES if _is_einsum_with_trials_in_front(entry)]


def _is_einsum_with_trials_in_front(entry: registry.Product) -> bool:
    inputs, output = entry.equation.split("->")
    dotted = {term.startswith("...") for term in (*inputs.split(","), output)}
    return len(dotted) == 1


def _grown(entry: registry.Product) -> Product:
    equation = entry.equation.replace("...", "")
    leading = 1 if entry.equation.startswith("...") else 0
    trials = entry.shapes[0][0] if leading else None
    extents: dict[str, int] = {}
    for term, shape in zip(equation.split("->")[0].split(","), entry.shapes):
        extents.update(zip(term, shape[leading:]))
    factor = 1.0
    while True:
        factor *= 1.05  # in small steps: a family of many letters grows by their product
        larger = {letter: round(extent * factor) if extent > 1 else 1 for letter, extent in extents.items()}
        row = Product(f"registry: {entry.name}", "registry", equation, tuple(larger.items()), trials, entry.trainable)
        elements = sum(math.prod(shape) for shape in [*row.shapes, row.output_shape])
        if row.value_multiply_adds >= _MULTIPLY_ADDS or elements >= _ELEMENTS:
            return row
