"""The layer table's peers: the same training of one layer, by what multiplies its factors.

A run is some steps of forward, mean squared error, backward and SGD from the same start; times are for one step.
mode "eager", "amp" (forward under autocast to bfloat16) or "compiled" (torch.compile of the layer).
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable

import torch
from torch import nn

from bench.layers import Factorised, Layer
from bench.peer import Case, Peer

STEPS = 20
_BATCHES = 8  # drawn once and taken in turn
_LEARNING_RATE = 1e-3
MODES = ("eager", "amp", "compiled")


def _case(layer: Layer, dtype: str, mode: str, make: Callable[[Layer], nn.Module]) -> Case:
    kind, (inputs, outputs) = getattr(torch, dtype), layer.features
    model = make(layer).to(kind)
    start = [parameter.detach().clone() for parameter in model.parameters()]
    batches: list[tuple] = []
    call: Callable = model
    if mode == "compiled":
        torch._dynamo.reset()
        call = torch.compile(model, dynamic=False)

    def fresh(seed: int) -> None:
        draw = torch.Generator().manual_seed(seed)
        shapes = (layer.batch, inputs), (layer.batch, outputs)
        batches[:] = [
            tuple(torch.randn(shape, generator=draw, dtype=kind) for shape in shapes) for _ in range(_BATCHES)
        ]

    def run() -> list[torch.Tensor]:
        with torch.no_grad():
            for parameter, value in zip(model.parameters(), start):
                parameter.copy_(value)
        optimizer = torch.optim.SGD(model.parameters(), lr=_LEARNING_RATE, fused=True)
        losses = []
        for step in range(STEPS):
            x, target = batches[step % _BATCHES]
            with torch.autocast("cpu", torch.bfloat16) if mode == "amp" else contextlib.nullcontext():
                loss = nn.functional.mse_loss(call(x), target)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())
        return losses

    fresh(0)
    return Case(fresh, run, lambda losses: [torch.stack(losses).to(torch.float64).numpy()], STEPS)


def _irkernels(layer: Layer) -> nn.Module:
    import irkernels as irk

    return Factorised(layer, irk.einsum)


def _peer(name: str, make: Callable[[Layer], nn.Module], needs: str = "") -> Peer:
    return Peer(name, functools.partial(_case, make=make), "torch", needs)


LINEAR = _peer("nn.Linear", lambda layer: nn.Linear(*layer.features))
REBUILT = _peer("weight rebuilt", lambda layer: Factorised(layer, torch.einsum, rebuilt=True))
EINSUM = _peer("torch.einsum", lambda layer: Factorised(layer, torch.einsum))
OWN = _peer("irkernels", _irkernels, needs="irkernels")
LAYER_PEERS = [LINEAR, REBUILT, EINSUM, OWN]
