"""torch.export and other tracers: programs that compute what the verbs compute, on inputs that they were not traced
with."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch._subclasses import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils import _pytree
from torch.utils.flop_counter import FlopCounterMode

import irkernels as irk

CHAIN = "ij,jk,kl->il"
SHAPES = ((5, 6), (6, 7), (7, 4))


def chain(seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, dtype=torch.float64, generator=generator) for shape in SHAPES]


def observations() -> irk.Observed:
    return irk.Observed(torch.randint(4, (9, 2)), torch.randn(9, dtype=torch.float64), (5, 4))


class Layer(torch.nn.Module):
    """Two factors on a batch."""

    def __init__(self) -> None:
        super().__init__()
        self.left = torch.nn.Parameter(torch.randn(5, 6))
        self.right = torch.nn.Parameter(torch.randn(6, 3))

    def forward(self, x: Tensor) -> Tensor:
        return irk.einsum("bi,ij,jk->bk", x, self.left, self.right)


class Completion(torch.nn.Module):
    """A loss whose observations are an argument."""

    def __init__(self) -> None:
        super().__init__()
        self.factors = torch.nn.ParameterList(chain())

    def forward(self, observed: irk.Observed) -> Tensor:
        return irk.completion_loss(CHAIN, *self.factors, observed=observed)


def read_back(program: torch.export.ExportedProgram) -> torch.export.ExportedProgram:
    file = io.BytesIO()
    torch.export.save(program, file)
    file.seek(0)
    return torch.export.load(file)


@pytest.mark.parametrize("strict", [False, True])
def test_export_with_a_batch_of_any_size(strict: bool) -> None:
    layer, batch = Layer(), torch.export.Dim("batch")
    program = torch.export.export(layer, (torch.randn(7, 5),), dynamic_shapes=({0: batch},), strict=strict)
    x = torch.randn(11, 5)
    for each in (program, read_back(program), program.run_decompositions()):
        module = each.module()
        assert torch.equal(module(x), layer(x))
        gradients = torch.autograd.grad(module(x).sum(), list(module.parameters()))
        for found, expected in zip(gradients, torch.autograd.grad(layer(x).sum(), list(layer.parameters())),
                                   strict=True):
            assert torch.equal(found, expected)


@pytest.mark.parametrize("strict", [False, True])
def test_export_with_observations(strict: bool) -> None:
    model = Completion()
    program = torch.export.export(model, (observations(),), strict=strict)
    other = observations()
    for each in (program, read_back(program)):
        assert torch.equal(each.module()(other), model(other))


TRACED: dict[str, Callable] = {
    "value": lambda verbs, observed, *x: verbs.einsum(CHAIN, *x),
    "entries": lambda verbs, observed, *x: verbs.entries(CHAIN, *x, at=observed.at),
    "gradients": lambda verbs, observed, *x: verbs.gradients(CHAIN, *x, cotangent=observed),
    "loss": lambda verbs, observed, *x: torch.func.grad(lambda *y: verbs.completion_loss(CHAIN, *y,
                                                                                         observed=observed))(*x),
    "grad": lambda verbs, observed, *x: torch.func.grad(lambda *y: verbs.einsum(CHAIN, *y).sin().sum(), (0, 2))(*x),
    "vmap": lambda verbs, observed, a, *x: torch.func.vmap(lambda a: verbs.einsum(CHAIN, a,
                                                                                  *x))(torch.stack((a, 2 * a))),
    "hessian": lambda verbs, observed, a, *x: torch.func.hessian(lambda a: verbs.einsum(CHAIN, a, *x).sin().sum())(a),
}


@pytest.mark.parametrize("mode", ["real", "fake", "symbolic"])
@pytest.mark.parametrize("name", TRACED)
def test_make_fx_bakes_nothing_in(name: str, mode: str) -> None:
    function, observed = TRACED[name], observations()

    def traced(at: Tensor, values: Tensor, *operands: Tensor):
        _, spec = _pytree.tree_flatten(observed)
        return function(irk, _pytree.tree_unflatten([at, values], spec), *operands)

    graph = make_fx(traced, tracing_mode=mode)(observed.at, observed.values, *chain())
    assert any("irkernels" in str(node.target) for node in graph.graph.nodes)
    other, operands = observations(), chain(seed=1)
    found = graph(other.at, other.values, *operands)
    torch.testing.assert_close(found, function(irk.reference, other, *operands), rtol=1e-10, atol=1e-10)


def test_make_fx_of_backward_keeps_intermediates() -> None:
    def traced(*operands: Tensor):
        return torch.autograd.grad(irk.einsum(CHAIN, *operands).sin().sum(), operands)

    operands, others = ([each.requires_grad_() for each in chain(seed)] for seed in (0, 1))
    graph = make_fx(traced)(*operands)
    assert [str(n.target) for n in graph.graph.nodes if "irkernels" in str(n.target)] == [
        "irkernels.forward.default", "irkernels.pullback.default",
    ]
    for found, expected in zip(graph(*others), traced(*others), strict=True):
        assert torch.equal(found, expected)


def test_a_recorded_loss_is_differentiated_once_more() -> None:
    """The recorded gradient depends on the operands through the slope of the loss too."""
    observed = observations()

    def gradient(verbs, *operands: Tensor) -> Tensor:
        operands = tuple(each if each.requires_grad else each.detach().requires_grad_() for each in operands)
        loss = verbs.completion_loss(CHAIN, *operands, observed=observed)
        return torch.autograd.grad(loss, operands[0], create_graph=verbs is irk.reference)[0]

    graph = make_fx(lambda *operands: gradient(irk, *operands))(*(each.requires_grad_() for each in chain()))
    operands = [each.requires_grad_() for each in chain(seed=1)]
    found = torch.autograd.grad(graph(*operands).sin().sum(), operands)
    expected = torch.autograd.grad(gradient(irk.reference, *operands).sin().sum(), operands)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


def test_linearize() -> None:
    operands, tangents = chain(), chain(seed=2)

    def model(verbs, *factors: Tensor) -> Tensor:
        return verbs.einsum(CHAIN, *factors).sin().sum()

    value, pushforward = torch.func.linearize(lambda *factors: model(irk, *factors), *operands)
    expected = torch.func.jvp(lambda *factors: model(irk.reference, *factors), tuple(operands), tuple(tangents))
    torch.testing.assert_close((value, pushforward(*tangents)), expected)


def test_fake_tensors_have_shapes_and_a_graph() -> None:
    with FakeTensorMode() as mode:
        operands = [mode.from_tensor(each).requires_grad_() for each in chain()]
        product = irk.einsum(CHAIN, *operands)
        entries = irk.entries(CHAIN, *operands, at=mode.from_tensor(torch.zeros(3, 2, dtype=torch.int64)))
        gradient = torch.autograd.grad(product.sum() + entries.sum(), operands[1])[0]
    assert (product.shape, entries.shape, gradient.shape) == ((5, 4), (3,), (6, 7))
    assert irk.einsum(CHAIN, *operands).shape == (5, 4)  # outside of their mode too


def test_meta_tensors_have_shapes() -> None:
    operands = [each.to("meta").requires_grad_() for each in chain()]
    product = irk.einsum(CHAIN, *operands)
    entries = irk.entries(CHAIN, *operands, at=torch.zeros(3, 2, dtype=torch.int64, device="meta"))
    gradients = torch.autograd.grad(product.sum() + entries.sum(), operands)
    assert (product.shape, entries.shape) == ((5, 4), (3,))
    assert [(each.shape, each.is_meta) for each in gradients] == [(shape, True) for shape in SHAPES]
    with pytest.raises(ValueError, match=r"operand 1 of shape .* has size 6 for the letter 'j'"):
        irk.einsum("ij,jk->ik", torch.empty(4, 5, device="meta"), torch.empty(6, 3, device="meta"))


def test_a_dispatch_mode_that_watches_changes_nothing() -> None:
    operands = [each.requires_grad_() for each in chain()]
    expected = torch.autograd.grad(irk.einsum(CHAIN, *operands).sin().sum(), operands)
    with FlopCounterMode(display=False):
        found = torch.autograd.grad(irk.einsum(CHAIN, *operands).sin().sum(), operands)
    for a, b in zip(found, expected, strict=True):
        assert torch.equal(a, b)


def test_views_that_negate_are_read_negated() -> None:
    z = torch.randn(3, dtype=torch.complex128)
    negated = z.conj().imag
    assert negated.is_neg()
    torch.testing.assert_close(irk.einsum("i,i->i", negated, torch.ones(3, dtype=torch.float64)), -z.imag)
    x = torch.ones(3, dtype=torch.float64, requires_grad=True)
    product = irk.einsum("i,i->i", x, torch.ones(3, dtype=torch.float64))
    torch.testing.assert_close(torch.autograd.grad(product, x, negated)[0], -z.imag)
