"""Constants that meet each other before any factor are contracted once for a whole fit, where that is cheaper.

What they make is never larger than they are, and own kernels make it: its bits depend on the constants alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from torch import Tensor

from irkernels._problem import Problem


def fold(problem: Problem, groups: Sequence[Sequence[int]], value: Callable[..., Tensor]) -> Problem:
    """The problem with one operand in place of each group of constants, given by their positions.

    value(equation, operands) computes a product.  Rows stay the first axis of what is made of rows.
    """
    inputs, output = problem.equation.split("->")
    terms, operands = inputs.split(","), problem.operands
    rows = {terms[position][0] for position in problem.rows}
    made: dict[int, tuple[str, Tensor]] = {}
    gone: set[int] = set()
    for positions in groups:
        needed = set(output).union(*(term for p, term in enumerate(terms) if p not in positions))
        own = dict.fromkeys("".join(terms[p] for p in positions))
        letters = "".join(sorted((letter for letter in own if letter in needed), key=lambda letter: letter not in rows))
        equation = f"{','.join(terms[p] for p in positions)}->{letters}"
        made[positions[0]] = letters, value(equation, tuple(operands[p] for p in positions))
        gone |= set(positions[1:])
    kept = [p for p in range(len(operands)) if p not in gone]
    new_terms = [made[p][0] if p in made else terms[p] for p in kept]
    constants = {
        place: made[p][1] if p in made else problem.constants[p]
        for place, p in enumerate(kept)
        if p in problem.constants
    }
    return replace(
        problem, equation=f"{','.join(new_terms)}->{output}", constants=constants,
        frozen={kept.index(p): factor for p, factor in problem.frozen.items()},
        tied={kept.index(p): factor for p, factor in problem.tied.items()},
        rows=tuple(place for place in constants if new_terms[place][:1] in rows),
    )  # fmt: skip
