"""A tensor times matrices and vectors along its modes, and the Tucker form."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from torch import Tensor

from irkernels.grammar import symbol
from irkernels.reference.operands import check_kind
from irkernels.remembered import remembered
from irkernels.tensors.contraction import contraction, left_out, mode_of


def mode_dot(tensor: Tensor, matrix_or_vector: Tensor, mode: int, transpose: bool = False) -> Tensor:
    """The tensor times one matrix or vector along a mode: multi_mode_dot with one.

    >>> mode_dot(torch.ones(2, 3, 4), torch.ones(5, 3), 1).shape
    torch.Size([2, 5, 4])
    """
    return multi_mode_dot(tensor, [matrix_or_vector], [mode], transpose=transpose)


def multi_mode_dot(
    tensor: Tensor,
    matrix_or_vec_list: Sequence[Tensor],
    modes: Iterable[int] | None = None,
    skip: int | None = None,
    transpose: bool = False,
) -> Tensor:
    """The tensor [i_1, ..., i_N] times matrices [J, i_m] or vectors [i_m] along modes m.

    modes: one for each, 0, 1, 2, ... without; negative ones count from the end; matrices of one mode are applied in the
    order given.  A vector takes its mode away.  skip: the position, in the order of the modes, of one that is left out;
    a negative one names none, as in TensorLy.  transpose: the matrices are [i_m, J].  With nothing to multiply by the
    tensor itself is returned.

    >>> multi_mode_dot(torch.ones(2, 3, 4), [torch.ones(5, 2), torch.ones(4)], modes=[0, -1]).shape
    torch.Size([5, 3])
    """
    check_kind(0, tensor)
    order = tensor.dim()
    modes = list(range(len(matrix_or_vec_list)) if modes is None else modes)
    if len(modes) != len(matrix_or_vec_list):
        raise ValueError(
            f"there are {len(matrix_or_vec_list)} matrices or vectors, but {len(modes)} modes (one for each)"
        )
    modes = [mode_of("mode", mode, order, "modes") for mode in modes]
    placed = sorted(zip(modes, matrix_or_vec_list), key=lambda pair: pair[0])
    out = left_out("skip", skip, len(placed), "matrices or vectors")
    if out is not None:
        del placed[out]
    for position, (_, factor) in enumerate(placed, 1):
        check_kind(position, factor)
        if factor.dim() not in (1, 2):
            raise ValueError(
                f"operand {position} of shape {list(factor.shape)} has {factor.dim()} dimensions, but a mode is"
                " multiplied by a matrix or a vector"
            )
    if not placed:
        return tensor
    if not isinstance(transpose, (bool, int)):
        raise TypeError(f"transpose must be True or False, got {type(transpose).__name__}")
    equation = _along_modes(order, tuple((mode, factor.dim()) for mode, factor in placed), bool(transpose))
    return contraction(equation, [tensor, *(factor for _, factor in placed)])


def tucker_to_tensor(tucker_tensor: Any, skip_factor: int | None = None, transpose_factors: bool = False) -> Tensor:
    """The tensor of a Tucker form: the core [r_1, ..., r_N] times factors [n_k, r_k] along its modes, [n_1, ..., n_N].

    tucker_tensor: (core, factors) or what unpacks to them.  skip_factor: a position to leave out.  transpose_factors:
    the factors are [r_k, n_k].

    >>> tucker_to_tensor((torch.ones(2, 2), [torch.ones(3, 2), torch.ones(4, 2)])).shape
    torch.Size([3, 4])
    """
    core, factors = tucker_tensor
    return multi_mode_dot(core, factors, skip=skip_factor, transpose=transpose_factors)


@remembered
def _along_modes(order: int, factors: tuple[tuple[int, int], ...], transpose: bool) -> str:
    """The equation for factors of these (mode, dimensions): `abc,da,c->db`."""
    tensor = [symbol(position) for position in range(order)]
    now: list[str] = list(tensor)  # each mode's letter so far, none where a vector took it away
    terms = ["".join(tensor)]
    for position, (mode, dimensions) in enumerate(factors):
        before = now[mode]
        if not before:
            raise ValueError(f"operand {position + 1} multiplies mode {mode}, which a vector before it has taken away")
        now[mode] = symbol(order + position) if dimensions == 2 else ""
        terms.append(before + now[mode] if transpose else now[mode] + before)
    return f"{','.join(terms)}->{''.join(now)}"
