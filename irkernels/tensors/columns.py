"""Matrices that share their columns: the canonical polyadic form, Khatri-Rao products and tensors against them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from irkernels.grammar import symbol
from irkernels.reference.operands import check_kind
from irkernels.remembered import remembered
from irkernels.tensors.contraction import contraction, left_out, mode_of

_COLUMN = symbol(0)  # the letter of the components; those of the modes follow


def cp_to_tensor(cp_tensor: Any, mask: Tensor | None = None) -> Tensor:
    """The tensor of a canonical polyadic form, sum_r weights[r] factors[0][:, r] x factors[1][:, r] x ...

    cp_tensor: (weights, factors) or what unpacks to them: weights [R] or None (ones), factors [n_k, R]; a vector is a
    matrix of one column.  mask: multiplies the result, broadcasting.  Returns [n_1, ..., n_N].

    >>> cp_to_tensor((None, [torch.ones(2, 5), torch.ones(3, 5), torch.ones(4, 5)])).shape
    torch.Size([2, 3, 4])
    """
    weights, factors = cp_tensor
    operands = _with_weights(_matrices(factors), weights)
    full = contraction(_outer(len(factors), weights is not None, keep=False), operands)
    return full if mask is None else full * _mask(mask, full)


def khatri_rao(
    matrices: Sequence[Tensor],
    weights: Tensor | None = None,
    skip_matrix: int | None = None,
    mask: Tensor | None = None,
) -> Tensor:
    """The column-wise Kronecker product of matrices [n_k, R]: [n_1 ... n_N, R], the last matrix's rows running fastest.

    weights [R] multiply the columns, mask (of n_1 ... n_N elements) the rows.  skip_matrix: the position of a matrix to
    leave out; a negative one names none, as in TensorLy.  One matrix alone, without weights and mask, is returned as it
    is.

    >>> khatri_rao([torch.ones(2, 5), torch.ones(3, 5)]).shape
    torch.Size([6, 5])
    """
    skip = left_out("skip_matrix", skip_matrix, len(matrices), "matrices")
    if skip is not None:
        matrices = [matrix for position, matrix in enumerate(matrices) if position != skip]
    factors = _matrices(matrices)
    product = factors[0]
    if len(factors) > 1 or weights is not None:
        equation = _outer(len(factors), weights is not None, keep=True)
        product = contraction(equation, _with_weights(factors, weights)).reshape(-1, product.shape[1])
    return product if mask is None else product * _mask(mask, product, len(product)).reshape(-1, 1)


def unfolding_dot_khatri_rao(tensor: Tensor, cp_tensor: Any, mode: int) -> Tensor:
    """MTTKRP: the unfolding of a tensor [n_1, ..., n_N] along a mode times the Khatri-Rao product of the other factors.

    cp_tensor: (weights, factors) as for cp_to_tensor; the factor of `mode` is not read and may be None.
    Returns [n_mode, R].  The tensor meets the factors one after the other, the last factor first unless `mode` is
    the last: that is how a message counts them.  No Khatri-Rao product of all other factors is formed.

    >>> factors = [torch.ones(2, 5), torch.ones(3, 5), torch.ones(4, 5)]
    >>> unfolding_dot_khatri_rao(torch.ones(2, 3, 4), (None, factors), 1)[0, 0]
    tensor(8.)
    """
    weights, factors = cp_tensor
    check_kind(0, tensor)
    order = tensor.dim()
    if len(factors) != order or order < 2:
        raise ValueError(
            f"operand 0 of shape {list(tensor.shape)} has {order} modes, the CP form has {len(factors)} factors"
            " (one for each mode, two at least)"
        )
    mode = mode_of("mode", mode, order, "modes")
    equation, met = _mttkrp(order, mode, weights is not None)
    others = _matrices([factors[position] for position in met], first=1)
    return contraction(equation, [tensor, *_with_weights(others, weights)])


def _matrices(factors: Sequence[Tensor], first: int = 0) -> list[Tensor]:
    """The factors, vectors as matrices of one column; `first` is the position of the first among the operands."""
    if not len(factors):
        raise ValueError("there is no factor (a product needs one at least)")
    found = []
    for position, factor in enumerate(factors, first):
        check_kind(position, factor)
        if factor.dim() not in (1, 2):
            raise ValueError(
                f"operand {position} of shape {list(factor.shape)} has {factor.dim()} dimensions, but a factor is a"
                " matrix of columns, or a vector"
            )
        found.append(factor if factor.dim() == 2 else factor.unsqueeze(1))
    return found


def _with_weights(operands: list[Tensor], weights: Tensor | None) -> list[Tensor]:
    return operands if weights is None else [*operands, weights]


def _tensor(name: str, value: Any) -> Tensor:
    if not isinstance(value, Tensor) or value.layout != torch.strided:
        raise TypeError(f"{name} must be a strided torch.Tensor, got {getattr(value, 'layout', type(value).__name__)}")
    return value


def _mask(mask: Any, product: Tensor, count: int | None = None) -> Tensor:
    """What multiplies the product: of so many elements, or of a shape that broadcasts to the product's."""
    given = _tensor("mask", mask)
    if count is None:
        spread = zip(reversed(given.shape), reversed(product.shape))
        fits = given.dim() <= product.dim() and all(n in (1, m) for n, m in spread)
    else:
        fits = given.numel() == count
    if not fits or given.device != product.device:
        expected = f"broadcast to {list(product.shape)}" if count is None else f"have {count} elements"
        raise ValueError(f"mask must {expected} on {product.device}, got {list(given.shape)} on {given.device}")
    return given


@remembered
def _outer(count: int, weighted: bool, keep: bool) -> str:
    """`br,cr,dr->bcd`, or `->bcdr`; weights last."""
    modes = [symbol(1 + position) for position in range(count)]
    terms = [mode + _COLUMN for mode in modes] + [_COLUMN] * weighted
    return f"{','.join(terms)}->{''.join(modes)}{_COLUMN * keep}"


@remembered
def _mttkrp(order: int, mode: int, weighted: bool) -> tuple[str, list[int]]:
    """`bcd,dr,br->cr` and the factors in the order in which they meet the tensor; weights last.

    Where sizes leave the planner a choice, the operands named first meet first: from the end of the tensor that is not
    `mode`, so that it is read in one run as a matrix.
    """
    modes = [symbol(1 + position) for position in range(order)]
    met = [position for position in range(order) if position != mode]
    if mode != order - 1:
        met.reverse()
    terms = ["".join(modes), *(modes[position] + _COLUMN for position in met), *[_COLUMN] * weighted]
    return f"{','.join(terms)}->{modes[mode]}{_COLUMN}", met
