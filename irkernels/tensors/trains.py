"""Chains of cores: tensor trains, rings, and matrices as trains."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from irkernels.grammar import symbol
from irkernels.remembered import remembered
from irkernels.tensors.contraction import check_dimensions, contraction


def tt_to_tensor(factors: Sequence[Tensor]) -> Tensor:
    """The tensor of a tensor train: cores [r_{k-1}, n_k, r_k] with r_0 = r_N = 1, result [n_1, ..., n_N].

    >>> tt_to_tensor([torch.ones(1, 2, 3), torch.ones(3, 4, 1)]).shape
    torch.Size([2, 4])
    """
    return _train(factors, 1, ring=False)


def tr_to_tensor(factors: Sequence[Tensor]) -> Tensor:
    """The tensor of a tensor ring: cores [r_{k-1}, n_k, r_k] with r_0 = r_N, summed over too; result [n_1, ..., n_N].

    >>> tr_to_tensor([torch.ones(2, 2, 3), torch.ones(3, 4, 2)])[0, 0]
    tensor(6.)
    """
    return _train(factors, 1, ring=True)


def tt_matrix_to_tensor(tt_matrix: Sequence[Tensor]) -> Tensor:
    """The tensor of a matrix as a tensor train: cores [r_{k-1}, m_k, n_k, r_k], result [m_1, ..., m_N, n_1, ..., n_N].

    >>> tt_matrix_to_tensor([torch.ones(1, 2, 5, 3), torch.ones(3, 4, 6, 1)]).shape
    torch.Size([2, 4, 5, 6])
    """
    return _train(tt_matrix, 2, ring=False)


def _train(cores: Sequence[Tensor], modes: int, ring: bool) -> Tensor:
    cores = list(cores)
    if not cores:
        raise ValueError("there is no core (a train has one at least)")
    for position, core in enumerate(cores):
        check_dimensions(position, core, modes + 2, "a core")
    if not ring:
        for position, axis, end in ((0, 0, "first"), (len(cores) - 1, -1, "last")):
            if cores[position].shape[axis] != 1:
                raise ValueError(
                    f"operand {position} of shape {list(cores[position].shape)} has size {cores[position].shape[axis]}"
                    f" in its {end} dimension, where the train ends (must be 1)"
                )
    return contraction(_train_equation(len(cores), modes, ring), cores)


@remembered
def _train_equation(count: int, modes: int, ring: bool) -> str:
    """`aib,bjc,ckd->ijk`, of a ring `aib,bjc,cka->ijk`; of several modes a core, all first ones before all second."""
    ranks = [symbol(position) for position in range(count + 1)]
    if ring:
        ranks[-1] = ranks[0]
    named = [[symbol(count + 1 + row * count + position) for position in range(count)] for row in range(modes)]
    cores = (ranks[k] + "".join(row[k] for row in named) + ranks[k + 1] for k in range(count))
    return f"{','.join(cores)}->{''.join(''.join(row) for row in named)}"
