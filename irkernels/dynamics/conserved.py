"""What gradient flow on the factors of a product conserves, and how far factors are from balanced."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor

from irkernels._arguments import on_one_device
from irkernels.dynamics.widths import checked_factors
from irkernels.families.balance import differences
from irkernels.families.bonds import bonds
from irkernels.families.structure import Structure


def conserved_quantities(factors: Sequence[Tensor], equation: str | None = None) -> list[Tensor]:
    """Differences that gradient flow on any loss of the product keeps, all zero for balanced factors.

    Of a chain (the default) F_j^T F_j - F_{j+1} F_{j+1}^T [..., n, n] at each inner size, W_{j+1}^T W_{j+1} - W_j W_j^T
    in the papers' order (Arora, Cohen, Hazan 2018).  Of any other equation, its operands' letters: the same matrix at a
    letter that two share and no other has; differences of squared slice norms, [..., extents of the letters], at those
    that more share, as ||F_n[:, r]||^2 - ||F_m[:, r]||^2 for CP (Razin, Maman, Cohen 2021); and of whole squared norms.
    factors: [..., n_k, n_{k+1}], or as the equation ("ar,br->ab", no `...`) names them after equal trial axes.
    Differentiable.  Raises TypeError and ValueError (equation, number of factors, axes).
    """
    factors = checked_factors("conserved_quantities", factors)
    if equation is None:
        if any(factor.dim() < 2 for factor in factors):
            raise ValueError("a factor of a chain has at least 2 dimensions")
        for position, (left, right) in enumerate(itertools.pairwise(factors), 1):
            if left.shape[-1] != right.shape[-2] or left.dtype != right.dtype or left.device != right.device:
                raise ValueError(
                    f"factor {position} of shape {list(right.shape)} is {right.dtype} on {right.device}, factor"
                    f" {position - 1} of shape {list(left.shape)} is {left.dtype} on {left.device} (they must multiply)"
                )
        return [left.mT @ left - right @ right.mT for left, right in itertools.pairwise(factors)]
    if not isinstance(equation, str):
        raise TypeError(f"equation must be a string, got {type(equation).__name__}")
    structure = _structure(equation, factors)
    return [each for bond in bonds(structure) for each in differences(structure, factors, bond)]


def balancedness(factors: Sequence[Tensor], equation: str | None = None) -> Tensor:
    """The largest Frobenius norm of a conserved difference: [...], 0 where the factors are balanced.

    delta of "delta-balanced" (Arora, Cohen, Golowich, Hu 2019).  0 for a single factor.  Arguments and errors as of
    conserved_quantities.
    """
    factors = checked_factors("balancedness", factors)
    if not factors:
        raise ValueError("balancedness needs at least one factor")
    kept = conserved_quantities(factors, equation)
    axes = 2 if equation is None else len(equation.split(",")[0].split("->")[0])
    lead = factors[0].dim() - axes
    norms = [_norm(each, lead) for each in kept]
    return torch.stack(norms).amax(0) if norms else factors[0].new_zeros(factors[0].shape[:lead])


def _norm(difference: Tensor, lead: int) -> Tensor:
    return torch.linalg.vector_norm(difference.flatten(lead), dim=-1) if difference.dim() > lead else difference.abs()


def _structure(equation: str, factors: list[Tensor]) -> Structure:
    inputs, arrow, output = equation.partition("->")
    if not arrow or "." in equation:
        raise ValueError(f"conserved quantities need an equation with -> and without `...`, got {equation!r}")
    structure = Structure()
    structure.terms, structure.output = inputs.split(","), output
    if len(structure.terms) != len(factors):
        raise ValueError(f"equation {equation!r} names {len(structure.terms)} operands, but {len(factors)} were given")
    for position, (term, factor) in enumerate(zip(structure.terms, factors)):
        on_one_device(f"operand {position}", factor, "operand 0", factors[0])
        if factor.dim() < len(term):
            raise ValueError(f"operand {position} has {factor.dim()} dimensions, its letters {term!r} name {len(term)}")
        trials, extents = factor.shape[: factor.dim() - len(term)], factor.shape[factor.dim() - len(term) :]
        first = factors[0].shape[: factors[0].dim() - len(structure.terms[0])]
        if trials != first:
            raise ValueError(
                f"operand {position} has trial axes {list(trials)}, operand 0 {list(first)} (must be equal)"
            )
        for letter, extent in zip(term, extents):
            if structure.extents.setdefault(letter, extent) != extent:
                raise ValueError(
                    f"operand {position} has size {extent} for the letter {letter!r}, an operand before it"
                    f" {structure.extents[letter]} (must be equal)"
                )
    return structure
