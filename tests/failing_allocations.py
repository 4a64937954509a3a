"""Every allocation of the core fails once, in turn: run by test_failing_allocations.py, failing_new.cpp loaded ahead.

Prints a line for each case: how often it allocates, and what went wrong, if anything did.
"""

from __future__ import annotations

import ctypes
import gc
import random
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor

import irkernels as irk
from irkernels import _native
from irkernels.testing.fingerprint import bits
from irkernels.testing.registry import FAMILIES

Call = Callable[[], list[Tensor]]
NAMES = {"chain_3", "chain_3_of_trials", "chain_3_2x2_of_trials", "chain_3_of_papers", "cp_4", "hierarchical_4"}


def verbs() -> Iterator[tuple[str, Call]]:
    """Each verb on a chain with trials, on a tensor and on gathered rows, single calls and calls in lanes."""
    draw = torch.Generator().manual_seed(0)
    for product in (each for each in FAMILIES if each.name in NAMES):
        factors = [torch.randn(shape, generator=draw) for shape in product.shapes]
        leaves = [factor.clone().requires_grad_() for factor in factors]
        equation = product.equation
        shape = irk.einsum(equation, *factors).shape
        lead = len(shape) - len(equation.split("->")[1].replace("...", ""))
        at = torch.stack([torch.randint(size, (9,), generator=draw) for size in shape[lead:]], 1)
        data = irk.Observed(at, torch.randn(*shape[:lead], 9, generator=draw), shape[lead:])

        def slopes(value: Tensor, leaves: list[Tensor] = leaves) -> list[Tensor]:
            first = torch.autograd.grad(value.square().sum(), leaves, create_graph=True)
            second = torch.autograd.grad(sum(slope.square().sum() for slope in first), leaves)
            return [value.detach(), *(slope.detach() for slope in first), *second]

        each = {
            "value": lambda e=equation, f=factors: [irk.einsum(e, *f)],
            "derivatives": lambda e=equation, w=leaves, s=slopes: s(irk.einsum(e, *w)),
            "entries": lambda e=equation, w=leaves, s=slopes, at=at: s(irk.entries(e, *w, at=at)),
            "completion loss": lambda e=equation, w=leaves, s=slopes, d=data: s(irk.completion_loss(e, *w, observed=d)),
            "explain": lambda e=equation, f=factors: [torch.tensor(len(str(irk.explain(e, *f))))],
        }
        for verb, call in each.items():
            yield f"{verb} of {product.name}", call


def fits() -> Iterator[tuple[str, Call]]:
    """Training in each tier, by each rule, with what it may record; one trial and a team on it."""
    at = torch.cartesian_prod(torch.arange(6), torch.arange(5))[::2]
    data = irk.Observed(at, torch.linspace(-1, 1, len(at)), (6, 5))
    large = irk.Observed(torch.cartesian_prod(torch.arange(90), torch.arange(80))[::3], torch.ones(2400), (90, 80))

    def trained(
        tier: str | None, rule: type, observed: irk.Observed, trials: int | None, **options: object
    ) -> list[Tensor]:
        model = irk.nn.MatrixChain(*observed.shape, 3, trials=trials, init_scale=0.1, seed=0)
        optimizer = rule(model.parameters(), lr=1e-2)
        options = {"record": ["loss"], **options}
        path = irk.fit(model, observed, optimizer, steps=120, tier=tier, progress=False, **options)
        return [*(factor.detach() for factor in model.parameters()), path.metrics["loss"]]

    for tier in ("lanes", "core", "grid"):
        for rule in (torch.optim.SGD, torch.optim.Adam, irk.optim.GroupRMSprop):
            yield f"fit in {tier} by {rule.__name__}", lambda t=tier, r=rule: trained(t, r, data, 3)
    everything = {"record": ["loss", "error", "singular_values"], "truth": data, "clip": 1.0}
    yield "fit recorded and clipped", lambda: trained("core", torch.optim.SGD, data, 2, **everything)
    yield "fit of batches", lambda: trained("core", torch.optim.SGD, data, 2, batch_size=4)
    for tier in ("core", "grid"):
        yield f"fit of one trial on threads in {tier}", lambda t=tier: trained(t, torch.optim.SGD, large, None)
        yield f"fit of trials on threads in {tier}", lambda t=tier: trained(t, torch.optim.SGD, large, 3)


def failures(call: Call, core: ctypes.CDLL, most: int, draw: random.Random) -> tuple[int, list[str]]:
    """How often a first call allocates; what went wrong where one of `most` of these allocations failed."""
    expected = [bits(tensor) for tensor in call()]
    for _ in range(2):  # what is made once stays
        call()
    _native.clear_plans()
    core.arm(0)
    call()
    count, wrong = core.count(), []
    refused(call, core, 1)  # what a first error leaves in the language's own tables stays as well
    _native.clear_plans()
    held = core.holding()
    for k in sorted(draw.sample(range(1, count + 1), min(most, count))):
        try:
            got = refused(call, core, k)
        except Exception as error:
            wrong.append(f"allocation {k}: {type(error).__name__}: {error}")
            got = None
        if got not in (None, expected):
            wrong.append(f"allocation {k}: no error, and another result")
        if [bits(tensor) for tensor in call()] != expected:
            wrong.append(f"allocation {k}: the next call has another result")
        _native.clear_plans()
        gc.collect()
        if core.holding() > held:
            wrong.append(f"allocation {k}: {core.holding() - held} blocks are left")
            held = core.holding()
    return count, wrong


def refused(call: Call, core: ctypes.CDLL, k: int) -> list[bytes] | None:
    """The result where it came about without the k-th allocation, else None."""
    core.arm(k)
    try:
        return [bits(tensor) for tensor in call()]
    except MemoryError:
        return None
    finally:
        core.arm(0)


def watch_own_libraries(core: ctypes.CDLL) -> None:
    folder = str(Path(irk.__file__).parent)
    core.count.restype = core.holding.restype = ctypes.c_int64
    for line in Path("/proc/self/maps").read_text().splitlines():
        span, mode, *_, path = line.split()
        if path.startswith(folder) and "x" in mode:
            core.watch(*(ctypes.c_size_t(int(end, 16)) for end in span.split("-")))


def main() -> int:
    most, only = int(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else ""
    core, draw, bad = ctypes.CDLL(None), random.Random(0), 0
    torch.set_num_threads(2)
    irk.einsum("ij,jk->ik", torch.ones(2, 2), torch.ones(2, 2))  # the target is loaded
    watch_own_libraries(core)
    for name, call in [*verbs(), *fits()]:
        if only in name:
            print(f"{name}:", end=" ", flush=True)  # who ends the process is named
            count, wrong = failures(call, core, most, draw)
            print(count, "allocations", *wrong[:5], sep="\n  " if wrong else " ", flush=True)
            bad += bool(wrong) or not count
    return bad


if __name__ == "__main__":
    sys.exit(main())
