"""Table C's peers: steps of gradient descent on observed entries of a tensor product, in each formulation.

"all components": the tensor of every component of CP, summed over them, as published research code forms it.  "einsum":
the whole tensor by torch's or JAX's einsum, read at the entries.  "gather": a row of every factor for each entry.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench import inputs
from bench.inputs import LEARNING_RATE
from bench.peer import Case, Peer, absent_unless
from bench.training_peers import steps_for, took_all
from bench.workloads import TensorCompletion

_EAGER_STEPS = 10


def _all_components(row: TensorCompletion, factors: list[Any], at: Any) -> Any:
    components = functools.reduce(lambda a, b: a[..., None, :] * b, factors)
    return components.sum(-1)[tuple(at)]


def _einsum(einsum: Callable, row: TensorCompletion, factors: list[Any], at: Any) -> Any:
    return einsum(row.product.equation, *factors)[tuple(at)]


def _gather(einsum: Callable, row: TensorCompletion, factors: list[Any], at: Any) -> Any:
    """CP in its shortest form; any other product of gathered rows by einsum, a letter of entries for each mode's."""
    if row.product.family == "cp":
        return functools.reduce(lambda a, b: a * b, [factor[mode] for factor, mode in zip(factors, at)]).sum(-1)
    equation, output = row.product.equation.split("->")
    terms, rows = equation.split(","), list(factors)
    for letter, column in zip(output, at):
        position = next(position for position, term in enumerate(terms) if letter in term)
        rows[position] = rows[position][(slice(None),) * terms[position].index(letter) + (column,)]
        terms[position] = terms[position].replace(letter, "Z")
    return einsum(f"{','.join(terms)}->Z", *rows)


def _arrays(factors: list[Any]) -> list[np.ndarray]:
    return [factor.detach().numpy().copy() if isinstance(factor, Tensor) else np.asarray(factor) for factor in factors]


def _eager(row: TensorCompletion, dtype: str, mode: str, predict: Callable) -> Case:
    absent_unless(
        predict is not _all_components or row.product.family == "cp", "components of CP alone form tensors of their own"
    )
    now: list[Any] = []

    def fresh(seed: int) -> None:
        problem = inputs.completing_tensor(row, dtype, seed)
        factors = [torch.from_numpy(factor).requires_grad_() for factor in problem.factors]
        now[:] = [factors, list(torch.from_numpy(problem.at).T.contiguous()), torch.from_numpy(problem.values)]

    steps = min(row.steps, _EAGER_STEPS)

    def run() -> list[Tensor]:
        factors, at, values = now
        optimizer = torch.optim.SGD(factors, lr=LEARNING_RATE, foreach=True)
        for _ in range(steps):
            optimizer.zero_grad()
            (predict(row, factors, at) - values).square().mean().backward()
            optimizer.step()
        return factors

    return Case(fresh, run, _arrays, steps)


def _jax(row: TensorCompletion, dtype: str, mode: str, gather: bool) -> Case:
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", dtype == "float64")
    formulation = _gather if gather else _einsum
    predict = functools.partial(formulation, functools.partial(jnp.einsum, optimize="optimal"))

    def loss(factors: list, at: list, values: Any) -> Any:
        return jnp.mean((predict(row, factors, at) - values) ** 2)

    @jax.jit
    def trained(factors: list, at: list, values: Any) -> list:
        def step(factors: list, _: None) -> tuple[list, None]:
            return [f - LEARNING_RATE * g for f, g in zip(factors, jax.grad(loss)(factors, at, values))], None

        return jax.lax.scan(step, factors, None, length=row.steps)[0]

    now: list[Any] = []

    def fresh(seed: int) -> None:
        problem = inputs.completing_tensor(row, dtype, seed)
        at = [jnp.asarray(column.astype(np.int32)) for column in problem.at.T]
        now[:] = [[jnp.asarray(factor) for factor in problem.factors], at, jnp.asarray(problem.values)]
        jax.block_until_ready(now)

    return Case(fresh, lambda: jax.block_until_ready(trained(*now)), _arrays, row.steps)


def _irkernels(row: TensorCompletion, dtype: str, mode: str) -> Case:
    import irkernels as irk

    absent_unless(hasattr(irk, "fit"), "irkernels has no fit yet")
    now: list[Any] = []

    def fresh(seed: int) -> None:
        problem = inputs.completing_tensor(row, dtype, seed)
        factors = [torch.nn.Parameter(torch.from_numpy(factor)) for factor in problem.factors]
        model = irk.nn.Product(row.product.equation, *factors)
        observed = irk.Observed(torch.from_numpy(problem.at), torch.from_numpy(problem.values), model.shape)
        now[:] = [model, observed, torch.optim.SGD(model.parameters(), lr=LEARNING_RATE)]

    def run(steps: int) -> list[Tensor]:
        took_all(irk.fit(*now, steps=steps, progress=False))
        return list(now[0].parameters())

    fresh(0)
    run(1)
    steps = row.given_steps or steps_for(run)
    return Case(fresh, lambda: run(steps), _arrays, steps)


RESEARCH = Peer("all components", functools.partial(_eager, predict=_all_components), "torch")
JAX_FORMULATIONS = [
    Peer("JAX einsum scan", functools.partial(_jax, gather=False), "jax", "jax"),
    Peer("JAX gather scan", functools.partial(_jax, gather=True), "jax", "jax"),
]
OWN = Peer("irkernels", _irkernels, "torch", "irkernels")
TENSOR_PEERS = [
    RESEARCH,
    Peer("eager einsum", functools.partial(_eager, predict=functools.partial(_einsum, torch.einsum)), "torch"),
    Peer("eager gather", functools.partial(_eager, predict=functools.partial(_gather, torch.einsum)), "torch"),
    *JAX_FORMULATIONS,
    Peer("irkernels, 1 core", _irkernels, "torch", "irkernels", cores=1),
    OWN,
]
