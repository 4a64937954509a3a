"""Random products: any equation that torch.einsum takes, up to six operands and eight letters."""

from __future__ import annotations

import math
import random
import string

import torch

from irkernels.testing.product import Product
from irkernels.testing.strides import STRIDES

_EXTENTS = (1, 2, 2, 3, 3, 4, 5)
_LONG = (7, 8, 9, 16, 17, 33, 65)  # around the widths of vector registers
_DTYPES = (torch.float64,) * 5 + (torch.float32,) * 3 + (torch.bfloat16, torch.float16)
_MOST_TERMS = 20_000  # multiply-adds of the naive sum


def random_product(seed: int, trials: bool = False) -> Product:
    """The product of this seed: random terms (repeats included), output, extents, strides and one dtype.

    Some axes are of extent 1 or 0 or broadcast, some operands have a `...` of up to two axes anywhere in their term.
    trials: every operand has a leading `...` axis that stands first in the output.
    """
    rng = random.Random(seed)
    letters = rng.sample(string.ascii_letters, rng.randint(1, 8))
    extents = {letter: 0 if rng.random() < 0.01 else rng.choice(_EXTENTS) for letter in letters}
    if rng.random() < 0.3:
        extents[rng.choice(letters)] = rng.choice(_LONG)
    axes = 1 if trials else rng.choice((0, 0, 0, 1, 2))
    dense = [rng.choice(_EXTENTS) for _ in range(axes)]
    while math.prod(extents.values()) * math.prod(dense) > _MOST_TERMS:
        shrinking = rng.choice([letter for letter in letters if extents[letter] > 1])
        extents[shrinking] -= 1
    terms, shapes = [], []
    for _ in range(rng.randint(1, 6)):
        term, shape = _operand(rng, letters, extents, dense, trials)
        terms.append(term)
        shapes.append(shape)
    equation = ",".join(terms) + _output(rng, terms, trials)
    if rng.random() < 0.1:
        equation = equation.replace(",", " , ")
    return Product(
        name=f"random_{seed}",
        equation=equation,
        shapes=tuple(shapes),
        strides=tuple(rng.choice(tuple(STRIDES)) for _ in terms),
        dtypes=(rng.choice(_DTYPES),),
        trainable=tuple(sorted(rng.sample(range(len(terms)), rng.randint(1, len(terms))))),
    )


def _operand(
    rng: random.Random, letters: list[str], extents: dict[str, int], dense: list[int], trials: bool
) -> tuple[str, tuple[int, ...]]:
    """One term and its shape."""
    term = [rng.choice(letters) for _ in range(rng.choice((0, 1, 2, 2, 2, 3, 3, 4)))]
    if rng.random() < 0.8 or any(extents[letter] > max(_EXTENTS) for letter in term):
        term = list(dict.fromkeys(term))  # most operands repeat no letter, and none a long one
    # a letter broadcasts in all its places of an operand or in none
    single = {letter for letter in term if rng.random() < 0.07}
    shape = [1 if letter in single else extents[letter] for letter in term]
    if trials or (dense and rng.random() < 0.6):
        axes = dense if trials else dense[rng.randint(0, len(dense)) :]
        place = 0 if trials else rng.randint(0, len(term))
        shape[place:place] = [1 if rng.random() < 0.2 else extent for extent in axes]
        term.insert(place, "...")
    return "".join(term), tuple(shape)


def _output(rng: random.Random, terms: list[str], trials: bool) -> str:
    """Explicit or implicit output over the letters that occur."""
    if not trials and rng.random() < 0.15:
        return ""
    used = sorted({letter for term in terms for letter in term} - {"."})
    output = rng.sample(used, rng.randint(0, min(len(used), 4)))
    if trials:
        output.insert(0, "...")
    elif any("..." in term for term in terms) and rng.random() < 0.75:
        output.insert(rng.randint(0, len(output)), "...")
    return "->" + "".join(output)
