"""Table B's peers: steps of gradient descent on the mean squared error over observed entries of a matrix chain.

A run is many steps from the given factors; the times are for one step of one trial. Each peer takes the faster of two
formulations: the product indexed at the observed entries ("gather"), or masked where nothing is observed ("dense").
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
from bench.timing import fastest, seconds_per_call
from bench.workloads import MANY_TRIALS, TRIALS, Completion

_EAGER_STEPS = 50  # in a Python loop a step's cost does not depend on how many there are
_OWN_SECONDS = 0.4  # a native run is made this long, so that its start costs nothing in comparison
_MANY_AT_MOST = 10  # extents up to which very many trials are run


def _matmul(factors: list[Tensor]) -> Tensor:
    return functools.reduce(torch.matmul, factors)


class _TorchProblem:
    """Data and factors of the present inputs as tensors."""

    def __init__(self, row: Completion, dtype: str) -> None:
        self.row, self.dtype = row, dtype

    def fresh(self, seed: int) -> None:
        problem, n = inputs.completing(self.row, self.dtype, seed), self.row.n
        self.flat = torch.from_numpy(problem.at[:, 0] * n + problem.at[:, 1])
        self.values = torch.from_numpy(problem.values)
        self.mask = torch.zeros(n * n, dtype=self.values.dtype).index_fill_(0, self.flat, 1.0).view(n, n)
        self.target = torch.zeros(n * n, dtype=self.values.dtype).index_put_((self.flat,), self.values).view(n, n)
        self.factors = [torch.from_numpy(factor).requires_grad_() for factor in problem.factors]


def _losses(problem: _TorchProblem, product: Callable) -> dict[str, Callable]:
    def gather(factors: list[Tensor], flat: Tensor, values: Tensor, mask: Tensor, target: Tensor) -> Tensor:
        return (product(factors).view(-1)[flat] - values).square().mean()

    def dense(factors: list[Tensor], flat: Tensor, values: Tensor, mask: Tensor, target: Tensor) -> Tensor:
        return ((product(factors) - target) * mask).square().sum() / problem.row.observed

    return {"gather": gather, "dense": dense}


def _data(problem: _TorchProblem) -> tuple[Tensor, ...]:
    return problem.flat, problem.values, problem.mask, problem.target


def _eager(row: Completion, dtype: str, mode: str, multiply: Callable) -> Case:
    problem = _TorchProblem(row, dtype)

    def run(loss: Callable, settings: dict[str, bool], steps: int = min(row.steps, _EAGER_STEPS)) -> list[Tensor]:
        optimizer = torch.optim.SGD(problem.factors, lr=LEARNING_RATE, **settings)
        for _ in range(steps):
            optimizer.zero_grad()
            loss(problem.factors, *_data(problem)).backward()
            optimizer.step()
        return problem.factors

    problem.fresh(0)
    variants = {
        f"{name}, {kind} SGD": functools.partial(run, loss, {kind: True})
        for name, loss in _losses(problem, multiply).items()
        for kind in ("fused", "foreach")
    }
    note = fastest(variants)
    return Case(problem.fresh, variants[note], _arrays, min(row.steps, _EAGER_STEPS), note)


def _compiled(row: Completion, dtype: str, mode: str) -> Case:
    problem = _TorchProblem(row, dtype)
    torch._dynamo.reset()
    losses = _losses(problem, _matmul)

    def whole_step(loss: Callable) -> Callable[[], list[Tensor]]:
        def step(factors: list[Tensor], *data: Tensor) -> list[Tensor]:
            gradients = torch.func.grad(loss)(factors, *data)
            return [factor - LEARNING_RATE * gradient for factor, gradient in zip(factors, gradients)]

        compiled = torch.compile(step, dynamic=False, fullgraph=True)

        def run() -> list[Tensor]:
            factors = [factor.detach() for factor in problem.factors]
            for _ in range(min(row.steps, _EAGER_STEPS)):
                factors = compiled(factors, *_data(problem))
            return factors

        return run

    problem.fresh(0)
    variants = {name: whole_step(loss) for name, loss in losses.items()}
    note = fastest(variants)
    return Case(problem.fresh, variants[note], _arrays, min(row.steps, _EAGER_STEPS), note)


def _few_or_small(row: Completion, trials: int | None) -> None:
    reason = f"{MANY_TRIALS} trials are for extents up to {_MANY_AT_MOST}"
    absent_unless(trials != MANY_TRIALS or row.n <= _MANY_AT_MOST, reason)


def _arrays(factors: list[Tensor]) -> list[np.ndarray]:
    return [factor.detach().numpy().copy() for factor in factors]


def _jax(row: Completion, dtype: str, mode: str, trials: int | None = None) -> Case:
    import jax
    import jax.numpy as jnp

    _few_or_small(row, trials)
    jax.config.update("jax_enable_x64", dtype == "float64")
    steps = row.steps if trials is None or row.given_steps else max(4, row.steps // trials)

    def gather(factors: list, flat: Any, values: Any, mask: Any, target: Any) -> Any:
        return jnp.mean((functools.reduce(jnp.matmul, factors).reshape(-1)[flat] - values) ** 2)

    def dense(factors: list, flat: Any, values: Any, mask: Any, target: Any) -> Any:
        return jnp.sum(((functools.reduce(jnp.matmul, factors) - target) * mask) ** 2) / row.observed

    def many_steps(loss: Callable) -> Callable:
        gradient = jax.grad(loss)
        if trials is not None:
            gradient = jax.vmap(gradient, in_axes=(0, None, None, None, None))

        def run(factors: list, *data: Any) -> list:
            def step(factors: list, _: None) -> tuple[list, None]:
                return [f - LEARNING_RATE * g for f, g in zip(factors, gradient(factors, *data))], None

            return jax.lax.scan(step, factors, None, length=steps)[0]

        return jax.jit(run)

    now: list = []

    def fresh(seed: int) -> None:
        problem = inputs.completing(row, dtype, seed, trials)
        flat = problem.at[:, 0] * row.n + problem.at[:, 1]
        mask, target = np.zeros(row.n**2, dtype), np.zeros(row.n**2, dtype)
        mask[flat], target[flat] = 1, problem.values
        square = (row.n, row.n)
        data = (flat.astype(np.int32), problem.values, mask.reshape(square), target.reshape(square))
        now[:] = [[jnp.asarray(factor) for factor in problem.factors], *(jnp.asarray(each) for each in data)]
        jax.block_until_ready(now)

    def timed(compiled: Callable) -> Callable[[], list]:
        return lambda: jax.block_until_ready(compiled(*now))

    fresh(0)
    variants = {name: timed(many_steps(loss)) for name, loss in (("gather", gather), ("dense", dense))}
    note = fastest(variants)
    return Case(fresh, variants[note], lambda factors: [np.asarray(f) for f in factors], steps * (trials or 1), note)


def _irkernels(row: Completion, dtype: str, mode: str, trials: int | None = None) -> Case:
    import irkernels as irk

    absent_unless(hasattr(irk, "fit"), "irkernels has no fit yet")
    _few_or_small(row, trials)
    kind = getattr(torch, dtype)
    model = irk.nn.MatrixChain(row.n, row.n, row.depth, trials=trials, init="gaussian", init_scale=1.0, dtype=kind)
    optimizer = torch.optim.SGD(model.parameters(), lr=LEARNING_RATE)
    data: list = []

    def fresh(seed: int) -> None:
        problem = inputs.completing(row, dtype, seed, trials)
        at, values = torch.from_numpy(problem.at), torch.from_numpy(problem.values)
        data[:] = [irk.Observed(at, values, (row.n, row.n))]
        with torch.no_grad():
            for parameter, factor in zip(model.parameters(), problem.factors):
                parameter.copy_(torch.from_numpy(factor))

    def run(steps: int) -> list[Tensor]:
        took_all(irk.fit(model, data[0], optimizer, steps=steps, progress=False))
        return list(model.parameters())

    fresh(0)
    run(1)
    steps = row.given_steps or steps_for(run)
    return Case(fresh, lambda: run(steps), _arrays, steps * (trials or 1))


def took_all(trajectory: Any) -> None:
    """Raises ArithmeticError where a run ended before its last step: its time would say nothing."""
    reasons = {trajectory.reason} if isinstance(trajectory.reason, str) else set(trajectory.reason)
    if reasons != {"steps"}:
        raise ArithmeticError(f"its run ended early: {', '.join(sorted(reasons))}")


def steps_for(run: Callable[[int], object]) -> int:
    """Steps that take about _OWN_SECONDS: grown until the start of a run no longer counts."""
    steps = 8
    while steps < 10_000_000:
        seconds = seconds_per_call(functools.partial(run, steps), 1)
        if seconds > _OWN_SECONDS / 2:
            return max(8, round(steps * _OWN_SECONDS / seconds))
        steps *= 4
    return steps


def _peer(name: str, prepare: Callable, process: str, needs: str = "", cores: int | None = None, **given: Any) -> Peer:
    return Peer(name, functools.partial(prepare, **given), process, needs, cores)


EAGER = _peer("eager", _eager, "torch", multiply=_matmul)
JAX_ONE_CORE = _peer("JAX scan, 1 core", _jax, "jax", "jax", cores=1)
JAX = _peer("JAX scan", _jax, "jax", "jax")
JAX_TRIALS = _peer(f"JAX vmap {TRIALS}", _jax, "jax", "jax", trials=TRIALS)
JAX_MANY_TRIALS = _peer(f"JAX vmap {MANY_TRIALS}", _jax, "jax", "jax", trials=MANY_TRIALS)
OWN_ONE_CORE = _peer("irkernels, 1 core", _irkernels, "torch", "irkernels", cores=1)
OWN = _peer("irkernels", _irkernels, "torch", "irkernels")
OWN_TRIALS = _peer(f"irkernels {TRIALS}", _irkernels, "torch", "irkernels", trials=TRIALS)
OWN_MANY_TRIALS = _peer(f"irkernels {MANY_TRIALS}", _irkernels, "torch", "irkernels", trials=MANY_TRIALS)
TRAINING_PEERS = [
    EAGER,
    _peer("multi_dot", _eager, "torch", multiply=torch.linalg.multi_dot),
    _peer("torch.compile", _compiled, "torch"),
    JAX_ONE_CORE,
    JAX,
    JAX_TRIALS,
    JAX_MANY_TRIALS,
    OWN_ONE_CORE,
    OWN,
    OWN_TRIALS,
    OWN_MANY_TRIALS,
]
