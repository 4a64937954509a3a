"""A product to test and to time: an equation with shapes, strides, dtypes, trials and what is trained."""

from __future__ import annotations

import dataclasses
import math
import zlib
from dataclasses import dataclass

import torch
from torch import Tensor

from irkernels.testing.strides import STRIDES

ALL_DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)


@dataclass(frozen=True)
class Product:
    """One entry of the registry.  `shapes` are the operands' as the equation takes them, trials included."""

    name: str
    equation: str
    shapes: tuple[tuple[int, ...], ...]
    strides: tuple[str, ...] = ()  # one of STRIDES for each operand; empty: all contiguous
    dtypes: tuple[torch.dtype, ...] = ALL_DTYPES
    trainable: tuple[int, ...] | None = None  # positions that want a gradient; None: all
    trials: int | None = None  # extent of the leading `...` that with_trials has put before the trainable operands

    def __post_init__(self) -> None:
        terms = self.equation.partition("->")[0].split(",")
        if len(terms) != len(self.shapes):
            raise ValueError(f"{self.name}: {len(terms)} terms, but {len(self.shapes)} shapes")
        if self.strides and (len(self.strides) != len(self.shapes) or not set(self.strides) <= set(STRIDES)):
            raise ValueError(f"{self.name}: strides must name one of {tuple(STRIDES)} for each operand")
        if not set(self.trained) <= set(range(len(self.shapes))):
            raise ValueError(f"{self.name}: trainable positions {self.trainable} are not operands")

    @property
    def trained(self) -> tuple[int, ...]:
        return tuple(range(len(self.shapes))) if self.trainable is None else self.trainable

    @property
    def elements(self) -> int:
        """Elements of all operands together."""
        return sum(math.prod(shape) for shape in self.shapes)

    def operands(self, seed: int = 0, dtype: torch.dtype = torch.float64, values: str = "normal") -> list[Tensor]:
        """The operands, drawn on the CPU from (name, seed) in float64, then cast and laid out in their strides.

        values: "normal", or "powers of two": +-1/2, 1 or 2, whose products and (short) sums are exact in any order.
        """
        generator = torch.Generator().manual_seed(zlib.crc32(self.name.encode()) + seed)
        drawn = [_draw(shape, values, generator).to(dtype) for shape in self.shapes]
        return [STRIDES[how](each) for how, each in zip(self.strides or ("contiguous",) * len(drawn), drawn)]

    def with_strides(self, how: str) -> Product:
        """The same product with every operand laid out so."""
        return dataclasses.replace(self, strides=(how,) * len(self.shapes))

    def with_trials(self, trials: int) -> Product:
        """Independent copies: a leading `...` of this extent on the trainable operands and on the output."""
        if "..." in self.equation:
            raise ValueError(f"{self.name}: {self.equation} has a `...` of its own")
        left, arrow, right = self.equation.partition("->")
        terms = [("..." if p in self.trained else "") + term for p, term in enumerate(left.split(","))]
        shapes = tuple((trials, *shape) if p in self.trained else shape for p, shape in enumerate(self.shapes))
        equation = ",".join(terms) + (f"{arrow}...{right}" if arrow else "")
        return dataclasses.replace(self, equation=equation, shapes=shapes, trials=trials)

    def __str__(self) -> str:
        shapes = " ".join(str(list(shape)) for shape in self.shapes)
        return f"{self.name}: {self.equation!r} {shapes} strides {self.strides or 'contiguous'} trained {self.trained}"


def _draw(shape: tuple[int, ...], values: str, generator: torch.Generator) -> Tensor:
    if values == "normal":
        return torch.randn(shape, generator=generator, dtype=torch.float64)
    if values == "powers of two":
        exponent = torch.randint(-1, 2, shape, generator=generator).to(torch.float64)
        sign = torch.randint(0, 2, shape, generator=generator).to(torch.float64) * 2 - 1
        return sign * 2**exponent
    raise ValueError(f"values must be 'normal' or 'powers of two', got {values!r}")
