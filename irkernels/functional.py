"""The public verbs: checks of what a user may get wrong, then autograd.py."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from irkernels import autocast, autograd, eager, execute, ops, sharded, trials
from irkernels.grammar import check_characters, read_call, with_path
from irkernels.observed import Coordinates, Observed
from irkernels.reference.entries import read_coordinates
from irkernels.reference.equation import read_equation
from irkernels.reference.gradients import read_listed
from irkernels.reference.losses import check_loss
from irkernels.reference.operands import check_kind
from irkernels.reference.paths import read_path
from irkernels.remembered import remembered

_MOST_FACTORS = 2000  # of one plan; a longer chain is a chain of chains


def einsum(equation: str, *operands: Tensor, path: Any = None) -> Tensor:
    """The end-to-end product that an equation names: a drop-in for torch.einsum and opt_einsum.contract.

    equation: torch.einsum's syntax (implicit or explicit output, `...`, repeated and summed letters), any Unicode
    letters, any number of them. Other call forms: operands as one list; `einsum(A, [0, 1], B, [1, 2], [0, 2])`, with
    integers, hashable objects or Ellipsis as letters.
    operands: tensors of one dtype (float16, bfloat16, float32, float64), any strides, extents 0 and 1 included.
    path: the order in which operands meet, for value and gradients: opt_einsum's steps, strategy names and optimizers,
    or a cotengra tree; without one the planner chooses.
    Returns a contiguous tensor of that dtype. Half types are computed in float32 and rounded once; in chains,
    large steps by torch's matmul round what lies between them, as torch does (not inside `deterministic()`).
    Differentiable to any order: all gradients come from one sweep down the contraction tree.
    DTensors in any placement give one that is sharded as they are, Partial where a summed letter is; in all verbs here.
    docs/einsum-differences.md lists what differs from torch.einsum.

    Raises TypeError (not a tensor, dtype), ValueError (equation, dimensions, sizes, devices, path), which name the
    operand by its position, and OverflowError (2^63 elements or more).

    >>> einsum("ij,jk->ik", torch.ones(2, 3), torch.ones(3, 4)).shape
    torch.Size([2, 4])
    """
    if path is not None or type(equation) is not str or len(operands) == 1:
        equation, operands = _read_call(equation, operands, path)
    found = eager.product(equation, operands)
    if found is not None:
        return found
    _check_operands(equation, operands)
    return _product(equation, operands)


def multi_dot(tensors: Sequence[Tensor]) -> Tensor:
    """The product of two or more matrices in their cheapest order: a drop-in for torch.linalg.multi_dot, batched.

    tensors: [..., n_k, n_{k+1}], leading dimensions broadcast; the first may be [n_1] and the last [n_N], and the
    result then lacks that axis. Raises ValueError and TypeError as einsum does.
    """
    tensors = tuple(tensors)
    if len(tensors) < 2:
        raise ValueError(f"multi_dot needs at least two tensors, got {len(tensors)}")
    if len(tensors) > _MOST_FACTORS:
        parts = [tensors[i : i + _MOST_FACTORS] for i in range(0, len(tensors), _MOST_FACTORS)]
        return multi_dot([multi_dot(part) if len(part) > 1 else part[0] for part in parts])
    _check_operands("", (tensors[0], tensors[-1]))
    row, column = tensors[0].dim() == 1, tensors[-1].dim() == 1
    equation = chain_equation(len(tensors), row, column)
    found = eager.product(equation, tensors, broadcasts=False)
    if found is not None:
        return found
    _check_operands("", tensors)
    _check_chain([tensor.shape for tensor in tensors], row, column)
    return _product(equation, tensors)


def entries(equation: str, *operands: Tensor, at: Tensor | Coordinates | Observed) -> Tensor:
    """The product at listed coordinates only, W[at]: [..., nnz] in the caller's order, W never formed.

    at: integer tensor [nnz, letters of the output], Coordinates or Observed; the output's `...` axes stay dense, first.
    Coordinates on another device than the operands are copied there.
    Differentiable in the operands to any order, without atomics: two runs give the same bits.
    Raises what einsum raises, TypeError, ValueError and IndexError for unfit coordinates.
    """
    found = eager.product(equation, operands, at)
    if found is not None:
        return found
    _check_operands(equation, operands)
    if sharded.among(operands):
        return sharded.entries(equation, operands, at, entries)
    if execute.traced(operands):
        return ops.entries(equation, operands, at)
    operands = autocast.product_operands(equation, operands)
    coordinates = read_coordinates(at, read_equation(equation, operands))
    return autograd.product(equation, operands, coordinates.to(operands[0].device))


def gradients(equation: str, *operands: Tensor, cotangent: Any, path: Any = None) -> tuple[Tensor, ...]:
    """All factor gradients of L(W) from the end-to-end gradient G = dL/dW, in one sweep: a tensor for each operand.

    cotangent: G, of the product's shape and the operands' dtype; or an Observed (its values at its entries, duplicates
    add), or a pair (at, values [..., nnz]). path: as for einsum, with a dense cotangent.
    Differentiable in operands and cotangent. Raises what einsum and entries raise.
    """
    _check_operands(equation, operands)
    if path is not None:
        equation, operands = _read_call(equation, operands, path)
    if isinstance(cotangent, Tensor) and cotangent.layout != torch.strided:
        raise TypeError(
            f"the cotangent is {cotangent.layout}; supported is torch.strided (convert it with .to_dense())"
        )
    if sharded.among((*operands, cotangent)):
        return sharded.gradients(equation, operands, cotangent, gradients)
    if execute.traced(operands):
        return ops.gradients(equation, operands, cotangent)
    given, at = operands, None
    operands, cotangent = autocast.gradient_operands(equation, operands, cotangent)
    if not isinstance(cotangent, Tensor):
        at, cotangent = read_listed(cotangent, read_equation(equation, operands), operands)
        at = at.to(operands[0].device)
    return autocast.as_given(given, autograd.gradients(equation, (True,) * len(operands), operands, cotangent, at))


def completion_loss(
    equation: str, *operands: Tensor, observed: Observed, loss: str = "mse", delta: float = 1.0
) -> Tensor:
    """The loss of the product at its observed entries, W never formed: the shape of the output's `...`, else a scalar.

    With residuals r and weights w (1 without): mse sum w r^2 / sum w, half_sse sum w r^2 / 2, l1 sum w |r| / sum w,
    huber sum w h(r) / sum w with h as torch.nn.functional.huber_loss.
    observed: values of the operands' dtype, [nnz] or [..., nnz]. Each listed entry counts once, duplicates included.
    Raises what entries raises, TypeError (observed, dtype) and ValueError (unknown loss, delta, shapes).
    """
    found = eager.completion_loss(equation, operands, observed, loss, delta)
    if found is not None:
        return found
    _check_operands(equation, operands)
    if sharded.among(operands):
        return sharded.completion_loss(equation, operands, observed, partial(completion_loss, loss=loss, delta=delta))
    if execute.traced(operands):
        if not isinstance(loss, str):
            raise TypeError(f"loss must be a name, got {type(loss).__name__}")
        return ops.completion_loss(equation, operands, observed, loss, delta)
    operands, observed = autocast.loss_operands(operands, observed)
    read = read_equation(equation, operands)
    check_loss(read.dense, operands[0], observed, loss, delta)
    read_coordinates(observed, read)
    if (
        read.dense
        and not autograd.transformed()
        and not execute.trials_everywhere(equation, operands, observed.coordinates)
    ):
        equation, operands = trials.everywhere(equation, operands, read.dense)
    return autograd.completion_loss(equation, operands, observed, loss, float(delta))


def _read_call(equation: Any, operands: tuple[Any, ...], path: Any) -> tuple[str, tuple[Any, ...]]:
    """Any call form as an equation, which carries the path, and its operands."""
    equation, operands = read_call(equation, operands)
    if path is None:
        return equation, operands
    return with_path(equation, read_path(path, equation, operands)), operands


def _check_operands(equation: str, operands: tuple[Any, ...]) -> None:
    if not isinstance(equation, str):
        raise TypeError(f"equation must be a string, got {type(equation).__name__}")
    check_characters(equation)
    for position, operand in enumerate(operands):
        if not isinstance(operand, Tensor) or operand.layout != torch.strided:
            check_kind(position, operand)


def _product(equation: str, operands: tuple[Tensor, ...]) -> Tensor:
    if sharded.among(operands):
        return sharded.product(equation, operands, _product_of_parts)
    if execute.traced(operands):
        recorded: Tensor = torch.ops.irkernels.product(equation, operands)
        return recorded
    return autograd.product(equation, autocast.product_operands(equation, operands))


def _product_of_parts(equation: str, *operands: Tensor) -> Tensor:
    found = eager.product(equation, operands)
    return _product(equation, operands) if found is None else found


def _check_chain(shapes: list[torch.Size], row: bool, column: bool) -> None:
    """Neighbours must meet: an extent of 1 does not broadcast in a matrix product."""
    last = len(shapes) - 1
    for position, shape in enumerate(shapes):
        vector = (row and position == 0) or (column and position == last)
        if len(shape) < 2 and not vector:
            raise ValueError(f"operand {position} has {len(shape)} dimensions, but a factor of a chain has at least 2")
        if position:
            before, rows = shapes[position - 1][-1], shape[0 if vector else -2]
            if before != rows:
                raise ValueError(
                    f"operand {position} has {rows} rows, operand {position - 1} has {before} columns (must be equal)"
                )


@remembered
def chain_equation(length: int, row: bool, column: bool) -> str:
    """`...ab,...bc->...ac`; the letters are code points, so that a chain may be of any length."""
    letters = [chr(ord("a") + i) if i < 26 else chr(0x4E00 + i) for i in range(length + 1)]
    terms = [letters[i : i + 2] for i in range(length)]
    spread = ["..."] * length
    if row:
        terms[0], spread[0] = terms[0][1:], ""
    if column:
        terms[-1], spread[-1] = terms[-1][:1], ""
    output = ("" if row else letters[0]) + ("" if column else letters[-1])
    return ",".join(s + "".join(t) for s, t in zip(spread, terms)) + "->..." + output
