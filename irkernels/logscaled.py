"""Products beyond the range of their dtype, as sign and logarithm: torch.linalg.slogdet's form for any equation.

    W = 2^e V:  sign = sign V,  logabs = log |V| + e log 2,  d logabs = dV / V

The exponents e of W are found first, without derivatives (Stage::exponent of csrc/plan/plan.h). V, of size 1, is then
an ordinary differentiable product: of the operands, each times a power of two, and of further powers of two, one for
each trial or entry. Reference: irkernels/reference/logscaled.py
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from irkernels import autograd, execute, sharded
from irkernels.copies import is_copied
from irkernels.gather import gathered
from irkernels.grammar import explicit, fresh_letters, without_path
from irkernels.observed import Coordinates, unchecked_coordinates
from irkernels.reference.entries import read_coordinates
from irkernels.reference.equation import ELLIPSIS, Equation, read_equation
from irkernels.reference.logscaled import LogScaled

_NOTHING = -(2.0**22)  # an exponent below is that of a zero: csrc/steps/exponent.h, kNothing
_DEEP = 33  # operands from which products carry exponents: csrc/plan/placement.h, kDeep
_BITS = 7  # of a further power of two: up to 16 operands meet before they are brought to size
_MOST = 2000  # operands of one product
_LARGEST = 126  # exponent of one power of two


def log_einsum(equation: str, *operands: Tensor) -> LogScaled:
    """sign and logabs of the product that torch.einsum names: two tensors of its shape, W = sign * exp(logabs).

    equation, operands: as for einsum. Zeros have sign 0 and logabs -inf. What is smaller than the largest number of its
    trial (its index of the letters that all operands have) by more than the dtype's range counts as zero.
    logabs is differentiable to any order, with finite gradients where W itself over- or underflows; those of a zero are
    0.
    Half types are computed in float32 and rounded once.
    Raises what einsum raises, and NotImplementedError under torch.func, forward mode and tracing.
    """
    _check_plain("log_einsum", operands)
    read = read_equation(equation, operands)
    return _log_scaled(without_path(explicit(equation)), read, operands, None)


def log_entries(equation: str, *operands: Tensor, at: Any) -> LogScaled:
    """sign and logabs of the product at listed coordinates, each [..., nnz] in the caller's order, W never formed.

    at: as for entries. Each entry has a range of its own where every operand has a letter of the output. Otherwise as
    log_einsum; raises what entries raises too.
    """
    _check_plain("log_entries", operands)
    read = read_equation(equation, operands)
    at = read_coordinates(at, read)
    if not read.letters or at.nnz == 0:
        value = _log_scaled(without_path(explicit(equation)), read, operands, None)
        if not read.letters:
            return LogScaled(*(each.unsqueeze(-1).expand(*each.shape, at.nnz) for each in value))
        return LogScaled(*(each.new_empty((*read.dense, 0)) for each in value))
    return _log_scaled(without_path(explicit(equation)), read, operands, at.to(operands[0].device))


def _check_plain(verb: str, operands: tuple[Tensor, ...]) -> None:
    if sharded.among(operands):
        raise NotImplementedError(f"{verb} takes no DTensor: gather its operands with .full_tensor()")
    if execute.traced() or autograd.transformed() or any(isinstance(o, Tensor) and is_copied(o) for o in operands):
        raise NotImplementedError(
            f"{verb} looks at the numbers before it multiplies them, which torch.func's transforms, forward mode and "
            "tracing do not allow; differentiate it by autograd, outside of them"
        )


def _log_scaled(equation: str, read: Equation, operands: tuple[Tensor, ...], at: Coordinates | None) -> LogScaled:
    dtype = execute.compute_dtype(operands[0].dtype)
    operands, given = tuple(operand.to(dtype) for operand in operands), operands[0].dtype
    kept = {*(read.letters if at is not None else _shared(read)), *_dots(len(read.dense))}
    with torch.no_grad():
        powers = tuple(_power(operand, _axes(term, operand.dim()), kept) for term, operand in zip(read.terms, operands))
    scaled = tuple(operand * _two_to(-power, dtype) for operand, power in zip(operands, powers))
    with torch.no_grad():
        exponents = execute.exponent(equation, scaled, at)
        if at is None and exponents.numel():  # one for each index of what all operands have, and of `...`
            own = {*_shared(read), *_dots(len(read.dense))}
            rest = [axis for axis, name in enumerate(_axes(read.output, exponents.dim())) if name not in own]
            exponents = exponents.amax(rest, keepdim=True) if rest else exponents
        exponents = torch.where(exponents < _NOTHING, 0, exponents)
        lowest, highest = exponents.aminmax() if exponents.numel() else (exponents.new_zeros(()),) * 2
        share = torch.round((lowest + highest) / 2 / len(operands)).clamp(-_LARGEST, _LARGEST)  # of each operand
        left = exponents - share * len(operands)
        joint = _joint(powers, read) if at is None else _joint_of_rows(powers, equation, read, at)
        total = exponents.double() + joint
    value = _scaled_product(equation, read, tuple(operand * _two_to(-share, dtype) for operand in scaled), left, at)
    zero = value == 0
    logabs = torch.where(zero, 1, value).abs().log().double() + total * math.log(2)
    return LogScaled(value.detach().sign().to(given), torch.where(zero, -math.inf, logabs).to(given))


def _power(operand: Tensor, axes: list[str], kept: set[str]) -> Tensor:
    """The exponent of the operand's largest number for each index of the kept letters; 1 along others and diagonals."""
    others = [axis for axis, name in enumerate(axes) if name not in kept or axes.count(name) > 1]
    if operand.numel() == 0:
        return operand.new_zeros([1 if axis in others else n for axis, n in enumerate(operand.shape)])
    most = operand.abs().amax(others, keepdim=True) if others else operand.abs()
    power = torch.frexp(most).exponent.clamp(-_LARGEST, _LARGEST)
    return torch.where((most > 0) & most.isfinite(), power, 0)


def _shared(read: Equation) -> list[str]:
    """Letters of the output that every operand has."""
    return [letter for letter in read.letters if all(letter in term for term in read.terms)]


def _dots(count: int) -> list[str]:
    """Names of the axes of `...`, which meet from the right."""
    return [f"{ELLIPSIS}{count - i}" for i in range(count)]


def _axes(term: Sequence[str], dims: int) -> list[str]:
    dots = _dots(dims - sum(letter != ELLIPSIS for letter in term))
    return [name for letter in term for name in (dots if letter == ELLIPSIS else (letter,))]


def _joint(powers: Sequence[Tensor], read: Equation) -> Tensor:
    """The sum of the powers, as it broadcasts over the product."""
    output = _axes(read.output, len(read.output_shape))
    total = torch.zeros((), dtype=torch.float64, device=powers[0].device)
    for term, power in zip(read.terms, powers):
        axes = _axes(term, power.dim())
        there = [name for name in output if axes.count(name) == 1]
        others = [axis for axis, name in enumerate(axes) if name not in there]
        own = power.permute([axes.index(name) for name in there] + others)
        own = own.reshape(own.shape[: len(there)])  # 1 along what is summed
        total = total + own[tuple(slice(None) if name in there else None for name in output)]
    return total


def _joint_of_rows(powers: tuple[Tensor, ...], equation: str, read: Equation, at: Coordinates) -> Tensor:
    """The sum of the powers at each entry, as it broadcasts over [..., nnz]."""
    total = torch.zeros((), dtype=torch.float64, device=powers[0].device)
    for term, power, row in zip(read.terms, powers, gathered(equation, powers, at)[1]):
        dots = max(power.dim() - sum(letter != ELLIPSIS for letter in term), 0)
        listed = any(letter in read.letters for letter in term)
        first = term.index(ELLIPSIS) if dots else 0
        shape = power.shape[first : first + dots] if ELLIPSIS in read.output else ()
        total = total + (row.reshape(at.nnz, *shape).movedim(0, -1) if listed else row.reshape(*shape, 1))
    return total


def _two_to(powers: Tensor, dtype: torch.dtype) -> Tensor:
    """2^powers to the last bit, for whole numbers within a normal number's range."""
    if dtype == torch.float64:
        return ((powers.to(torch.int64) + 1023) << 52).view(torch.float64)
    return ((powers.to(torch.int32) + 127) << 23).view(torch.float32)


def _scaled_product(
    equation: str, read: Equation, operands: tuple[Tensor, ...], exponents: Tensor, at: Coordinates | None
) -> Tensor:
    """The product over 2^exponents, by way of further operands."""
    if not exponents.numel():
        return autograd.product(equation, operands, at)
    left, _, output = equation.partition("->")
    if at is None:
        shared = _shared(read)
        exponents = exponents[_where_shared(read, shared)]
        term = "".join(letter for letter in read.output if letter == ELLIPSIS or letter in shared)
    else:
        (entry,) = fresh_letters(equation, 1)
        output += entry
        term = (ELLIPSIS if ELLIPSIS in output else "") + entry
    # what all operands had they have still, so that each component keeps a power of two of its own
    summed = [letter for letter in read.extents if letter not in read.output and all(letter in t for t in read.terms)]
    term += "".join(summed)
    spread = (*exponents.shape, *(read.extents[letter] for letter in summed))
    exponents = exponents[(..., *[None] * len(summed))]
    factors = [factor.expand(spread) for factor in _powers_of_two(-exponents, len(operands))]
    equation, operands = f"{left}{(',' + term) * len(factors)}->{output}", (*operands, *factors)
    if at is None:
        return autograd.product(equation, operands)
    numbers = torch.arange(at.nnz, device=at.device).unsqueeze(1)
    listed = unchecked_coordinates(torch.cat((at.at, numbers), 1), (*at.shape, at.nnz))
    if execute.gathers(equation, operands, listed):
        return autograd.product(equation, operands, listed)
    return autograd.product(*gathered(equation, operands, listed))


def _where_shared(read: Equation, shared: list[str]) -> tuple[slice | int, ...]:
    """An index of the product: all of the axes of these letters, the first number along the others."""
    index: list[slice | int] = []
    for letter in read.output:
        index += [slice(None)] * len(read.dense) if letter == ELLIPSIS else [slice(None) if letter in shared else 0]
    return tuple(index)


def _powers_of_two(exponents: Tensor, beside: int) -> list[Tensor]:
    """Factors 2^.. whose product is 2^exponents, each small, and as many as make a deep product."""
    largest = float(exponents.abs().max()) if exponents.numel() else 0.0
    count = max(_DEEP - beside, -(-math.ceil(largest / _BITS) // 8) * 8)  # in eights: fewer equations to plan
    count = min(count, _MOST - beside)
    if count <= 0:
        return []
    ends = [torch.floor(exponents * (i / count)) for i in range(count)] + [exponents]
    return [_two_to(after - before, exponents.dtype) for before, after in itertools.pairwise(ends)]
