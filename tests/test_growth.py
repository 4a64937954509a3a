"""How components grow: CP, deep CP, Tucker slices and local components, any factors and balanced ones."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from test_velocities import F64, close
from torch import Tensor

from irkernels.dynamics import (
    balanced_component_velocity,
    balanced_slice_velocity,
    balanced_vector_norm_velocity,
    component_alignment,
    component_velocity,
    local_component_alignment,
    local_component_velocity,
    slice_alignment,
    slice_velocity,
    vector_norm_velocity,
)
from irkernels.nn import CP, HierarchicalTucker
from irkernels.observed import Observed
from irkernels.reference import growth as reference
from irkernels.reference import hierarchical
from irkernels.testing import normal

SHAPE = (3, 4, 2)


def unit(*shape: int, seed: int, axes: int = 1) -> Tensor:
    """Of Frobenius norm 1 over the last axes."""
    drawn = normal(*shape, seed=seed)
    return drawn / drawn.flatten(-axes).norm(dim=-1).reshape(*shape[:-axes], *[1] * axes)


def column_chain(norms: Tensor, extent: int, matrices: int, seed: int) -> Tensor | list[Tensor]:
    """A factor [extent, R], or `matrices` of rank one before vectors, aligned: all of column r have norm norms[r]."""
    directions = [unit(len(norms), extent, seed=seed + i) for i in range(matrices + 1)]
    chain = [norms[:, None, None] * left[:, :, None] * right[:, None, :] for left, right in pairwise(directions)]
    last = (norms[:, None] * directions[-1]).T
    return [*chain, last] if matrices else last


def deep(shape: tuple[int, ...], rank: int, matrices: int, chains: str, lead: tuple[int, ...] = ()) -> list:
    """Normal operands, inner size 3."""
    parts = []
    for n, extent in enumerate(shape):
        if matrices == 0:
            parts.append(normal(*lead, extent, rank, seed=n))
            continue
        sizes = [extent, *[3] * matrices] if chains == "column" else [extent, *[3] * matrices, rank]
        column = (rank,) if chains == "column" else ()
        part = [normal(*lead, *column, *pair, seed=10 * n + i) for i, pair in enumerate(pairwise(sizes))]
        parts.append([*part, normal(*lead, 3, rank, seed=10 * n + 9)] if chains == "column" else part)
    return parts


def of_trial(parts: list, trial: int) -> list:
    return [part[trial] if isinstance(part, Tensor) else [each[trial] for each in part] for part in parts]


@pytest.mark.parametrize("matrices, chains", [(0, "column"), (1, "column"), (3, "column"), (2, "factor")])
@pytest.mark.parametrize("order", [1, 2, 3])
def test_components_of_any_factors(order: int, matrices: int, chains: str) -> None:
    factors, G = deep(SHAPE[:order], 3, matrices, chains, (2,)), normal(2, *SHAPE[:order], seed=99)
    for verb in (component_velocity, vector_norm_velocity):
        found = verb(factors, G, chains)
        for trial in range(2):
            close(found[trial], getattr(reference, verb.__name__)(of_trial(factors, trial), G[trial], chains))


def test_the_law_of_plain_components() -> None:
    """gamma sigma^2 sum_n ||F_n||^{-2}, word for word; a component of one zero vector rests, of two too."""
    factors, G = deep(SHAPE, 5, 0, "column"), normal(*SHAPE, seed=99)
    norms = [F.norm(dim=0) for F in factors]
    gamma = component_alignment(factors, G)
    expected = gamma * math.prod(norms) ** 2 * sum(norm**-2 for norm in norms)
    close(component_velocity(factors, G), expected)
    direction = torch.einsum("i,j,k->ijk", *(F[:, 2] / F[:, 2].norm() for F in factors))
    close(gamma[2], -(G * direction).sum())
    factors[0][:, 1] = 0.0
    factors[0][:, 3] = factors[1][:, 3] = 0.0
    found = component_velocity(factors, G)
    assert found.isfinite().all() and found[3] == 0 and component_alignment(factors, G)[1] == 0


def test_observed_entries_are_a_gradient_too() -> None:
    factors = deep(SHAPE, 3, 1, "column")
    at = torch.tensor([[0, 1, 1], [2, 3, 0], [0, 1, 1]])
    values = normal(3, seed=4)
    dense = torch.zeros(*SHAPE, dtype=F64).index_put_(tuple(at.T), values, accumulate=True)
    for gradient in ((at, values), Observed(at, values, SHAPE)):
        for verb in (component_velocity, component_alignment, vector_norm_velocity):
            close(verb(factors, gradient), verb(factors, dense))


@pytest.mark.parametrize("matrices", range(4))
@pytest.mark.parametrize("order", [2, 3])
def test_balanced_deep_components(order: int, matrices: int) -> None:
    """Degree N (k + 1) for the end-to-end norm, and rho to the power k + 2 - 2 / N for the vectors alone."""
    norms = torch.tensor([0.5, 1.3, 0.9, 0.0], dtype=F64)
    factors = [column_chain(norms, extent, matrices, 10 * n) for n, extent in enumerate(SHAPE[:order])]
    G = normal(*SHAPE[:order], seed=99)
    gamma = component_alignment(factors, G)
    degree = order * (matrices + 1)
    close(component_velocity(factors, G), balanced_component_velocity(norms**degree, gamma, degree), 1e-11)
    found, rho = vector_norm_velocity(factors, G), norms**order
    close(found, balanced_vector_norm_velocity(rho, gamma, order, matrices), 1e-11)
    slope = (found[1] / gamma[1] / (found[0] / gamma[0])).log() / (rho[1] / rho[0]).log()
    close(slope, torch.tensor(matrices + 2 - 2 / order, dtype=F64), 1e-10)


@pytest.mark.parametrize("depth, chains", [(0, "column"), (1, "column"), (2, "column"), (4, "column"), (2, "factor")])
def test_slices_of_a_core(depth: int, chains: str) -> None:
    factors = deep(SHAPE, 2, max(depth - 1, 0), chains, (2,))
    core, G = normal(2, 2, 2, 2, seed=50), normal(2, *SHAPE, seed=99)
    found = slice_velocity(core, factors, G, chains)
    for trial in range(2):
        expected = reference.slice_velocity(core[trial], of_trial(factors, trial), G[trial], chains)
        for ours, theirs in zip(found, expected, strict=True):
            close(ours[trial], theirs)


@pytest.mark.parametrize("depth", range(5))
def test_balanced_slices(depth: int) -> None:
    """s^K gamma: slices of every mode get their norms from the columns' blocks; depth 0 has unit columns."""
    core, G = normal(2, 3, 2, seed=50), normal(*SHAPE, seed=99)
    factors = []
    for n, extent in enumerate(SHAPE):
        norms = core.square().sum([mode for mode in range(3) if mode != n]).sqrt()
        blocks = norms if depth else torch.ones_like(norms)
        factors.append(column_chain(blocks, extent, max(depth - 1, 0), 10 * n))
    rates, alignment = slice_velocity(core, factors, G), slice_alignment(core, factors, G)
    for n, (rate, gamma) in enumerate(zip(rates, alignment, strict=True)):
        norms = core.square().sum([mode for mode in range(3) if mode != n]).sqrt()
        close(rate, balanced_slice_velocity(norms, gamma, depth), 1e-11)
        through = [F if isinstance(F, Tensor) else None for F in factors]
        if depth <= 1:  # gamma by its definition: the part of W through slice 1, at unit norms
            part = torch.zeros_like(core).index_copy(n, torch.tensor([1]), core.select(n, 1).unsqueeze(n) / norms[1])
            units = [F / F.norm(dim=0) if mode == n else F for mode, F in enumerate(through)]
            close(gamma[1], -(G * torch.einsum("rst,ar,bs,ct->abc", part, *units)).sum())


TREES = [((0, 1), (2, 3)), (0, (1, 2), 3), ((0, 3), 1, 2)]


@pytest.mark.parametrize("tree", TREES, ids=str)
def test_local_components(tree: tuple) -> None:
    shape = (3, 2, 4, 2)
    model = HierarchicalTucker(shape, 3, tree, init_scale=5.0, seed=3, trials=2, dtype=F64)
    factors, G = [factor.detach() for factor in model.factors], normal(2, *shape, seed=99)
    found = local_component_velocity(factors, G, tree)
    gamma = local_component_alignment(factors, G, tree)
    norms = model.component_norms()
    assert set(found) == set(norms) == set(gamma)
    for trial in range(2):
        expected = reference.local_component_velocity([factor[trial] for factor in factors], G[trial], tree)
        for modes, rates in expected.items():
            close(found[modes][trial], rates)
    root = tuple(range(4))
    parts = torch.func.jacrev(lambda w: (model_product(tree, [*factors[:-1], w]) * G).flatten(1).sum(1))(factors[-1])
    along = torch.diagonal(parts, dim1=0, dim2=1).T * factors[-1]  # <G, C_r> of the root
    close(gamma[root], -along / norms[root].detach())


def model_product(tree: tuple, factors: list[Tensor]) -> Tensor:
    return torch.stack([hierarchical(tree, [factor[trial] for factor in factors]) for trial in range(2)])


def test_balanced_local_components() -> None:
    """Degree K, children + 1: columns and rows of one norm at every component."""
    norms = torch.tensor([0.5, 1.3, 0.9], dtype=F64)
    leaves = [norms * unit(3, extent, seed=i).T for i, extent in enumerate((3, 2, 4))]
    inner = unit(3, 3, seed=7) * norms[:, None]  # its rows balance node (1, 2)
    factors = [*leaves, inner, normal(3, seed=8)]
    G, tree = normal(3, 2, 4, seed=99), (0, (1, 2))
    rates, gamma = (verb(factors, G, tree)[1, 2] for verb in (local_component_velocity, local_component_alignment))
    close(rates, balanced_component_velocity(norms**3, gamma, 3), 1e-11)
    first = normal(4, 3, seed=1)
    root = [first / first.norm(dim=0) * norms, leaves[1], norms * torch.tensor([1.0, -1.0, 1.0], dtype=F64)]
    G = normal(4, 2, seed=98)
    rates, gamma = (verb(root, G)[0, 1] for verb in (local_component_velocity, local_component_alignment))
    close(rates, balanced_component_velocity(norms**3, gamma, 3), 1e-11)


def test_models_hand_over_their_factors() -> None:
    """The operands of irk.nn's models, trials first, are what these take."""
    model = CP(SHAPE, 4, 3, init_scale=1.0, trials=2, seed=1, dtype=F64)
    G = normal(2, *SHAPE, seed=5)
    chains = [[model.factors[position].detach() for position in positions] for positions, _ in model.structure.parts]
    norms, step = model.component_norms().detach(), 1e-8
    model.zero_grad()
    (model() * G).sum().backward()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter -= step * parameter.grad
    close(component_velocity(chains, G), (model.component_norms().detach() - norms) / step, 1e-4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_types_are_computed_in_float32(dtype: torch.dtype) -> None:
    """The chain's column is 1800 long, and its square out of float16's range."""
    chain = [torch.full((2, 3, 2), 30.0, dtype=dtype), torch.full((2, 2), 30.0, dtype=dtype)]
    factors, wide = [chain, torch.ones(4, 2, dtype=dtype)], [[part.float() for part in chain], torch.ones(4, 2)]
    G, core, at = torch.ones(3, 4, dtype=dtype), torch.ones(2, 2, dtype=dtype), torch.tensor([[0, 1], [2, 3]])
    calls = [
        lambda f, c, G: component_velocity(f, G),
        lambda f, c, G: component_velocity(f, (at, G[0, :2])),
        lambda f, c, G: component_alignment(f, Observed(at, G[0, :2], (3, 4))),
        lambda f, c, G: vector_norm_velocity(f, G),
        lambda f, c, G: slice_velocity(c, f, G)[0],
        lambda f, c, G: slice_alignment(c, f, G)[1],
        lambda f, c, G: local_component_velocity([f[0][0][0], f[1], c[0]], G)[0, 1],
        lambda f, c, G: balanced_component_velocity(f[0][1], f[0][1], 3),
    ]
    for call in calls:
        found = call(factors, core, G)
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, call(wide, core.float(), G.float()), rtol=1e-6, atol=1e-6)
