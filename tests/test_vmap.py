"""torch.func.vmap: any axis of any operand, one native call for all copies, errors that speak of one copy."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch.func import grad, jacrev, vmap
from torch.utils._pytree import tree_flatten, tree_unflatten

import irkernels as irk
from irkernels import _native
from irkernels.testing import Product, assert_equal, copies, energy, normal

LOSSES = ("mse", "half_sse", "l1", "huber")
CHAIN = Product("vmap_chain", "ij,jk,kl->il", ((4, 3), (3, 5), (5, 2)))


@pytest.mark.parametrize("equation", ("ij,jk,kl->il", "...ij,jk...,kl->i...l", "ij...,...jk,kl...->il"))
def test_every_axis_may_hold_the_copies(equation: str) -> None:
    shapes = [(2, 4, 3), (3, 5, 2), (5, 2)] if "..." in equation else [(4, 3), (3, 5), (5, 2)]
    if equation.startswith("ij..."):
        shapes = [(4, 3, 2), (2, 3, 5), (5, 2, 1)]
    operands = [normal(*shape, seed=i) for i, shape in enumerate(shapes)]
    for dims in itertools.product(*((None, *range(-len(shape) - 1, len(shape) + 1)) for shape in shapes)):
        if all(dim is None for dim in dims):
            continue
        batched = [t if dim is None else copies([t])[0].movedim(0, dim) for t, dim in zip(operands, dims)]
        found = vmap(lambda *f: irk.einsum(equation, *f), in_dims=dims, out_dims=1)(*batched)
        each = [[t] * 3 if dim is None else t.unbind(dim) for t, dim in zip(batched, dims)]
        assert_equal(found, torch.stack([torch.einsum(equation, *f) for f in zip(*each)], 1), dims)


@pytest.fixture
def native_calls(monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """Grows by one with every native call."""
    calls: list[None] = []
    run = _native.run
    monkeypatch.setattr(_native, "run", lambda *arguments: (calls.append(None), run(*arguments))[1])
    return calls


def test_copies_are_one_native_call(native_calls: list[None]) -> None:
    operands = CHAIN.operands()
    batched, at = copies(operands, 9), torch.tensor([[0, 1], [3, 0], [0, 1]])
    observed = irk.Observed(at, normal(3, seed=1), (4, 2))
    G = normal(4, 2, seed=2)
    equation = CHAIN.equation
    for name, verb, expected in (
        ("einsum", lambda *f: irk.einsum(equation, *f), 1),
        ("multi_dot", lambda *f: irk.multi_dot(f), 1),
        ("entries", lambda *f: irk.entries(equation, *f, at=at), 1),
        ("gradients", lambda *f: irk.gradients(equation, *f, cotangent=G), 1),
        ("listed gradients", lambda *f: irk.gradients(equation, *f, cotangent=observed), 1),
        ("completion_loss", lambda *f: irk.completion_loss(equation, *f, observed=observed), 1),
        ("per-sample gradients", grad(energy(lambda *f: irk.einsum(equation, *f)), (0, 1, 2)), 2),
        ("a Jacobian by rows", jacrev(lambda *f: irk.einsum(equation, *f), (0, 1, 2)), 2),
        ("vmap in vmap", lambda a, b, c: vmap(lambda row: irk.einsum("j,jk,kl->l", row, b, c))(a), 1),
    ):
        native_calls.clear()
        vmap(verb)(*batched)
        assert len(native_calls) == expected, f"{name}: {len(native_calls)} native calls"
        native_calls.clear()
        vmap(verb, chunk_size=4)(*batched)
        assert len(native_calls) == 3 * expected, f"{name}: {len(native_calls)} native calls for 3 chunks"


def test_shared_operands_are_not_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    """A factor without copies reaches the native call as it is."""
    seen: list[tuple[int, ...]] = []
    run = _native.run

    def watched(plan, operands, *rest):
        seen.extend(operand.shape for operand in operands)
        return run(plan, operands, *rest)

    monkeypatch.setattr(_native, "run", watched)
    A, B, C = CHAIN.operands()
    vmap(lambda a: irk.einsum(CHAIN.equation, a, B, C))(copies([A])[0])
    assert seen == [(3, 4, 3), (3, 5), (5, 2)]


def test_observations_that_are_arguments() -> None:
    """As a pytree: differentiated around, copied in their values, and even in their coordinates."""
    operands = CHAIN.operands()
    observed = irk.Observed([[0, 1], [3, 0], [0, 1]], normal(3, seed=1), (4, 2), weights=[1.0, 0.0, 2.0])
    leaves, spec = tree_flatten(observed)
    results = []
    for v in (irk, irk.reference):
        for loss in LOSSES:
            f = lambda o, *f: v.completion_loss(CHAIN.equation, *f, observed=o, loss=loss)  # noqa: E731
            results.append(grad(f, argnums=(1, 2, 3))(observed, *operands))
            values, weights = (torch.stack([each, -each.flip(0), each * 2]) for each in leaves[1:])
            for axis, at in ((None, leaves[0]), (0, torch.stack([leaves[0], leaves[0].flip(0), leaves[0]]))):
                many, dims = tree_unflatten([at, values, weights.abs()], spec), tree_unflatten([axis, 0, 0], spec)
                results.append(vmap(grad(f, argnums=(1, 2, 3)), in_dims=(dims, None, None, None))(many, *operands))
    assert_equal(results[: len(results) // 2], results[len(results) // 2 :], "observations")


def test_errors_speak_of_one_copy() -> None:
    A, B = torch.ones(7, 3, 4), torch.ones(7, 5, 2)
    for equation, parts in (
        ("ij,jk->ik", ("operand 1", "5", "'j'", "operand 0", "4")),
        ("ij,j->i", ("operand 1", "2 dimensions", "[5, 2]", "'j'")),
        ("ij", ("1 operands", "2 were given")),
    ):
        with pytest.raises(ValueError) as error:
            vmap(lambda a, b: irk.einsum(equation, a, b))(A, B)
        assert all(part in str(error.value) for part in parts), str(error.value)
