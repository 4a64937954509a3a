"""irk.nn.Product and irk.nn.MatrixChain: values, copies, initial factors, errors."""

from __future__ import annotations

import copy
import io
import itertools
import math
import pickle

import pytest
import torch

from irkernels import Observed, optim
from irkernels.families.streams import stream
from irkernels.nn import MatrixChain, Product

F64 = torch.float64


def _normal(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=F64, generator=torch.Generator().manual_seed(sum(shape)))


def _sensing(trials: int | None) -> Product:
    """A constant in the middle of the operands."""
    lead = () if trials is None else (trials,)
    return Product(
        "ij,mik,jk->m", _normal(*lead, 3, 4), _normal(*lead, 4, 5), constants={1: _normal(7, 3, 5)}, trials=trials
    )


@pytest.mark.parametrize("trials", [None, 1, 3])
def test_product_of_each_trial_is_einsum(trials):
    model = _sensing(trials)
    a, b = (f.detach() for f in model.factors)
    constant = model.constants[1]
    if trials is None:
        expected = torch.einsum("ij,mik,jk->m", a, constant, b)
    else:
        expected = torch.stack([torch.einsum("ij,mik,jk->m", a[t], constant, b[t]) for t in range(trials)])
    assert model.shape == (7,)
    torch.testing.assert_close(model(), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("trials", [None, 3])
def test_entries_and_loss_are_those_of_the_dense_product(trials):
    model = MatrixChain(4, 5, 3, trials=trials, init_scale=1.0, seed=0, dtype=F64)
    at = torch.tensor([[0, 0], [3, 4], [1, 2], [0, 0]])
    values = _normal(4)
    W = model()
    picked = W[..., at[:, 0], at[:, 1]]
    torch.testing.assert_close(model.entries(at), picked)
    loss = model.completion_loss(Observed(at, values, (4, 5)), loss="half_sse")
    assert loss.shape == (() if trials is None else (3,))
    torch.testing.assert_close(loss, ((picked - values) ** 2).sum(-1) / 2)


def test_parameters_are_the_factors_in_operand_order_and_constants_are_buffers():
    model = _sensing(2)
    assert [tuple(p.shape) for p in model.parameters()] == [(2, 3, 4), (2, 4, 5)]
    assert [tuple(b.shape) for b in model.buffers()] == [(7, 3, 5)]
    model().sum().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in model.parameters())
    assert not model.constants[1].requires_grad


def test_factors_are_copied_but_parameters_are_taken_as_they_are():
    given = _normal(3, 3)
    model = Product("ij,jk->ik", given, given)
    with torch.no_grad():
        model.factors[0].zero_()
    assert given.abs().max() > 0 and model.factors[1].abs().max() > 0
    tied = torch.nn.Parameter(_normal(3, 2))
    symmetric = Product("ij,kj->ik", tied, tied)
    assert len(list(symmetric.parameters())) == 1
    torch.testing.assert_close(symmetric(), tied @ tied.T)


def test_output_may_be_implicit():
    a, b = _normal(2, 3), _normal(3, 4)
    model = Product("ij, jk", a, b)
    assert model.equation == "ij,jk->ik"
    torch.testing.assert_close(model(), a @ b)


@pytest.mark.parametrize("copied", ["deepcopy", "pickle", "torch.save"])
def test_copies_are_equal_independent_and_know_their_trials(copied):
    model = _sensing(3)
    if copied == "deepcopy":
        other = copy.deepcopy(model)
    elif copied == "pickle":
        other = pickle.loads(pickle.dumps(model))
    else:
        file = io.BytesIO()
        torch.save(model, file)
        file.seek(0)
        other = torch.load(file, weights_only=False)
    assert torch.equal(other(), model())
    assert [p.trials for p in other.parameters()] == [3, 3]
    with torch.no_grad():
        other.factors[0].zero_()
    assert model.factors[0].abs().max() > 0


def test_parameters_that_a_state_dict_brings_know_their_trials():
    """So that GroupRMSprop keeps trials apart; inside another module too."""
    model = torch.nn.Sequential(_sensing(3))
    model.load_state_dict({name: value.clone() for name, value in model.state_dict().items()}, assign=True)
    assert [p.trials for p in model.parameters()] == [3, 3]
    assert optim.GroupRMSprop(model.parameters(), lr=0.1).param_groups[0]["trials"] == 3


def test_state_dict_round_trip_and_dtype():
    model, other = _sensing(2), _sensing(2)
    with torch.no_grad():
        for p in other.parameters():
            p.zero_()
    other.constants[1].zero_()
    other.load_state_dict(model.state_dict())
    assert torch.equal(other(), model())
    single = other.float()
    assert single().dtype == torch.float32 and [p.trials for p in single.parameters()] == [2, 2]


def test_repr_tells_equation_and_shapes():
    assert repr(_sensing(2)) == "Product('ij,mik,jk->m', shape=7, factors=[3x4, 4x5], constants={1: 7x3x5}, trials=2)"
    assert repr(MatrixChain(4, 6, 2)) == "MatrixChain('ab,bc->ac', shape=4x6, factors=[4x4, 4x6])"


@pytest.mark.parametrize(
    "arguments, kinds, error, says",
    [
        (("...ij,jk->ik", _normal(2, 2), _normal(2, 2)), {}, ValueError, r"contains `\.\.\.`; trials="),
        (
            ("ij,jk->ik", _normal(2, 3), _normal(2, 3)),
            {},
            ValueError,
            r"operand 1 of shape \[2, 3\] has size 2 for the letter 'j', operand 0 of shape \[2, 3\] has 3",
        ),
        (("ij,jk->ik", _normal(2, 2)), {}, ValueError, "2 operands, but 1"),
        (
            ("ij->ij", _normal(2, 2, 3)),
            {"trials": 4},
            ValueError,
            r"operand 0 must be \[4, \.\.\.\], .* got \[2, 2, 3\]",
        ),
        (("ij->ij", _normal(2, 2)), {"trials": 0}, ValueError, "trials must be at least 1, got 0"),
        (("ij->ij", _normal(2, 2)), {"trials": 1.5}, TypeError, "trials must be an integer, got 1.5"),
        (("ij,jk->ik", _normal(2, 2)), {"constants": {2: _normal(2, 2)}}, ValueError, "position 2 is not one of the 2"),
        (("ij,jk->ik", _normal(2, 2)), {"constants": {"b": _normal(2, 2)}}, TypeError, "position must be an integer"),
        (("ij->ij",), {"constants": {0: _normal(2, 2)}}, ValueError, "at least one factor"),
        (("ij,jk->ik", _normal(2, 2), _normal(2, 2).float()), {}, TypeError, "operand 1 is torch.float32"),
        (("ij->ij", torch.ones(2, 2, dtype=torch.int64)), {}, TypeError, "operand 0 is torch.int64"),
        (("ij->ij", [[1.0]]), {}, TypeError, "operand 0 must be a torch.Tensor, got list"),
        (("ij->ik", _normal(2, 2)), {}, ValueError, "'k'"),
    ],
)
def test_product_errors_name_the_operand(arguments, kinds, error, says):
    with pytest.raises(error, match=says):
        Product(*arguments, **kinds)


def test_chain_shapes():
    assert [tuple(p.shape) for p in MatrixChain(4, 7, 3).parameters()] == [(4, 4), (4, 4), (4, 7)]
    assert [tuple(p.shape) for p in MatrixChain(4, 7, 3, hidden=[9, 2], trials=5).parameters()] == [
        (5, 4, 9), (5, 9, 2), (5, 2, 7),
    ]  # fmt: skip
    assert MatrixChain(4, 7, 1).equation == "ab->ab"
    model = MatrixChain(3, 4, 4, hidden=6, init_scale=1.0, dtype=F64, seed=3)
    torch.testing.assert_close(model(), torch.linalg.multi_dot([p.detach() for p in model.parameters()]))


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_gaussian_factors_and_product_have_the_documented_spread(depth):
    rows, cols, alpha = 60, 90, 0.3
    model = MatrixChain(rows, cols, depth, trials=8, init_scale=alpha, seed=0, dtype=F64)
    for factor in model.parameters():
        assert factor.std().item() == pytest.approx(alpha ** (1 / depth) / math.sqrt(factor.shape[-1]), rel=0.03)
        assert abs(factor.mean().item()) < 4 * factor.std().item() / math.sqrt(factor.numel())
    # Arora et al. 2019: at 100 x 100 the Frobenius norm starts near 10 alpha
    assert model().square().mean().sqrt().item() == pytest.approx(alpha / math.sqrt(cols), rel=0.1)


@pytest.mark.parametrize("init", ["orthogonal", "identity"])
@pytest.mark.parametrize("sizes", [(5, 5, None), (4, 7, 6)])
def test_orthogonal_and_identity_factors(init, sizes):
    rows, cols, hidden = sizes
    model = MatrixChain(rows, cols, 3, hidden=hidden, init=init, init_scale=0.008, seed=1, dtype=F64)
    for factor in model.parameters():
        frame = factor.detach() / 0.2  # 0.008 ** (1 / 3)
        gram = frame @ frame.T if frame.shape[0] <= frame.shape[1] else frame.T @ frame
        torch.testing.assert_close(gram, torch.eye(min(frame.shape), dtype=F64), rtol=0, atol=1e-12)
        if init == "identity":
            torch.testing.assert_close(frame, torch.eye(*frame.shape, dtype=F64), rtol=1e-15, atol=0)


def test_orthogonal_factors_are_uniform():
    # without the sign rule the diagonal of Q would be one-sided
    frames = MatrixChain(3, 3, 1, trials=2000, init="orthogonal", init_scale=1.0, seed=0, dtype=F64)()
    assert frames.mean(0).abs().max() < 5 / math.sqrt(3 * 2000)


@pytest.mark.parametrize("hidden", [None, 3, [7, 6]])
def test_balanced_factors_are_balanced(hidden):
    chain = MatrixChain(5, 6, 3, hidden=hidden, trials=2, init="balanced", init_scale=0.5, seed=4, dtype=F64)
    factors = [p.detach() for p in chain.parameters()]
    scale = max(f.square().sum().item() for f in factors)
    for left, right in itertools.pairwise(factors):
        torch.testing.assert_close(left.mT @ left, right @ right.mT, rtol=0, atol=1e-13 * scale)
    # the product keeps the Gaussian product's size, and its singular values are the factors' cubed
    assert torch.allclose(torch.linalg.svdvals(chain())[:, :3], torch.linalg.svdvals(factors[1])[:, :3] ** 3)


def test_balanced_product_is_distributed_as_the_gaussian_product():
    norms = [
        MatrixChain(6, 6, 3, trials=400, init=init, init_scale=1.0, seed=seed, dtype=F64)()
        .square()
        .sum((1, 2))
        .mean()
        .item()
        for init, seed in (("gaussian", 0), ("balanced", 1))
    ]
    assert norms[0] == pytest.approx(6.0, rel=0.1) and norms[1] == pytest.approx(6.0, rel=0.1)


def test_init_std_is_the_spread_of_entries():
    for init in ("gaussian", "orthogonal"):
        model = MatrixChain(40, 30, 3, trials=4, init=init, init_std=0.02, seed=0, dtype=F64)
        for factor in model.parameters():
            assert factor.square().mean().sqrt().item() == pytest.approx(0.02, rel=0.05)


def test_scale_may_be_per_trial():
    scales = [1e-3, 1.0, 0.0]
    model = MatrixChain(4, 4, 2, trials=3, init="identity", init_scale=scales, dtype=F64)
    torch.testing.assert_close(model(), torch.eye(4, dtype=F64) * torch.tensor(scales, dtype=F64).view(3, 1, 1))


@pytest.mark.parametrize("init", ["gaussian", "orthogonal", "balanced"])
def test_a_trial_of_many_is_the_single_run(init):
    options = dict(init=init, init_scale=0.7, dtype=F64)
    many = MatrixChain(5, 4, 3, trials=6, seed=11, **options)
    for trial in range(6):
        one = MatrixChain(5, 4, 3, seed=(11, trial), **options)
        pairs = list(zip(many.parameters(), one.parameters()))
        assert all(torch.equal(a[trial], b) for a, b in pairs)
    later = MatrixChain(5, 4, 3, trials=2, seed=(11, 4), **options)
    assert torch.equal(later(), many()[4:])
    first, second = many.factors[0].detach()[:2]
    assert not torch.equal(first, second)


def test_generators_and_the_global_seed():
    def generators():
        return [torch.Generator().manual_seed(s) for s in (5, 6)]

    each = MatrixChain(3, 3, 2, trials=2, generator=generators(), dtype=F64)
    alone = MatrixChain(3, 3, 2, generator=generators()[1], dtype=F64)
    assert torch.equal(each()[1], alone())
    shared = torch.Generator().manual_seed(5)
    one_by_one = MatrixChain(3, 3, 2, trials=2, generator=shared, dtype=F64)
    assert torch.equal(one_by_one()[0], each()[0]) and not torch.equal(one_by_one()[1], each()[1])
    torch.manual_seed(9)
    first = MatrixChain(3, 3, 2)
    torch.manual_seed(9)
    assert torch.equal(first(), MatrixChain(3, 3, 2)())


def test_streams_of_one_seed_never_repeat():
    assert len({stream(0, trial) for trial in range(200_000)}) == 200_000
    assert stream(0, 1) != stream(1, 0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_drawn_in_float64_then_cast(dtype):
    exact = MatrixChain(5, 5, 2, seed=2, dtype=F64)
    cast = MatrixChain(5, 5, 2, seed=2, dtype=dtype)
    assert all(torch.equal(a.to(dtype), b) for a, b in zip(exact.parameters(), cast.parameters()))


@pytest.mark.parametrize(
    "options, error, says",
    [
        ({"init": "normal"}, ValueError, "unknown init 'normal'; known are gaussian"),
        ({"init_scale": 1.0, "init_std": 1.0}, ValueError, "both given"),
        ({"init_std": 1.0, "init": "identity"}, ValueError, "init_std: the entries of"),
        ({"init_scale": [1.0, 2.0]}, ValueError, r"init_scale must be a number, got shape \[2\]"),
        (
            {"init_scale": [1.0, 2.0], "trials": 3},
            ValueError,
            r"a number or \[3\], one for each trial, got shape \[2\]",
        ),
        ({"init_scale": -1.0}, ValueError, "init_scale must be finite and not negative, got -1.0"),
        ({"init_scale": "small"}, TypeError, "init_scale must be a number, got 'small'"),
        ({"seed": 0, "generator": torch.Generator()}, ValueError, "generator and seed were both given"),
        ({"seed": 0.5}, TypeError, "seed must be an integer"),
        ({"generator": [torch.Generator()], "trials": 2}, ValueError, "one for each of the 2 trials, got 1"),
        ({"generator": 3}, TypeError, "generator must be a torch.Generator"),
        ({"hidden": [3]}, ValueError, "depth 3 has 2 inner sizes, got 1"),
        ({"hidden": 0}, ValueError, "hidden must be at least 1, got 0"),
        ({"trials": 0}, ValueError, "trials must be at least 1"),
        ({"depth": 0}, ValueError, "depth must be at least 1, got 0"),
        ({"rows": 2.0}, TypeError, "rows must be an integer, got 2.0"),
    ],
)
def test_chain_errors_name_the_argument(options, error, says):
    with pytest.raises(error, match=says):
        MatrixChain(**{"rows": 3, "cols": 3, "depth": 3, **options})
