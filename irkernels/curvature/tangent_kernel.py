"""The tangent kernel of a product and its alignment with targets (Baratin et al. 2021).

K = sum over operands of J J^T, J = d(product) / d(operand): for a chain on data, `ij,jk,xk->xi`, it is

    K(x, x') = sum_j (x^T B_j^T B_j x') A_j A_j^T,    A_j = F_1 .. F_{j-1},  B_j = F_{j+1} .. F_N            (20)

and -K applied to G is the end-to-end velocity (4).  J is the product of the other operands, so J J^T is again one
product: theirs twice, meeting in the letters of the operand that moves.
Reference: irkernels/reference/curvature.py
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from irkernels import functional
from irkernels._arguments import flag, real
from irkernels.curvature.problem import moving
from irkernels.grammar import fresh_letters
from irkernels.reference.equation import ELLIPSIS, Equation, Term, read_equation


def tangent_kernel(
    equation: str, *operands: Tensor, wrt: Sequence[int] | None = None, per_layer: bool = False
) -> Tensor:
    """K [..., *shape, *shape] for a product [..., *shape]: how every entry moves with every other when the operands do.

    wrt: positions of the operands that move (default all): leave data and constants out.  per_layer: [L, ..., *shape,
    *shape], one kernel for each of them, which add up to K.  `...`: the trials, in the output first; a kernel is of one
    trial.  Differentiable in the operands.  Raises what einsum raises, ValueError for `...` that is summed or stands
    elsewhere, TypeError and ValueError for wrt.

    >>> tangent_kernel("ij,jk,xk->xi", torch.ones(2, 3), torch.ones(3, 4), torch.ones(5, 4), wrt=(0, 1)).shape
    torch.Size([5, 2, 5, 2])
    """
    read = read_equation(equation, operands)
    dots = any(ELLIPSIS in term for term in read.terms)
    if dots and (not read.output or read.output[0] != ELLIPSIS):
        raise ValueError(f"the output of {equation!r} must begin with its `...`: a kernel is of one trial")
    wanted = moving(wrt, len(operands))
    layers = [_layer(read, operands, position) for position, moves in enumerate(wanted) if moves]
    return torch.stack(layers) if flag("per_layer", per_layer) else sum(layers[1:], start=layers[0])


def alignment(kernel: Tensor, targets: Tensor, centred: bool = True) -> Tensor:
    """<K, y y^T> / (|K|_F |y|^2), y the targets as one vector: [...] in [-1, 1], 1 where K = y y^T.

    kernel: [..., *shape, *shape], as tangent_kernel gives it.  targets: [*shape], the samples first.  centred: the mean
    over the samples is taken off the targets and off both sides of the kernel, as in the paper's code.  0 where either
    vanishes.  Differentiable.  Raises TypeError (dtypes) and ValueError (shapes, devices).
    """
    if real("alignment: targets", targets).dtype != real("alignment: kernel", kernel).dtype:
        raise TypeError(f"alignment: targets are {targets.dtype}, but the kernel is {kernel.dtype}")
    axes, shape = targets.dim(), tuple(targets.shape)
    if axes == 0 or tuple(kernel.shape[-2 * axes :]) != shape * 2:
        raise ValueError(
            f"alignment: kernel has shape {list(kernel.shape)}, but targets {list(shape)} need"
            f" {['...', *shape, *shape]}"
        )
    if targets.device != kernel.device:
        raise ValueError(f"alignment: targets are on {targets.device}, but the kernel is on {kernel.device}")
    if flag("centred", centred):
        targets = targets - targets.mean(0)
        kernel = kernel - kernel.mean(-axes, keepdim=True)
        kernel = kernel - kernel.mean(-2 * axes, keepdim=True)
    y, flat = targets.flatten(), kernel.flatten(-2 * axes, -axes - 1).flatten(-axes)
    found = torch.einsum("i,...ij,j->...", y, flat, y)
    size = torch.linalg.matrix_norm(flat) * y.square().sum()
    return torch.where(size == 0, 0, found / torch.where(size == 0, 1, size))


def _layer(read: Equation, operands: Sequence[Tensor], position: int) -> Tensor:
    """J J^T of one operand, by one product."""
    term, operand = read.terms[position], operands[position]
    others = [place for place in range(len(operands)) if place != position]
    used = "".join(letter for each in read.terms for letter in each)
    letters = list(read.extents)
    twin = dict(zip(letters, fresh_letters(used, len(letters))))
    tied = [letter for letter in dict.fromkeys(term) if letter != ELLIPSIS and _is_whole(read, term, operand, letter)]
    inner = [letter for letter in tied if letter not in read.output]
    second = {letter: letter if letter in inner else twin[letter] for letter in letters} | {ELLIPSIS: ELLIPSIS}
    terms = [read.terms[place] for place in others]
    terms += [tuple(second[letter] for letter in read.terms[place]) for place in others]
    factors = [operands[place] for place in others] * 2
    for letter in tied:
        if letter in read.output:  # W moves with the operand in the entry of the same index alone
            terms.append((letter, twin[letter]))
            factors.append(torch.eye(read.extents[letter], dtype=operand.dtype, device=operand.device))
    for letter in inner:
        if not any(_is_whole(read, read.terms[place], operands[place], letter) for place in others):
            # summed in this operand alone
            terms.append((letter,))
            factors.append(operand.new_ones(read.extents[letter]))
    if read.dense or not terms:
        terms.append((ELLIPSIS,))
        factors.append(operand.new_ones(read.dense))
    dots = ELLIPSIS if any(ELLIPSIS in each for each in terms) else ""
    output = dots + "".join(read.letters) + "".join(twin[letter] for letter in read.letters)
    return functional.einsum(f"{','.join(map(''.join, terms))}->{output}", *factors)


def _is_whole(read: Equation, term: Term, operand: Tensor, letter: str) -> bool:
    """Whether the operand has the letter, and in its whole extent: not 1 that is spread over it."""
    if letter not in term:
        return False
    axis = term.index(letter)
    if ELLIPSIS in term and term.index(ELLIPSIS) < axis:
        axis -= len(term)
    return operand.shape[axis] == read.extents[letter]
