"""torch.autocast: the dtype that torch.einsum's product would have, to which operands are cast first of all.

On the CPU torch autocasts the pairwise matrix products that torch.einsum is made of, not torch.einsum itself. So its
product is in autocast's dtype if the last two operands of its path share a summed axis longer than one; a product that
ends in an elementwise step has the wider dtype of the two. On other devices torch.einsum as a whole is autocast.
Nowhere is float64 touched. The casts are differentiable: gradients come back in the operands' own dtypes.

    einsum, multi_dot, entries   operands cast to torch.einsum's dtype of the whole product
    gradients                    the same, and the cotangent; the results are in the operands' dtypes
    completion_loss              in the widest dtype given, as torch's losses under autocast: nothing is narrowed
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from functools import reduce
from itertools import repeat
from typing import Any

import torch
from torch import Tensor
from torch.backends import opt_einsum

from irkernels.grammar import explicit, without_path
from irkernels.observed import Observed
from irkernels.reference.equation import ELLIPSIS, Equation, read_equation
from irkernels.remembered import remembered

_NARROWED = (torch.float32, torch.float16, torch.bfloat16)

Factor = tuple[frozenset[str | int], torch.dtype]  # its summed axes longer than one, and its dtype


def product_operands(equation: str, operands: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """The operands in the dtype of torch.einsum's product; as they are without autocast."""
    if not _in_force(operands):
        return operands
    dtype = _product_dtype(equation, operands)
    return operands if dtype is None else tuple(operand.to(dtype) for operand in operands)


def gradient_operands(equation: str, operands: tuple[Tensor, ...], cotangent: Any) -> tuple[tuple[Tensor, ...], Any]:
    """The operands as product_operands gives them, and the cotangent (tensor, Observed or pair) in their dtype."""
    if not _in_force(operands):
        return operands, cotangent
    cast = product_operands(equation, operands)
    dtype = cast[0].dtype
    if isinstance(cotangent, Observed):
        return cast, (cotangent.coordinates, cotangent.values.to(dtype))
    if isinstance(cotangent, Tensor):
        return cast, cotangent.to(dtype)
    at, values = cotangent
    return cast, (at, values.to(dtype))


def as_given(operands: Sequence[Tensor], gradients: Iterable[Tensor | None]) -> tuple[Tensor, ...]:
    """Gradients, of all the operands that were given, in their dtypes."""
    return tuple(g.to(operand.dtype) for g, operand in zip(gradients, operands) if g is not None)


def loss_operands(operands: tuple[Tensor, ...], observed: Observed) -> tuple[tuple[Tensor, ...], Observed]:
    """Operands and observations in their widest dtype."""
    if not (_in_force(operands) and isinstance(observed, Observed)):
        return operands, observed
    dtype = _widest((observed.values, *operands))
    return tuple(operand.to(dtype) for operand in operands), observed.to(dtype)


def loss_tensors(
    operands: tuple[Tensor, ...], values: Tensor, weights: Tensor | None
) -> tuple[tuple[Tensor, ...], Tensor, Tensor | None]:
    """loss_operands of the parts of an Observed."""
    if not _in_force(operands):
        return operands, values, weights
    dtype = _widest((values, *operands))
    return tuple(o.to(dtype) for o in operands), values.to(dtype), None if weights is None else weights.to(dtype)


def _in_force(operands: tuple[Tensor, ...]) -> bool:
    if not operands:
        return False
    kind = operands[0].device.type
    return torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)


def _widest(tensors: Sequence[Tensor]) -> torch.dtype:
    return reduce(torch.promote_types, (tensor.dtype for tensor in tensors))


def _product_dtype(equation: str, operands: tuple[Tensor, ...]) -> torch.dtype | None:
    kind, dtypes = operands[0].device.type, tuple(operand.dtype for operand in operands)
    narrow = torch.get_autocast_dtype(kind)
    if kind != "cpu":
        narrowed = {narrow if dtype in _NARROWED else dtype for dtype in dtypes}
        return narrowed.pop() if len(narrowed) == 1 else None
    if any(type(extent) is not int for operand in operands for extent in operand.shape):
        return _dtype_of_path(_factors(read_equation(equation, _without_dtype(operands)), operands), narrow, None)
    strategy = opt_einsum.strategy if opt_einsum.enabled and opt_einsum.is_available() and len(operands) > 2 else None
    return _known_dtype(equation, tuple(tuple(operand.shape) for operand in operands), dtypes, narrow, strategy)


@remembered
def _known_dtype(
    equation: str,
    shapes: tuple[tuple[int, ...], ...],
    dtypes: tuple[torch.dtype, ...],
    narrow: torch.dtype,
    strategy: str | None,
) -> torch.dtype | None:
    operands = tuple(torch.empty(shape, dtype=dtype, device="meta") for shape, dtype in zip(shapes, dtypes))
    factors, path = _factors(read_equation(equation, _without_dtype(operands)), operands), None
    if strategy is not None:  # torch.einsum takes its path from opt_einsum where that is installed
        contract_path = opt_einsum.get_opt_einsum().contract_path
        path = contract_path(explicit(without_path(equation)), *shapes, shapes=True, optimize=strategy)[0]
    return _dtype_of_path(factors, narrow, path)


def _without_dtype(operands: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """An equation is read against operands of one dtype; these have none of their numbers."""
    return tuple(operand.new_empty(operand.shape, dtype=torch.float32, device="meta") for operand in operands)


def _factors(read: Equation, operands: Sequence[Tensor]) -> list[Factor]:
    factors = []
    for term, operand in zip(read.terms, operands):
        spread = operand.dim() - sum(letter != ELLIPSIS for letter in term)
        axes = [axis for letter in term for axis in (range(-spread, 0) if letter == ELLIPSIS else (letter,))]
        summed = (
            axis
            for axis, extent in zip(axes, operand.shape)
            if extent != 1 and (axis if isinstance(axis, str) else ELLIPSIS) not in read.output
        )
        factors.append((frozenset(summed), operand.dtype))
    return factors


def _dtype_of_path(
    factors: list[Factor], narrow: torch.dtype, path: Iterable[tuple[int, ...]] | None
) -> torch.dtype | None:
    """What aten's einsum ends with; None where it would refuse. Without a path it goes from left to right."""
    owners = Counter(axis for axes, _ in factors for axis in axes)
    pairs = repeat((0, 1), len(factors) - 1) if path is None else map(sorted, path)
    for i, j in pairs:
        (left, left_dtype), (right, right_dtype) = factors[i], factors[j]
        shared, alone = left & right, {axis for axis in left ^ right if owners[axis] == 1}
        owners.subtract(shared)
        contracted = {axis for axis in shared if owners[axis] == 1}
        if contracted:
            dtypes = {narrow if dtype in _NARROWED else dtype for dtype in (left_dtype, right_dtype)}
            if len(dtypes) > 1:
                return None
            dtype = dtypes.pop()
        else:
            dtype = torch.promote_types(left_dtype, right_dtype)
        rest = factors[:i] + factors[i + 1 : j] + factors[j + 1 :]
        met = ((left | right) - alone - contracted, dtype)
        factors = [met, *rest] if path is None else [*rest, met]
    return factors[0][1]
