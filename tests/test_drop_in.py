"""torch.einsum and torch.linalg.multi_dot swapped for ours inside a model: the same losses, whatever is around it.

The model is trained on a teacher's outputs in float64, where two orders of summation differ by 1e-12 after 40 steps.
Autocast and other optimizers: test_layer.py.
"""

from __future__ import annotations

import copy
import io
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from torch.utils.data import DataLoader, Dataset

import irkernels as irk

STEPS, BATCH, MOST = 40, 16, 1e-12
PAIR = {"ours": (irk.einsum, irk.multi_dot), "torch": (torch.einsum, torch.linalg.multi_dot)}


class LowRank(nn.Module):
    """x -> a tensor-train layer, then a chain of three factors; `whose`: PAIR's functions."""

    def __init__(self, whose: str, recomputed: bool = False) -> None:
        super().__init__()
        self.whose, self.recomputed = whose, recomputed
        generator = torch.Generator().manual_seed(3)

        def drawn(*shape: int) -> nn.Parameter:
            return nn.Parameter(torch.randn(shape, generator=generator, dtype=torch.float64) / shape[0] ** 0.5)

        self.left, self.right = drawn(4, 3, 5), drawn(5, 4, 3)
        self.chain = nn.ParameterList([drawn(9, 4), drawn(4, 6), drawn(6, 2)])

    def train_layer(self, x: Tensor) -> Tensor:
        einsum = PAIR[self.whose][0]
        return einsum("bij,imr,rjn->bmn", x.unflatten(1, (4, 4)), self.left, self.right).flatten(1).tanh()

    def forward(self, x: Tensor) -> Tensor:
        hidden = checkpoint(self.train_layer, x, use_reentrant=False) if self.recomputed else self.train_layer(x)
        return hidden @ PAIR[self.whose][1](list(self.chain))


def batches() -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(5)
    teacher = torch.randn(16, 2, generator=generator, dtype=torch.float64) / 4
    inputs = torch.randn(STEPS, BATCH, 16, generator=generator, dtype=torch.float64)
    return [(x, torch.tanh(x @ teacher)) for x in inputs]


def losses(model: nn.Module, call: Callable[[Tensor], Tensor] | None = None, part: slice = slice(None)) -> list[float]:
    """Of training; part: the rows of each batch that this process sees."""
    optimizer, found = torch.optim.Adam(model.parameters(), lr=0.02), []
    call = model if call is None else call
    for x, y in batches():
        loss = nn.functional.mse_loss(call(x[part]), y[part])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        found.append(loss.item())
    assert sum(found[-5:]) < 0.8 * sum(found[:5]), "it did not learn, so that equal losses would say nothing"
    return found


def copied_by_state(model: LowRank) -> LowRank:
    other = LowRank(model.whose, model.recomputed)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.zero_()
    other.load_state_dict(model.state_dict())
    return other


def saved(model: nn.Module) -> nn.Module:
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


COPIES: dict[str, Callable[[LowRank], nn.Module]] = {
    "as it is": lambda model: model,
    "copy.deepcopy": copy.deepcopy,
    "pickle": lambda model: pickle.loads(pickle.dumps(model)),
    "torch.save": saved,
    "state_dict": copied_by_state,
}


@pytest.fixture(scope="module")
def expected() -> Tensor:
    return torch.tensor(losses(LowRank("torch")), dtype=torch.float64)


def same(found: list[float], expected: Tensor) -> None:
    assert float((torch.tensor(found, dtype=torch.float64) - expected).abs().max()) <= MOST


@pytest.mark.parametrize("name", COPIES)
def test_the_same_losses(name: str, expected: Tensor) -> None:
    same(losses(COPIES[name](LowRank("ours"))), expected)


def test_a_copy_taken_in_mid_graph_trains_on(expected: Tensor) -> None:
    model = LowRank("ours")
    model(batches()[0][0]).sum().backward()
    same(losses(copy.deepcopy(model)), expected)


def test_with_activation_checkpointing(expected: Tensor) -> None:
    same(losses(LowRank("ours", recomputed=True)), expected)


def test_compiled(expected: Tensor) -> None:
    torch._dynamo.reset()
    model = LowRank("ours")
    same(losses(model, torch.compile(model, backend="aot_eager", fullgraph=True)), expected)


def test_exported(expected: Tensor) -> None:
    x = batches()[0][0]
    program = torch.export.export(LowRank("ours"), (x,), dynamic_shapes=({0: torch.export.Dim("rows")},))
    same(losses(program.module()), expected)


class Products(Dataset):
    """Items that are computed where they are asked for: in a worker."""

    def __init__(self, whose: str) -> None:
        self.factors = [torch.randn(60, 60, dtype=torch.float64) for _ in range(3)]
        self.whose = whose

    def __len__(self) -> int:
        return 12

    def __getitem__(self, item: int) -> Tensor:
        einsum, multi_dot = PAIR[self.whose]
        return einsum("ij,jk,kl->il", *self.factors) * item + multi_dot(self.factors)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork")
def test_in_forked_workers_of_a_data_loader(threads: Callable[[int], None]) -> None:
    """After parallel calls in the parent; the timeout ends a worker that hangs."""
    threads(2)
    torch.manual_seed(0)
    items = Products("ours")
    here = torch.stack([items[item] for item in range(len(items))])
    loader = DataLoader(items, batch_size=3, num_workers=2, timeout=60, multiprocessing_context="fork")
    for _ in range(2):  # each pass forks anew
        found = torch.cat(list(loader))
        assert float((found - here).abs().max()) <= 1e-12 * float(here.abs().max())


_RANK = """
import sys
sys.path.insert(0, {tests!r})
import torch
from test_drop_in import BATCH, LowRank, losses
rank = int(sys.argv[1])
torch.set_num_threads(1)
torch.distributed.init_process_group("gloo", init_method="file://{folder}/meeting", rank=rank, world_size=2)
half = BATCH // 2
model = torch.nn.parallel.DistributedDataParallel(LowRank("ours"))
torch.save(losses(model, part=slice(rank * half, (rank + 1) * half)), "{folder}/" + str(rank))
torch.distributed.destroy_process_group()
"""


def on_two_ranks(folder: Path) -> Tensor:
    """The mean of both ranks' losses: those of the whole batch."""
    script = _RANK.format(tests=os.path.dirname(__file__), folder=folder)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    started = [subprocess.Popen([sys.executable, "-c", script, str(rank)], env=environment) for rank in range(2)]
    try:
        assert [process.wait(timeout=300) for process in started] == [0, 0]
    finally:
        for process in started:
            process.kill()
            process.wait()
    return torch.tensor([torch.load(folder / str(rank)) for rank in range(2)], dtype=torch.float64).mean(0)


@pytest.mark.skipif(not torch.distributed.is_available(), reason="this torch has no distributed package")
def test_over_two_ranks(tmp_path: Path, expected: Tensor) -> None:
    same(on_two_ranks(tmp_path).tolist(), expected)
