"""Table A's and B's contenders on a GPU: what each would run, made when asked for.

Table A: the value and all gradients. Table B: a step of gradient descent on the mean squared error over observed
entries. Eager torch also as a CUDA graph; torch.compile and JAX in parts of their own (gpu_parts.py).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from bench import inputs
from bench.gpu_rows import Row
from bench.gpu_steps import eager_steps, factors_of, losses_of, matmul, own_steps
from bench.gpu_timing import device_lost, graphed, measured
from bench.peer import Absent
from bench.peers import along_the_path
from bench.timing import quartiles, seconds_per_call
from bench.workloads import Product

_DTYPE = "float32"
_JAX_STEPS = 200  # in one scan
_LANES_WORK = 1_000_000  # multiply-adds of a step up to which one thread is tried with it
_JAX_RUNS = 5
Run = Callable[[], object]


def timed(row: Row) -> dict[str, Any]:
    """Seconds of eager torch, of its CUDA graph and of ours, for one call or one step of one trial."""
    eager = _operators(row) if isinstance(row, Product) else eager_steps(row)
    makers = {f"eager, {name}": functools.partial(_same, run) for name, run in eager.items()}
    makers |= {f"graphed, {name}": functools.partial(graphed, run) for name, run in eager.items()}
    if isinstance(row, Product):
        import irkernels as irk

        own = _gradients(row, functools.partial(irk.einsum, row.subscripts))
        makers |= {"irkernels": functools.partial(_same, own), "irkernels, graphed": functools.partial(graphed, own)}
        return collected(makers)
    found = collected(makers, units_of(row))
    if "failed" in found:
        return found
    for tier in (None, "core", "grid", *["lanes"] * (row.multiply_adds <= _LANES_WORK)):
        name = f"irkernels, {tier}" if tier else "irkernels"
        try:
            found["seconds"][name], found["notes"][name] = own_steps(row, tier)
        except Exception as error:
            if noted(found, name, error):
                return found
    return found


def compiled(row: Row) -> dict[str, Any]:
    """Seconds of torch.compile with graphs of its own; of training steps in both formulations."""
    torch._dynamo.reset()  # one graph at a time: else the limit on recompilations is reached
    settings = {"mode": "reduce-overhead", "dynamic": False, "fullgraph": True}
    runs: dict[str, Run] = {}
    if isinstance(row, Product):
        runs["torch.compile"] = _gradients(row, torch.compile(along_the_path(row), **settings))
    else:
        for name, loss in losses_of(row).items():
            gradients = torch.compile(torch.func.grad(loss), **settings)
            runs[f"torch.compile, {name}"] = functools.partial(_step, gradients, factors_of(row))
    return collected({name: functools.partial(_marked, run) for name, run in runs.items()}, units_of(row))


def _step(gradients: Callable[[list[Tensor]], list[Tensor]], factors: list[Tensor]) -> None:
    torch._foreach_add_(factors, list(gradients(factors)), alpha=-inputs.LEARNING_RATE)


def _marked(run: Run) -> Run:
    def one_step() -> None:
        torch.compiler.cudagraph_mark_step_begin()  # what the last run returned may be overwritten
        run()

    return one_step


def jax(row: Row) -> dict[str, Any]:
    """Seconds of JAX by the host's clock, each run waited for.  Raises Absent without JAX or its device."""
    from bench import peers, training_peers

    named = {peer.name: peer for peer in peers.OPERATOR_PEERS}
    try:
        import jax as package
    except ImportError as error:
        raise Absent("jax is not installed") from error
    if package.default_backend() != "gpu":
        raise Absent(f"jax has the backend {package.default_backend()} only")
    if isinstance(row, Product):
        case = named["JAX"].case(row, _DTYPE, "gradients")
    else:
        completion = replace(row.completion, given_steps=_JAX_STEPS)
        case = training_peers._jax(completion, _DTYPE, "training", row.trials)
    case.run()
    samples = [seconds_per_call(case.run, 3) / case.units for _ in range(_JAX_RUNS)]
    return {"seconds": {"JAX": quartiles(samples)}, "notes": {"JAX": case.note} if case.note else {}}


def collected(makers: dict[str, Callable[[], Run]], units: int = 1) -> dict[str, Any]:
    """Quartiles of each contender's seconds for one unit; a failure is a note, and the others go on."""
    found: dict[str, Any] = {"seconds": {}, "notes": {}}
    for name, make in makers.items():
        try:
            found["seconds"][name] = tuple(each / units for each in measured(make()))
        except Exception as error:
            if noted(found, name, error):
                break
    return found


def noted(found: dict[str, Any], name: str, error: Exception) -> bool:
    """Notes a contender's failure; true if the device is lost with it, which is the row's failure too."""
    found["notes"][name] = f"{type(error).__name__}: {error}".splitlines()[0][:200]
    if device_lost():
        found["failed"] = f"{name}: {found['notes'][name]}"
    return "failed" in found


def _same(run: Run) -> Run:
    return run


def _gradients(row: Product, function: Callable[..., Tensor]) -> Run:
    arrays, cotangent = inputs.operands(row, _DTYPE, 1)
    operands, seed = [torch.from_numpy(array).cuda() for array in arrays], torch.from_numpy(cotangent).cuda()
    wanted = [operands[place].requires_grad_() for place in row.wanted]

    def run() -> tuple[Tensor, ...]:
        product = function(*operands)
        return product, *torch.autograd.grad(product, wanted, seed)

    return run


def units_of(row: Row) -> int:
    """Times are given for one call, or for one step of one trial."""
    return 1 if isinstance(row, Product) else row.trials or 1


def _operators(row: Product) -> dict[str, Run]:
    functions: dict[str, Callable[..., Tensor]] = {
        "einsum": functools.partial(torch.einsum, row.subscripts),
        "einsum of pairs": along_the_path(row),
    }
    if row.family == "chain":
        functions["matmul"] = lambda *factors: matmul(factors)
        if row.trials is None:
            functions["multi_dot"] = lambda *factors: torch.linalg.multi_dot(factors)
    return {name: _gradients(row, function) for name, function in functions.items()}
