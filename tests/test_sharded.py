"""DTensor operands on four gloo ranks: values, gradients, entries and losses are those of plain tensors."""

from __future__ import annotations

import itertools
import os
import random
import subprocess
import sys
import traceback

import pytest
import torch

import irkernels as irk

pytestmark = pytest.mark.skipif(not torch.distributed.is_available(), reason="this torch has no torch.distributed")
RANKS = 4
_RANK = """
import sys
sys.path.insert(0, {tests!r})
import torch.distributed as dist
dist.init_process_group("gloo", init_method="file://{folder}/meet", rank=int(sys.argv[1]), world_size={ranks})
import test_sharded
test_sharded.on_a_rank({folder!r})
dist.destroy_process_group()
"""
EQUATIONS = {  # sizes that four ranks do not share evenly, and some of them nothing
    "ij,jk,kl->il": ((5, 3), (3, 7), (7, 4)),
    "...ij,...jk->...ik": ((6, 2, 5), (6, 5, 3)),
    "...ij,jk->ik": ((2, 5, 2, 4), (4, 3)),
    "ar,br,cr->abc": ((4, 5), (3, 5), (2, 5)),
    "pq,ap,bq->ab": ((3, 4), (5, 3), (6, 4)),
    "ii,ij->j": ((4, 4), (4, 3)),
    "ij,jk->ik": ((5, 1), (6, 3)),
    "i,i->": ((9,), (9,)),
    "i,j->ij": ((1,), (5,)),
}


def on_a_rank(folder):
    """Runs the cases; a rank that finds one wrong says so in a file, and ends, as the others then wait for it."""
    for case in CASES:
        try:
            case()
        except BaseException:
            with open(f"{folder}/{case.__name__}", "a") as file:
                file.write(traceback.format_exc())
            raise
        with open(f"{folder}/{case.__name__}", "a") as file:
            file.write("right\n")


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """What the ranks say of each case."""
    folder = tmp_path_factory.mktemp("ranks")
    script = _RANK.format(tests=os.path.dirname(__file__), folder=os.fspath(folder), ranks=RANKS)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    started = [subprocess.Popen([sys.executable, "-c", script, str(rank)], env=environment) for rank in range(RANKS)]
    try:
        for process in started:
            process.wait(timeout=400)
    finally:
        for process in started:
            process.kill()
            process.wait()
    return {file.name: file.read_text() for file in folder.iterdir() if file.name != "meet"}


def mesh_of(*shape):
    return torch.distributed.init_device_mesh("cpu", shape)


def drawn(shapes, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]


def placed(whole, mesh, placements):
    """A leaf DTensor of these placements; where Partial, the parts sum to the tensor."""
    from torch.distributed.tensor import DTensor, Replicate, distribute_tensor

    first = [Replicate() if p.is_partial() else p for p in placements]
    part = distribute_tensor(whole, mesh, first).to_local().clone()
    for dim, placement in enumerate(placements):
        if placement.is_partial():
            weights = torch.arange(1.0, mesh.size(dim) + 1, dtype=whole.dtype)
            part *= weights[mesh.get_local_rank(dim)] / weights.sum()
    return DTensor.from_local(
        part, mesh, placements, run_check=False, shape=whole.shape, stride=whole.stride()
    ).requires_grad_()


def ways(tensor):
    from torch.distributed.tensor import Partial, Replicate, Shard

    return [Replicate(), Partial(), *map(Shard, range(tensor.dim()))]


def some(placements, count=12):
    """Some of them, the same on every rank."""
    placements = list(placements)
    return random.Random(0).sample(placements, min(count, len(placements)))


def agrees(actual, expected):
    torch.testing.assert_close(actual.full_tensor(), expected, rtol=1e-12, atol=1e-13)


def check_product(equation, wholes, sharded):
    """The value, its gradients for a cotangent, and the entries, gradients and losses of the same operands."""
    plain = [whole.clone().requires_grad_() for whole in wholes]
    expected = irk.einsum(equation, *plain)
    cotangent = torch.linspace(-1, 2, expected.numel(), dtype=torch.float64).reshape(expected.shape)
    found = irk.einsum(equation, *sharded)
    assert found.shape == expected.shape and found.dtype == expected.dtype
    agrees(found, expected)
    mesh = sharded[0].device_mesh
    given = torch.distributed.tensor.distribute_tensor(cotangent, mesh)
    slopes = torch.autograd.grad((found * given).sum(), sharded)
    for slope, pulled, reference in zip(slopes, irk.gradients(equation, *sharded, cotangent=given),
                                        torch.autograd.grad(expected, plain, cotangent)):  # fmt: skip
        agrees(slope, reference)
        agrees(pulled, reference)


def placements_of_one_dimension():
    mesh = mesh_of(RANKS)
    for equation, shapes in EQUATIONS.items():
        wholes = drawn(shapes)
        for placements in some(itertools.product(*map(ways, wholes)), 24):
            check_product(equation, wholes, [placed(w, mesh, [p]) for w, p in zip(wholes, placements)])


def meshes_of_two_dimensions():
    mesh, chance = mesh_of(2, 2), random.Random(0)
    for equation, shapes in EQUATIONS.items():
        wholes = drawn(shapes)
        for _ in range(12):
            check_product(
                equation, wholes, [placed(w, mesh, [chance.choice(ways(w)) for _ in range(2)]) for w in wholes]
            )


def entries_and_losses():
    mesh = mesh_of(RANKS)
    for equation, shapes in EQUATIONS.items():
        wholes = drawn(shapes)
        read = irk.reference.equation.read_equation(equation, tuple(wholes))
        at = torch.stack([torch.arange(7) * 3 % extent for extent in read.shape], 1) if read.shape else None
        if at is None:
            continue
        trials = read.dense
        for placements in some(itertools.product(*map(ways, wholes))):
            sharded = [placed(w, mesh, [p]) for w, p in zip(wholes, placements)]
            plain = [w.clone().requires_grad_() for w in wholes]
            check_alike(lambda *o: irk.entries(equation, *o, at=at), sharded, plain)
            for values in drawn(((7,), (*trials, 7)) if trials else ((7,),)):
                observed = irk.Observed(at, values, read.shape)
                for loss in ("mse", "huber"):
                    check_alike(
                        lambda *o: irk.completion_loss(equation, *o, observed=observed, loss=loss), sharded, plain
                    )


def check_alike(function, sharded, plain):
    found, expected = function(*sharded), function(*plain)
    agrees(found, expected)
    slopes = torch.autograd.grad((found * found).sum(), sharded)
    for slope, reference in zip(slopes, torch.autograd.grad((expected * expected).sum(), plain)):
        agrees(slope, reference)


def gradients_are_differentiable():
    mesh, equation = mesh_of(RANKS), "ij,jk,kl->il"
    wholes = drawn(((5, 3), (3, 7), (7, 4), (5, 4)))

    def norm(*tensors):
        *operands, cotangent = tensors
        return sum((g * g).sum() for g in irk.gradients(equation, *operands, cotangent=cotangent))

    for placements in some(itertools.product(*map(ways, wholes))):
        sharded = [placed(w, mesh, [p]) for w, p in zip(wholes, placements)]
        plain = [w.clone().requires_grad_() for w in wholes]
        found, expected = norm(*sharded), norm(*plain)
        agrees(found, expected)
        for slope, reference in zip(torch.autograd.grad(found, sharded), torch.autograd.grad(expected, plain)):
            agrees(slope, reference)


def rows_stay_where_they_are():
    """Batch-sharded operands meet no collective, and give a batch-sharded product and gradients."""
    from torch.distributed.tensor import Replicate, Shard
    from torch.distributed.tensor.debug import CommDebugMode

    mesh = mesh_of(RANKS)
    x, a, b = drawn(((8, 5), (5, 3), (3, 6)))
    x = placed(x, mesh, [Shard(0)])
    a, b = (placed(w, mesh, [Replicate()]) for w in (a, b))
    pairs = [placed(w, mesh, [Shard(0)]) for w in drawn(((8, 2, 5), (8, 5, 3)))]
    with CommDebugMode() as watched:
        found = irk.multi_dot([x, a, b])
        trials = irk.einsum("...ij,...jk->...ik", *pairs)
    assert watched.get_total_counts() == 0
    assert found.placements == (Shard(0),) and trials.placements == (Shard(0),)
    found.pow(2).sum().backward()
    assert x.grad.placements == (Shard(0),)


def split_rows(name, module, mesh):
    """For distribute_module: every factor sharded by its rows."""
    from torch.distributed.tensor import Shard, distribute_tensor

    for key, parameter in list(module.named_parameters(recurse=False)):
        module.register_parameter(key, torch.nn.Parameter(distribute_tensor(parameter.data, mesh, [Shard(0)])))


def models_train():
    """A chain whose parameters are sharded, and one under FSDP2, step as a plain one does."""
    from torch.distributed.fsdp import fully_shard
    from torch.distributed.tensor import distribute_module

    mesh = mesh_of(RANKS)

    def model():
        return irk.nn.MatrixChain(8, 6, 3, init_scale=1.0, seed=0, dtype=torch.float64)

    target = drawn(((8, 6),))[0]
    losses = []
    for made in (model(), distribute_module(model(), mesh, split_rows), fully_shard(model(), mesh=mesh)):
        optimizer, seen = torch.optim.SGD(made.parameters(), lr=0.05), []
        for _ in range(5):
            optimizer.zero_grad()
            product = made()
            product = product.full_tensor() if hasattr(product, "full_tensor") else product
            loss = (product - target).pow(2).mean()
            loss.backward()
            optimizer.step()
            seen.append(loss.item())
        losses.append(seen)
    assert losses[0][-1] < losses[0][0]
    torch.testing.assert_close(losses[1], losses[0], rtol=1e-12, atol=0)
    torch.testing.assert_close(losses[2], losses[0], rtol=1e-12, atol=0)


def what_cannot_be_sharded_is_said():
    from torch.distributed.tensor import Replicate, distribute_module

    mesh, other = mesh_of(RANKS), mesh_of(2, 2)
    a, b = drawn(((4, 3), (3, 5)))
    on_mesh, at = placed(a, mesh, [Replicate()]), torch.zeros(1, 2, dtype=torch.long)
    with pytest.raises(TypeError, match=r"operand 1 is a plain tensor, others are DTensors .*distribute_tensor"):
        irk.einsum("ij,jk->ik", on_mesh, b)
    with pytest.raises(ValueError, match=r"operand 1 is on .*, operand 0 is on .*device meshes must be equal"):
        irk.einsum("ij,jk->ik", on_mesh, placed(b, other, [Replicate(), Replicate()]))
    b = placed(b, mesh, [Replicate()])
    with pytest.raises(TypeError, match="the cotangent is a Tensor, the operands are DTensors"):
        irk.gradients("ij,jk->ik", on_mesh, b, cotangent=torch.ones(4, 5, dtype=torch.float64))
    with pytest.raises(TypeError, match="operand 0 is a plain tensor"):
        irk.gradients("ij,jk->ik", a, b.full_tensor(), cotangent=placed(torch.ones(4, 5).double(), mesh, [Replicate()]))
    with pytest.raises(TypeError, match="at is a DTensor; coordinates are given whole"):
        irk.entries("ij,jk->ik", on_mesh, b, at=placed(at.double(), mesh, [Replicate()]).detach())
    with pytest.raises(ValueError, match="the letter 'j'"):
        irk.einsum("ij,jk->ik", b, on_mesh)
    with pytest.raises(NotImplementedError, match=r"operand 0 is under a transform of torch.func"):
        torch.func.grad(lambda x: irk.einsum("ij,jk->ik", x, b).to_local().sum())(on_mesh.detach())
    with pytest.raises(NotImplementedError, match="log_einsum takes no DTensor"):
        irk.log_einsum("ij,jk->ik", on_mesh, b)
    model = distribute_module(irk.nn.MatrixChain(4, 4, 2), mesh, split_rows)
    with pytest.raises(TypeError, match="the model's factors are DTensors"):
        irk.fit(model, torch.zeros(4, 4), torch.optim.SGD(model.parameters()), steps=1)


CASES = (
    placements_of_one_dimension, meshes_of_two_dimensions, entries_and_losses, gradients_are_differentiable,
    rows_stay_where_they_are, models_train, what_cannot_be_sharded_is_said,
)  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_sharded_operands(case, outcomes):
    assert outcomes.get(case.__name__) == "right\n" * RANKS
