"""torch.compile of the verbs, whole graphs only: the eager route's bits, values and gradients."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor

import irkernels as irk
from irkernels import observed as observed_module
from irkernels.reference.equation import read_equation
from irkernels.testing import PRODUCTS, Product, sample_coordinates

CHAIN = "ij,jk,kl->il"
SHAPES = ((5, 6), (6, 7), (7, 4))
# each kind of operand: chain, trials, broadcast `...`, summed `...`, data without gradient, scalar, gathered entries
LISTED = ("chain_3", "cp_3_of_trials", "dots_of_one_operand", "dots_summed", "sensing", "ring", "chain_3_of_papers")


@pytest.fixture(autouse=True)
def fresh_compiler() -> None:
    torch._dynamo.reset()


def compiled(function: Callable, **options) -> Callable:
    return torch.compile(function, fullgraph=True, **{"backend": "aot_eager", **options})


def value_and_gradients(function: Callable, operands: Sequence[Tensor], trained: Sequence[int]) -> list[Tensor]:
    leaves = [operand.detach().requires_grad_(p in trained) for p, operand in enumerate(operands)]
    value = function(*leaves)
    cotangent = torch.linspace(-1, 2, value.numel()).to(value).reshape(value.shape)
    wanted = [leaves[p] for p in trained]
    return [value.detach(), *torch.autograd.grad(value, wanted, cotangent, allow_unused=True, materialize_grads=True)]


def same_bits(function: Callable, operands: Sequence[Tensor], trained: Sequence[int] | None = None, **options) -> None:
    trained = range(len(operands)) if trained is None else trained
    eager = value_and_gradients(function, operands, trained)
    recorded = value_and_gradients(compiled(function, **options), operands, trained)
    for position, (a, b) in enumerate(zip(eager, recorded, strict=True)):
        assert torch.equal(a, b), f"result {position} of {function}"
        assert a.dtype == b.dtype


def chain(dtype: torch.dtype = torch.float32) -> list[Tensor]:
    return [torch.randn(shape, dtype=dtype) for shape in SHAPES]


def observations(nnz: int = 9, dtype: torch.dtype = torch.float32) -> irk.Observed:
    return irk.Observed(torch.randint(4, (nnz, 2)), torch.randn(nnz, dtype=dtype), (5, 4))


@pytest.mark.parametrize("product", PRODUCTS, ids=lambda product: product.name)
def test_einsum_has_eager_bits(product: Product) -> None:
    operands = product.operands(seed=1, dtype=product.dtypes[-1])
    same_bits(lambda *factors: irk.einsum(product.equation, *factors), operands, product.trained)


@pytest.mark.parametrize("product", [p for p in PRODUCTS if p.name in LISTED], ids=lambda product: product.name)
def test_listed_entries_have_eager_bits(product: Product) -> None:
    operands = product.operands(seed=1, dtype=torch.float32)
    at = sample_coordinates(product, 7, seed=2)
    observed = irk.Observed(at, torch.randn(len(at)), read_equation(product.equation, tuple(operands)).shape)

    def both(*factors: Tensor) -> Tensor:
        entries = irk.entries(product.equation, *factors, at=at)
        return entries.sum() + irk.completion_loss(product.equation, *factors, observed=observed, loss="huber",
                                                   delta=0.7)

    same_bits(both, operands, product.trained)


@pytest.mark.parametrize("options", [{"backend": "inductor"}, {"mode": "reduce-overhead", "backend": "inductor"}],
                         ids=str)
def test_all_verbs_in_one_graph(options: dict) -> None:
    observed = observations()

    def verbs(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
        product = irk.multi_dot([a, b, c]) * irk.einsum(CHAIN, a, b, c)
        pulled = irk.gradients(CHAIN, a, b, c, cotangent=product)[1]
        listed = irk.gradients(CHAIN, a, b, c, cotangent=observed)[0]
        return pulled.sum() + listed.sum() + irk.completion_loss(CHAIN, a, b, c, observed=observed)

    # pointwise steps and sums are the compiler's own; the verbs' bits are compared above
    operands = chain()
    eager, recorded = (value_and_gradients(f, operands, (0, 1, 2)) for f in (verbs, compiled(verbs, **options)))
    for a, b in zip(eager, recorded, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("options", [{}, {"dynamic": True}], ids=("automatic", "dynamic"))
def test_eight_batch_sizes_are_at_most_two_graphs(options: dict) -> None:
    graphs = []

    def count(graph: torch.fx.GraphModule, _: list) -> Callable:
        graphs.append(graph)
        return graph.forward

    def layer(x: Tensor, a: Tensor, b: Tensor) -> Tensor:
        return irk.einsum("bi,ij,jk->bk", x, a, b)

    recorded, counted = compiled(layer, **options), compiled(layer, **{**options, "backend": count})
    for batch in (2, 3, 4, 7, 8, 16, 33, 100):
        operands = [torch.randn(batch, 5), torch.randn(5, 6), torch.randn(6, 3)]
        eager = value_and_gradients(layer, operands, (0, 1, 2))
        for a, b in zip(eager, value_and_gradients(recorded, operands, (0, 1, 2)), strict=True):
            assert torch.equal(a, b)
        counted(*operands)
    assert len(graphs) <= 2


def test_symbolic_extents_of_listed_entries() -> None:
    observed = observations()
    same_bits(lambda *factors: irk.completion_loss(CHAIN, *factors, observed=observed), chain(), dynamic=True)
    same_bits(lambda *factors: irk.entries(CHAIN, *factors, at=observed), chain(), dynamic=True)


def test_symbolic_extents_of_gathered_entries() -> None:
    operands = [torch.randn(100, 100, dtype=torch.float64) for _ in range(3)]
    observed = irk.Observed(torch.randint(100, (7, 2)), torch.randn(7, dtype=torch.float64), (100, 100))
    same_bits(lambda *factors: irk.entries(CHAIN, *factors, at=observed), operands, dynamic=True)

    def loss(*factors: Tensor) -> Tensor:
        return irk.completion_loss(CHAIN, *factors, observed=observed)

    # the sum over gathered entries is torch's in eager mode and the operator's own here
    results = (value_and_gradients(f, operands, (0, 1, 2)) for f in (loss, compiled(loss, dynamic=True)))
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("captured", [True, False], ids=("captured", "argument"))
def test_observations_are_sorted_once(captured: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    observed = irk.Observed(torch.randint(4, (40, 2)), torch.randn(40), (64, 64))
    sorts = []
    monkeypatch.setattr(observed_module.Coordinates, "_sort", _counted(observed_module.Coordinates._sort, sorts))
    operands = [torch.randn(64, 3, requires_grad=True), torch.randn(3, 64, requires_grad=True)]

    def loss(a: Tensor, b: Tensor, given: irk.Observed | None) -> Tensor:
        return irk.completion_loss("ir,rj->ij", a, b, observed=observed if given is None else given)

    recorded, seen = compiled(loss), []
    for _ in range(3):
        recorded(*operands, None if captured else observed).backward()
        seen.append(len(sorts))
    assert seen[0] == seen[-1] > 0


def _counted(function: Callable, calls: list) -> Callable:
    def counting(*arguments):
        calls.append(arguments)
        return function(*arguments)

    return counting


def test_coordinates_as_arguments_are_checked_at_every_run() -> None:
    operands, at = chain(), torch.tensor([[0, 1], [4, 3]])
    recorded = compiled(lambda at, *factors: irk.entries(CHAIN, *factors, at=at))
    dense = torch.einsum(CHAIN, *operands)
    torch.testing.assert_close(recorded(at, *operands), dense[(*at.unbind(1),)])
    at[0, 0] = 2  # in place: what was sorted is stale
    torch.testing.assert_close(recorded(at, *operands), dense[(*at.unbind(1),)])
    at[1, 1] = 4
    with pytest.raises(IndexError, match=r"column 1 of entry 1 is 4"):
        recorded(at, *operands)


TRANSFORMS = {
    "grad": lambda f: torch.func.grad(f, (0, 1, 2)),
    "grad of grad": lambda f: torch.func.grad(lambda *x: torch.func.grad(f)(*x).square().sum(), 1),
    "vmap": lambda f: lambda a, b, c: torch.func.vmap(f, (0, None, None))(torch.stack((a, 2 * a)), b, c),
    "vmap of grad": lambda f: lambda a, b, c: torch.func.vmap(torch.func.grad(f), (0, None, None))(
        torch.stack((a, 2 * a)), b, c
    ),
    "jvp": lambda f: lambda *x: torch.func.jvp(f, x, tuple(each.cos() for each in x)),
    "hessian": lambda f: torch.func.hessian(f, 1),
}


@pytest.mark.parametrize("name", TRANSFORMS)
def test_transforms(name: str) -> None:
    operands, observed = chain(torch.float64), observations(dtype=torch.float64)

    def model(verbs, *factors: Tensor) -> Tensor:
        product = verbs.einsum(CHAIN, *factors).sin().sum()
        return product + verbs.completion_loss(CHAIN, *factors, observed=observed)

    transform = TRANSFORMS[name]
    found = compiled(transform(lambda *factors: model(irk, *factors)))(*operands)
    expected = transform(lambda *factors: model(irk.reference, *factors))(*operands)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


def test_second_backward_raises() -> None:
    """torch.compile's backward has no derivative: it says so, and does not drop terms."""
    operands = [operand.requires_grad_() for operand in chain()]
    value = compiled(lambda *factors: irk.einsum(CHAIN, *factors))(*operands)
    first = torch.autograd.grad(value.square().sum(), operands[0], create_graph=True)[0]
    with pytest.raises(RuntimeError, match="double backward"):
        torch.autograd.grad(first.sum(), operands[1])


def test_errors_name_the_operand_when_recorded() -> None:
    with pytest.raises(Exception, match=r"operand 1 of shape .* has size 7 for the letter 'j'"):
        compiled(lambda a, b: irk.einsum("ij,jk->ik", a, b))(torch.ones(5, 6), torch.ones(7, 4))
    with pytest.raises(Exception, match=r"operand 1 is torch.float64"):
        compiled(lambda a, b: irk.einsum("ij,jk->ik", a, b))(torch.ones(5, 6), torch.ones(6, 4, dtype=torch.float64))
    with pytest.raises(Exception, match=r"at must be \[nnz, 2\]"):
        compiled(lambda a, b: irk.entries("ij,jk->ik", a, b, at=torch.zeros(3, 1, dtype=torch.int64)))(
            torch.ones(5, 6), torch.ones(6, 4)
        )


@pytest.mark.filterwarnings("error:Dynamo detected")
def test_call_forms_are_compiled_without_a_warning() -> None:
    a, b = torch.randn(3, 4), torch.randn(4, 5)
    for function in (
        lambda a, b: irk.einsum(a, [0, 1], b, [1, 2], [0, 2]),
        lambda a, b: irk.einsum("ij,jk->ik", a, b, path=[(0, 1)]),
        lambda a, b: irk.cp_to_tensor((None, [a, b.T @ b[:, :4]])),
        lambda a, b: irk.khatri_rao([a, b.T]),
        lambda a, b: irk.multi_mode_dot(a, [b.T], modes=[1]),
        lambda a, b: irk.tt_to_tensor([a[None], b[..., None]]),
    ):
        torch.testing.assert_close(compiled(function)(a, b), function(a, b))
