"""torch.library.opcheck, all four checks, of every operator on samples of the registry."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

import irkernels  # noqa: F401, registers the operators
from irkernels.reference.equation import read_equation
from irkernels.testing import PRODUCTS, Product, sample_coordinates

# a plain product; trials, broadcasting and views; an operand without a gradient
SAMPLES = ("chain_3", "trials_sliced", "sensing")
OPERATORS = (
    "completion_loss", "entries", "entries_forward", "entries_gradients", "entries_loss", "entries_pullback",
    "entries_value",
    "forward", "gradients", "product", "pullback", "value",
)


def test_every_operator_is_listed() -> None:
    known = torch._C._dispatch_get_all_op_names()
    assert sorted(name.removeprefix("irkernels::") for name in known
                  if name.startswith("irkernels::")) == sorted(OPERATORS)


def arguments(product: Product, name: str) -> Iterator[tuple]:
    """Arguments of one operator: operands that want gradients, and where a pullback reads what was kept, ones that do
    not."""
    equation, wanted = product.equation, [p in product.trained for p in range(len(product.shapes))]
    plain = product.operands(seed=1)
    operands = [operand.detach().requires_grad_(w) for operand, w in zip(product.operands(seed=1), wanted)]
    read = read_equation(equation, tuple(plain))
    at = sample_coordinates(product, 5, seed=2)
    listed = (at,) if name.startswith("entries") else ()
    cotangent = torch.randn(*read.dense, len(at)) if listed else torch.randn(read.output_shape)
    cotangent = cotangent.double().requires_grad_()
    observed = (torch.randn(len(at)).double(), torch.rand(len(at)).double() + 0.1, "huber", 0.7, at)
    if name in ("product", "value", "entries", "entries_value"):
        yield equation, operands, *listed
    elif name.endswith("forward"):
        yield equation, wanted, operands, *listed
    elif name.endswith("gradients"):
        yield equation, operands, cotangent, *listed
    elif name.endswith("pullback"):
        yield equation, wanted, operands, cotangent, None, *listed
        kept = getattr(torch.ops.irkernels, name.replace("pullback", "forward"))(equation, wanted, plain, *listed)[1]
        yield equation, wanted, plain, cotangent.detach(), kept, *listed
    elif name == "completion_loss":
        yield equation, operands, *observed
    else:
        yield equation, wanted, operands, *observed


@pytest.mark.parametrize("sample", SAMPLES)
@pytest.mark.parametrize("name", OPERATORS)
def test_opcheck(name: str, sample: str) -> None:
    product = next(product for product in PRODUCTS if product.name == sample)
    for each in arguments(product, name):
        torch.library.opcheck(getattr(torch.ops.irkernels, name).default, each)


def test_an_operator_called_by_hand_checks_its_arguments() -> None:
    operands = [torch.ones(3, 4), torch.ones(4, 5)]
    with pytest.raises(IndexError, match="column 1 of entry 0 is 5"):
        torch.ops.irkernels.entries_value("ij,jk->ik", operands, torch.tensor([[0, 5]]))
    with pytest.raises(ValueError, match=r"operand 1 of shape .* has size 5 for the letter 'j'"):
        torch.ops.irkernels.entries_value("ij,jk->ik", [torch.ones(3, 4), torch.ones(5, 5)], torch.tensor([[0, 1]]))
    three = ("ij,jk,kl->il", [True] * 3, [torch.ones(4, 4)] * 3)
    with pytest.raises(ValueError, match="kept for backward"):
        torch.ops.irkernels.pullback(*three, torch.ones(4, 4), torch.ones(1))
    with pytest.raises(ValueError, match=r"the cotangent has shape \[1\], the product has \[2\]"):
        torch.ops.irkernels.entries_pullback(*three, torch.ones(1), None, torch.tensor([[0, 1], [2, 3]]))
