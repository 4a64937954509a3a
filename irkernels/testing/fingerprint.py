"""The bits of every operator over the registry and of short trajectories: `python -m irkernels.testing.fingerprint`.

Two builds, targets or thread counts that print the same object compute the same bits on own kernels.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable

import torch
from torch import Tensor

import irkernels as irk
from irkernels.reference.equation import read_equation
from irkernels.testing.product import Product
from irkernels.testing.registry import PRODUCTS
from irkernels.testing.sampling import sample_coordinates

STEPS = 200


def every_result(product: Product, operands: list[Tensor]) -> dict[str, Tensor]:
    """Value, gradients, entries, and losses with their gradients, of one product at its operands."""
    factors = [operand.detach().requires_grad_(p in product.trained) for p, operand in enumerate(operands)]
    trained = [factors[p] for p in product.trained]
    value = irk.einsum(product.equation, *factors)
    cotangent = _cotangent(product, value)
    results = {"value": value.detach()}
    results |= _named("gradient", product, torch.autograd.grad(value, trained, cotangent, materialize_grads=True))
    at = sample_coordinates(product, 3000 if product.elements > 5000 and product.trials is None else 13, seed=1)
    results["entries"] = irk.entries(product.equation, *factors, at=at).detach()
    if len(at) == 0:
        return results
    shape = read_equation(product.equation, tuple(operands)).shape
    values = torch.linspace(-1, 1, len(at), dtype=torch.float64).to(value.dtype)
    observed = irk.Observed(at, values, shape).to(value.device)
    for loss in ("mse", "half_sse", "l1", "huber"):
        losses = irk.completion_loss(product.equation, *factors, observed=observed, loss=loss)
        results[loss] = losses.detach()
        gradients = torch.autograd.grad(losses.sum(), trained, materialize_grads=True, allow_unused=True)
        results |= _named(f"{loss} gradient", product, gradients)
    return results


def _cotangent(product: Product, value: Tensor) -> Tensor:
    """Seeded, and for products of trials the same whatever their number: each trial has the first trial's."""
    generator = torch.Generator().manual_seed(2)
    shape = value.shape if product.trials is None else value.shape[1:]
    return torch.randn(shape, generator=generator, dtype=torch.float64).to(value).expand_as(value)


def _named(what: str, product: Product, gradients: tuple[Tensor, ...]) -> dict[str, Tensor]:
    return {f"{what} {p}": gradient for p, gradient in zip(product.trained, gradients, strict=True)}


def bits(tensor: Tensor) -> bytes:
    """The elements in row-major order, byte for byte: -0 is not 0."""
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "SGD": lambda parameters: torch.optim.SGD(parameters, lr=0.02, momentum=0.9, nesterov=True),
    "Adam": lambda parameters: torch.optim.Adam(parameters, lr=0.01, weight_decay=0.01, amsgrad=True),
    "AdamW": lambda parameters: torch.optim.AdamW(parameters, lr=0.01),
    "GroupRMSprop": lambda parameters: irk.optim.GroupRMSprop(parameters, lr=0.01),
}


def trajectory(optimizer: str) -> dict[str, Tensor]:
    """The factors of three trials of a chain after 200 native steps on eleven entries."""
    product = Product("golden", "ij,jk,kl->il", ((6, 5), (5, 5), (5, 7)))
    factors = [torch.nn.Parameter(operand / 2) for operand in product.with_trials(3).operands(seed=9)]
    model = irk.nn.Product(product.equation, *factors, trials=3)
    at = sample_coordinates(product, 11, seed=9)
    values = torch.linspace(-1, 1, len(at), dtype=torch.float64)
    made = OPTIMIZERS[optimizer](model.parameters())
    irk.fit(model, irk.Observed(at, values, (6, 7)), made, steps=STEPS, clip=[0.1, 0.2, 9.0], progress=False)
    return {f"factor {p}": parameter.detach() for p, parameter in enumerate(model.parameters())}


def fingerprint() -> dict[str, str]:
    """The target that computed, and hashes by product and dtype, and by optimizer."""
    found = {"target": irk.build_info()["target"]}
    with irk.deterministic():
        for product in PRODUCTS:
            for dtype in product.dtypes:
                results = every_result(product, product.operands(seed=3, dtype=dtype))
                found[f"{product.name} {dtype}"] = _hash(results)
        for optimizer in OPTIMIZERS:
            found[f"trajectory {optimizer}"] = _hash(trajectory(optimizer))
    return found


def _hash(results: dict[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name, tensor in results.items():
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode() + bits(tensor))
    return digest.hexdigest()[:16]


if __name__ == "__main__":
    if len(sys.argv) > 1:
        torch.set_num_threads(int(sys.argv[1]))
    json.dump(fingerprint(), sys.stdout, indent=1)
