"""Linear layers whose weight is a product of factors, as data and as modules: y = x W + bias, W = product(factors).

What multiplies the factors (torch.einsum, irk.einsum) is a parameter of the module; nothing else differs.
"""

from __future__ import annotations

import math
import string
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Layer:
    """x of shape (batch, *inputs) to y of shape (batch, *outputs); features are the products of these."""

    name: str
    batch: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    terms: tuple[str, ...]  # of the factors; x is "B" + input_letters, y is "B" + output_letters
    extents: tuple[tuple[str, int], ...]  # of the letters that neither x nor y has: ranks

    @property
    def input_letters(self) -> str:
        return string.ascii_lowercase[: len(self.inputs)]

    @property
    def output_letters(self) -> str:
        return string.ascii_lowercase[len(self.inputs) :][: len(self.outputs)]

    @property
    def equation(self) -> str:
        return f"B{self.input_letters},{','.join(self.terms)}->B{self.output_letters}"

    @property
    def weight_equation(self) -> str:
        return f"{','.join(self.terms)}->{self.input_letters}{self.output_letters}"

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        """Of the factors."""
        sizes = dict(self.extents) | dict(zip(self.input_letters + self.output_letters, self.inputs + self.outputs))
        return [tuple(sizes[letter] for letter in term) for term in self.terms]

    @property
    def features(self) -> tuple[int, int]:
        return math.prod(self.inputs), math.prod(self.outputs)


def low_rank(inputs: int, outputs: int, rank: int, batch: int) -> Layer:
    name = f"low rank {inputs}-{outputs}, rank {rank}, batch {batch}"
    return Layer(name, batch, (inputs,), (outputs,), ("aR", "Rb"), (("R", rank),))


def tensor_train(inputs: tuple[int, ...], outputs: tuple[int, ...], rank: int, batch: int) -> Layer:
    """Core k has an input mode, an output mode and the bonds to its neighbours."""
    order, bonds = len(inputs), string.ascii_uppercase[2 : len(inputs) + 1]
    letters = string.ascii_lowercase
    terms = tuple(bonds[k - 1 : k] * (k > 0) + letters[k] + letters[order + k] + bonds[k : k + 1] for k in range(order))
    name = f"tensor train {_modes(inputs)}-{_modes(outputs)}, rank {rank}, batch {batch}"
    return Layer(name, batch, inputs, outputs, terms, tuple((bond, rank) for bond in bonds))


def tucker(inputs: tuple[int, ...], outputs: tuple[int, ...], rank: int, batch: int) -> Layer:
    """A core with one mode of size `rank` for each mode of x and y, and a matrix for each."""
    count = len(inputs) + len(outputs)
    ranks = string.ascii_uppercase[2 : 2 + count]
    terms = (ranks, *(letter + r for letter, r in zip(string.ascii_lowercase, ranks)))
    name = f"Tucker {_modes(inputs)}-{_modes(outputs)}, rank {rank}, batch {batch}"
    return Layer(name, batch, inputs, outputs, terms, tuple((r, rank) for r in ranks))


def cp(inputs: tuple[int, ...], outputs: tuple[int, ...], rank: int, batch: int) -> Layer:
    count = len(inputs) + len(outputs)
    terms = tuple(letter + "R" for letter in string.ascii_lowercase[:count])
    name = f"CP {_modes(inputs)}-{_modes(outputs)}, rank {rank}, batch {batch}"
    return Layer(name, batch, inputs, outputs, terms, (("R", rank),))


def _modes(extents: tuple[int, ...]) -> str:
    return "x".join(map(str, extents))


# The last two are tensorly/torch's: its guide's example (issue 35 asks why such layers are slow) and that of issue 20.
LAYERS = [
    low_rank(1024, 1024, 64, 64),
    low_rank(256, 256, 8, 16),
    tensor_train((8, 8, 16), (8, 8, 16), 16, 64),
    tucker((16, 16), (16, 16), 8, 64),
    cp((4, 4), (2, 5), 5, 4),
    tensor_train((8, 8, 8), (32, 4, 4), 4, 64),
]


class Factorised(nn.Module):
    """x and the factors multiplied as one product, or (`rebuilt`) the weight formed first, as a plain layer's."""

    def __init__(self, layer: Layer, einsum: Callable[..., Tensor], rebuilt: bool = False, seed: int = 0) -> None:
        super().__init__()
        draw = torch.Generator().manual_seed(seed)
        self.layer, self.einsum, self.rebuilt = layer, einsum, rebuilt
        # the sum over all ranks of products of as many entries as there are factors: variance 1 / input features
        each = (layer.features[0] * math.prod(extent for _, extent in layer.extents)) ** (-0.5 / len(layer.terms))
        self.factors = nn.ParameterList(each * torch.randn(shape, generator=draw) for shape in layer.shapes)
        self.bias = nn.Parameter(torch.zeros(layer.features[1]))

    def forward(self, x: Tensor) -> Tensor:
        if self.rebuilt:
            weight = self.einsum(self.layer.weight_equation, *self.factors).reshape(self.layer.features)
            return nn.functional.linear(x, weight.T, self.bias)
        y = self.einsum(self.layer.equation, x.reshape(-1, *self.layer.inputs), *self.factors)
        return y.reshape(-1, self.layer.features[1]) + self.bias
