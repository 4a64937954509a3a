"""Valid calls of the verbs, of observations, and of the pairwise and factored functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

import irkernels as irk

CHAIN, TRIALS = "ij,jk->ik", "...ij,jk->...ik"
Made = tuple[Callable[..., Any], list[Any], dict[str, Any]]


def draw(*shape: int) -> Tensor:
    return torch.randn(shape)


def at() -> Tensor:
    return torch.tensor([[0, 1], [1, 3], [1, 0]])


def observed() -> irk.Observed:
    return irk.Observed(at(), draw(3), (2, 4))


def chain() -> list[Any]:
    return [CHAIN, draw(2, 3), draw(3, 4)]


def chain_of_trials() -> list[Any]:
    return [TRIALS, draw(5, 2, 3), draw(3, 4)]


def trained() -> list[Any]:
    return [CHAIN, draw(2, 3).requires_grad_(), draw(3, 4).requires_grad_()]


def value_and_gradients(equation: Any, *operands: Any) -> None:
    irk.einsum(equation, *operands).sum().backward()


def loss_and_gradients(equation: Any, *operands: Any, **options: Any) -> None:
    irk.completion_loss(equation, *operands, **options).sum().backward()


VERBS: dict[str, Callable[[], Made]] = {
    "einsum": lambda: (irk.einsum, chain(), {}),
    "einsum of trials": lambda: (irk.einsum, chain_of_trials(), {}),
    "einsum of a list": lambda: (irk.einsum, [CHAIN, [draw(2, 3), draw(3, 4)]], {}),
    "einsum of sublists": lambda: (irk.einsum, [draw(2, 3), [0, 1], draw(3, 4), [1, 2], [0, 2]], {}),
    "einsum of seven": lambda: (irk.einsum, ["ar,br,cr,dr,er,fr,r->abcdef", *(draw(2, 3) for _ in range(6)), draw(3)],
        {}),
    "einsum of a path": lambda: (
        irk.einsum,
        ["ij,jk,kl->il", draw(2, 3), draw(3, 4), draw(4, 5)],
        {"path": [(1, 2), (0, 1)]},
    ),
    "einsum, backward": lambda: (value_and_gradients, trained(), {}),
    "einsum of views": lambda: (irk.einsum, ["ij,jk,i->k", draw(3, 2).t(), draw(3, 8)[:, ::2], draw(1).expand(2)], {}),
    "multi_dot": lambda: (irk.multi_dot, [[draw(2, 3), draw(3, 4), draw(4, 5)]], {}),
    "multi_dot of trials": lambda: (irk.multi_dot, [[draw(3, 2, 3), draw(3, 4), draw(4)]], {}),
    "entries": lambda: (irk.entries, chain(), {"at": at()}),
    "entries of trials": lambda: (irk.entries, chain_of_trials(), {"at": irk.Coordinates(at(), (2, 4))}),
    "gradients": lambda: (irk.gradients, chain(), {"cotangent": draw(2, 4)}),
    "gradients of a pair": lambda: (irk.gradients, chain(), {"cotangent": (at(), draw(3))}),
    "gradients of observations": lambda: (irk.gradients, chain(), {"cotangent": observed(), "path": None}),
    "completion_loss": lambda: (irk.completion_loss, chain(), {"observed": observed(), "loss": "huber", "delta": 1.0}),
    "completion_loss, backward": lambda: (loss_and_gradients, trained(), {"observed": observed()}),
    "completion_loss of trials": lambda: (
        irk.completion_loss,
        chain_of_trials(),
        {"observed": irk.Observed(at(), draw(5, 3), (2, 4))},
    ),
    "log_einsum": lambda: (irk.log_einsum, chain(), {}),
    "log_entries": lambda: (irk.log_entries, chain(), {"at": at()}),
    "explain": lambda: (
        irk.explain,
        [CHAIN, (2, 3), (3, 4)],
        {"nnz": 3, "dtype": torch.float32, "wanted": [True, False], "path": [(0, 1)]},
    ),
    "explain of tensors": lambda: (irk.explain, chain(), {"nnz": None}),
    "Coordinates": lambda: (irk.Coordinates, [at(), (2, 4)], {}),
    "Observed": lambda: (irk.Observed, [at(), draw(3), (2, 4)], {"weights": torch.ones(3)}),
    "Observed.from_dense": lambda: (irk.Observed.from_dense, [draw(2, 3)], {"mask": torch.ones(2, 3) > 0}),
    "Observed.to": lambda: (observed().to, [torch.float64], {}),
    "sorted_by": lambda: (irk.Coordinates(at(), (2, 4)).sorted_by, [(1, 0)], {}),
    "tensordot": lambda: (irk.tensordot, [draw(2, 3), draw(3, 4)], {"dims": 1}),
    "tensordot of axes": lambda: (irk.tensordot, [draw(2, 3), draw(3, 2)], {"axes": ([0, 1], [1, 0])}),
    "transpose": lambda: (irk.transpose, [draw(2, 3, 4)], {"axes": [2, 0, 1]}),
}

FACTORED: dict[str, Callable[[], Made]] = {
    "cp_to_tensor": lambda: (irk.cp_to_tensor, [(draw(2), [draw(3, 2), draw(4, 2)])], {"mask": None}),
    "tucker_to_tensor": lambda: (
        irk.tucker_to_tensor,
        [(draw(2, 3), [draw(4, 2), draw(5, 3)])],
        {"skip_factor": None, "transpose_factors": False},
    ),
    "tt_to_tensor": lambda: (irk.tt_to_tensor, [[draw(1, 3, 2), draw(2, 4, 1)]], {}),
    "tr_to_tensor": lambda: (irk.tr_to_tensor, [[draw(2, 3, 2), draw(2, 4, 2)]], {}),
    "tt_matrix_to_tensor": lambda: (irk.tt_matrix_to_tensor, [[draw(1, 3, 2, 2), draw(2, 4, 2, 1)]], {}),
    "ht_to_tensor": lambda: (
        irk.ht_to_tensor,
        [(draw(5, 2), [(draw(2, 3, 5), [draw(4, 2), draw(6, 3)]), draw(7, 2)])],
        {"modes": [0, 1, 2]},
    ),
    "khatri_rao": lambda: (
        irk.khatri_rao,
        [[draw(2, 3), draw(4, 3)]],
        {"weights": draw(3), "skip_matrix": None, "mask": None},
    ),
    "mode_dot": lambda: (irk.mode_dot, [draw(2, 3, 4), draw(5, 3), 1], {"transpose": False}),
    "multi_mode_dot": lambda: (
        irk.multi_mode_dot,
        [draw(2, 3, 4), [draw(5, 2), draw(6, 3)]],
        {"modes": [0, 1], "skip": None, "transpose": False},
    ),
    "unfolding_dot_khatri_rao": lambda: (
        irk.unfolding_dot_khatri_rao,
        [draw(2, 3, 4), (draw(2), [draw(2, 2), draw(3, 2), draw(4, 2)]), 1],
        {},
    ),
}
