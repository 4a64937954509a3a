"""Table A's peers: each makes an end-to-end product and its gradients in its own best setting.

mode "gradients": value and all wanted gradients, by the peer's own differentiation. mode "value": the value alone,
without recording for differentiation.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from bench import inputs
from bench.cost import pairwise_steps
from bench.peer import Case, Peer, absent_unless
from bench.timing import fastest
from bench.workloads import Product

Function = Callable[..., Tensor]


@dataclass
class _TorchInputs:
    operands: list[Tensor] = field(default_factory=list)
    wanted: list[Tensor] = field(default_factory=list)
    cotangent: Tensor | None = None


def _torch_case(row: Product, dtype: str, mode: str, variants: dict[str, Function]) -> Case:
    """A case for a function of the operands; of several variants the fastest is taken."""
    now = _TorchInputs()

    def fresh(seed: int) -> None:
        arrays, cotangent = inputs.operands(row, dtype, seed)
        now.operands = [torch.from_numpy(array) for array in arrays]
        now.cotangent = torch.from_numpy(cotangent)
        if mode == "gradients":
            now.wanted = [now.operands[position].requires_grad_() for position in row.wanted]

    def gradients(function: Function) -> tuple[Tensor, ...]:
        product = function(*now.operands)
        return product, *torch.autograd.grad(product, now.wanted, now.cotangent)

    def value(function: Function) -> tuple[Tensor, ...]:
        with torch.no_grad():
            return (function(*now.operands),)

    one = gradients if mode == "gradients" else value
    runs = {name: functools.partial(one, function) for name, function in variants.items()}
    fresh(0)
    note = fastest(runs) if len(runs) > 1 else ""
    run = runs[note] if note else next(iter(runs.values()))
    return Case(fresh, run, lambda results: [tensor.detach().numpy() for tensor in results], note=note)


def _einsum(row: Product, dtype: str, mode: str) -> Case:
    settings = torch.backends.opt_einsum

    def with_path(strategy: str) -> Function:
        def function(*operands: Tensor) -> Tensor:
            settings.enabled, settings.strategy = True, strategy
            return torch.einsum(row.subscripts, *operands)

        return function

    def left_to_right(*operands: Tensor) -> Tensor:
        settings.enabled = False
        return torch.einsum(row.subscripts, *operands)

    variants = {"left to right": left_to_right}
    if len(row.shapes) > 2 and settings.is_available():
        variants |= {strategy: with_path(strategy) for strategy in ("auto", "optimal")}
    return _torch_case(row, dtype, mode, variants)


def along_the_path(row: Product) -> Function:
    """The product by torch.einsum of two operands at a time, in the cheapest order, which is fixed once."""
    dots = "" if row.trials is None else "..."
    steps = pairwise_steps(row.equation, dict(row.extents))

    def function(*operands: Tensor) -> Tensor:
        remaining = list(operands)
        for positions, step in steps:
            taken = [remaining.pop(position) for position in sorted(positions, reverse=True)]
            terms, output = step.split("->")
            dotted = ",".join(dots + term for term in terms.split(",")) + "->" + dots + output
            remaining.append(torch.einsum(dotted, *taken))
        return remaining[0]

    return function


def _compiled(row: Product, dtype: str, mode: str) -> Case:
    # The order is fixed before tracing, so that the graph holds it and no path search is guarded on.
    torch._dynamo.reset()  # one graph at a time: else the limit on recompilations is reached
    compiled = torch.compile(along_the_path(row), dynamic=False, fullgraph=True)
    return _torch_case(row, dtype, mode, {"compiled": compiled})


def _multi_dot(row: Product, dtype: str, mode: str) -> Case:
    absent_unless(row.family == "chain", "multi_dot multiplies matrix chains only")
    absent_unless(row.trials is None, "multi_dot takes no trials")
    return _torch_case(row, dtype, mode, {"": lambda *operands: torch.linalg.multi_dot(operands)})


def _matmul(row: Product, dtype: str, mode: str) -> Case:
    absent_unless(row.family == "chain", "matmul multiplies matrix chains only")
    return _torch_case(row, dtype, mode, {"": lambda *operands: functools.reduce(torch.matmul, operands)})


def _mm(row: Product, dtype: str, mode: str) -> Case:
    absent_unless(row.family == "chain" and len(row.shapes) == 2 and row.trials is None, "mm multiplies two matrices")
    return _torch_case(row, dtype, mode, {"": torch.mm})


def _opt_einsum(row: Product, dtype: str, mode: str) -> Case:
    import opt_einsum

    search = "optimal" if len(row.shapes) <= 8 else "dp"
    expression = opt_einsum.contract_expression(row.subscripts, *row.shapes, optimize=search)
    return _torch_case(row, dtype, mode, {"": expression})


def _tensorly(row: Product, dtype: str, mode: str) -> Case:
    absent_unless(row.trials is None, "TensorLy takes no trials")
    absent_unless(row.family in ("cp", "tucker", "tt"), f"TensorLy has no product of family {row.family}")
    import tensorly

    tensorly.set_backend("pytorch")

    def tensor_train(first: Tensor, *cores: Tensor) -> Tensor:
        return tensorly.tt_to_tensor([first[None], *cores[:-1], cores[-1][..., None]])

    function = {
        "cp": lambda *factors: tensorly.cp_to_tensor((None, factors)),
        "tucker": lambda core, *factors: tensorly.tucker_to_tensor((core, factors)),
        "tt": tensor_train,
    }[row.family]
    return _torch_case(row, dtype, mode, {"": function})


def _irkernels(row: Product, dtype: str, mode: str) -> Case:
    import irkernels as irk

    return _torch_case(row, dtype, mode, {"": lambda *operands: irk.einsum(row.subscripts, *operands)})


def _jax(row: Product, dtype: str, mode: str) -> Case:
    import jax
    import jax.numpy as jnp
    import numpy as np

    jax.config.update("jax_enable_x64", dtype == "float64")
    search = "optimal" if len(row.shapes) <= 8 else "dp"

    def product(*operands: Any) -> Any:
        return jnp.einsum(row.subscripts, *operands, optimize=search)

    @jax.jit
    def gradients(operands: list, cotangent: Any) -> tuple:
        def of_wanted(*wanted: Any) -> Any:
            replaced = dict(zip(row.wanted, wanted))
            return product(*(replaced.get(place, operand) for place, operand in enumerate(operands)))

        result, pullback = jax.vjp(of_wanted, *(operands[position] for position in row.wanted))
        return result, *pullback(cotangent)

    value = jax.jit(lambda operands, cotangent: (product(*operands),))
    compiled = gradients if mode == "gradients" else value
    now: list = [None, None]

    def fresh(seed: int) -> None:
        arrays, cotangent = inputs.operands(row, dtype, seed)
        now[:] = [jnp.asarray(array) for array in arrays], jnp.asarray(cotangent)
        jax.block_until_ready(now)

    fresh(0)
    return Case(fresh, lambda: jax.block_until_ready(compiled(*now)), lambda results: [np.asarray(r) for r in results])


OWN = Peer("irkernels", _irkernels, "torch", needs="irkernels")
# whatever the row's mode is: to be measured beside OWN in the same rounds
OWN_VALUE = Peer("irkernels, value", lambda row, dtype, mode: _irkernels(row, dtype, "value"), "torch", "irkernels")
EINSUM = Peer("torch.einsum", _einsum, "torch")
COMPILED = Peer("torch.compile", _compiled, "torch")
MM = Peer("torch.mm", _mm, "torch")
OPERATOR_PEERS = [
    EINSUM,
    COMPILED,
    Peer("multi_dot", _multi_dot, "torch"),
    Peer("matmul", _matmul, "torch"),
    Peer("opt_einsum", _opt_einsum, "torch", needs="opt_einsum"),
    Peer("TensorLy", _tensorly, "torch", needs="tensorly"),
    Peer("JAX", _jax, "jax", needs="jax"),
    OWN,
]
CALL_PEERS = [MM, *OPERATOR_PEERS]
ALL_PEERS = [*CALL_PEERS, OWN_VALUE]
