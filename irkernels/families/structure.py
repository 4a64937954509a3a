"""A product under construction: letters with their extents, and the operands that carry them."""

from __future__ import annotations

import itertools
import math

from irkernels.grammar import symbol


class Structure:
    """Letters are given out in order, operands are added as terms; a part is a factor, or the chain that stands for it.

    parts: for each part its operand positions, and the letters of the tensor that it multiplies to.
    """

    def __init__(self) -> None:
        self.extents: dict[str, int] = {}
        self.terms: list[str] = []
        self.constants: list[str] = []
        self.parts: list[tuple[tuple[int, ...], str]] = []
        self.output = ""

    def letter(self, extent: int) -> str:
        """A new letter of this extent."""
        letter = symbol(len(self.extents))
        self.extents[letter] = extent
        return letter

    def mode(self, extent: int) -> str:
        """A new letter, the next one of the output."""
        letter = self.letter(extent)
        self.output += letter
        return letter

    def constant(self, letters: str) -> int:
        """An operand that is not trained, behind all that are; its position once no factor follows."""
        self.constants.append(letters)
        return len(self.terms) + len(self.constants) - 1

    def factor(self, letters: str) -> None:
        """A part of one operand."""
        self.parts.append(((len(self.terms),), letters))
        self.terms.append(letters)

    def chain(
        self,
        rows: str,
        cols: str,
        depth: int,
        hidden: int | None = None,
        columns: bool = False,
        letters: str | None = None,
    ) -> None:
        """A part that unfolds to rows x cols and is a matrix chain of `depth` operands; letters: their order in it.

        A_1 A_2 ... A_depth, one chain for all of it: rows x hidden, hidden x hidden, ..., hidden x cols; hidden
        defaults to the smaller side.  columns: a chain for each column, P_{j,1} ... P_{j,depth-1} c_j: [cols, rows,
        hidden], [cols, hidden, hidden], ..., [hidden, cols]; hidden defaults to the rows.
        """
        letters = rows + cols if letters is None else letters
        if depth == 1:
            return self.factor(letters)
        sizes = [math.prod(self.extents[letter] for letter in side) for side in (rows, cols)]
        hidden = hidden or (sizes[0] if columns else min(sizes))
        inner = [self.letter(hidden) for _ in range(depth - 1)]
        lead = cols if columns else ""
        links = [rows, *inner, cols]
        first = len(self.terms)
        self.terms += [lead + left + right for left, right in itertools.pairwise(links[:-1])] + [links[-2] + cols]
        self.parts.append((tuple(range(first, len(self.terms))), letters))

    @property
    def equation(self) -> str:
        return ",".join(self.terms + self.constants) + "->" + self.output

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        """The operands' shapes, without trials."""
        return [tuple(self.extents[letter] for letter in term) for term in self.terms]

    @property
    def log_summands(self) -> float:
        """The logarithm of the number of terms in the sum that is one entry of the product."""
        return sum(math.log(extent) for letter, extent in self.extents.items() if letter not in self.output)
