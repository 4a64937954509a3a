"""Valid calls of models, measurements, optimizers and fit."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import irkernels as irk
from malformed.verbs import Made, at, draw, observed


def model(**options: Any) -> irk.nn.MatrixChain:
    return irk.nn.MatrixChain(2, 4, 2, seed=0, **options)


def fitted(trained: Any, data: Any, **options: Any) -> Any:
    known = trained if isinstance(trained, irk.nn.Product) else model()
    return irk.fit(trained, data, torch.optim.SGD(known.parameters(), lr=0.1), **options)


def stepped(rule: Callable[..., Any], shape: Any = (2, 3), **options: Any) -> None:
    parameter = torch.nn.Parameter(torch.ones(shape))
    parameter.grad = torch.ones_like(parameter)
    rule([parameter], **options).step()


def fitted_by(rule: Callable[..., Any], **options: Any) -> Any:
    trained = model(trials=3)
    return irk.fit(trained, observed(), rule(trained.parameters(), **options), steps=2, progress=False)


def resumed(content: Any) -> Any:
    """fit that goes on from a checkpoint of this content."""
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run"
        path.write_bytes(content)
        return fitted(model(), observed(), steps=4, progress=False, resume=path)


def loaded(content: Any) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run"
        path.write_bytes(content)
        return irk.Trajectory.load(path)


def checkpoint() -> bytes:
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run"
        fitted(model(), observed(), steps=2, progress=False, checkpoint=path)
        return path.read_bytes()


def trajectory() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run"
        fitted(model(), observed(), steps=2, progress=False, record="loss", record_every=1).save(path)
        return path.read_bytes()


DRAWING = {"trials": 2, "init_scale": 0.1, "dtype": torch.float64, "device": "cpu", "seed": 3}

MODELS: dict[str, Callable[[], Made]] = {
    "Product": lambda: (
        irk.nn.Product,
        ["ij,jk->ik", draw(3, 2, 3)],
        {"constants": {1: draw(3, 4)}, "trials": 3},
    ),
    "MatrixChain": lambda: (irk.nn.MatrixChain, [2, 4, 3], {"hidden": [2, 3], "init": "gaussian", **DRAWING}),
    "HadamardChain": lambda: (irk.nn.HadamardChain, [4, 2],
        {"shared": False, "signed": True, "init": "gaussian", **DRAWING}),
    "CP": lambda: (irk.nn.CP, [(2, 3, 4), 2],
        {"depth": 2, "chains": "column", "hidden": 2, "init": "balanced", **DRAWING}),
    "Tucker": lambda: (irk.nn.Tucker, [(2, 3), (2, 2)], {"depth": 2, "chains": "factor", "hidden": 2, **DRAWING}),
    "TensorTrain": lambda: (irk.nn.TensorTrain, [(2, 3, 4), [2, 2]], {"ring": False, "unfolding": "left", **DRAWING}),
    "HierarchicalTucker": lambda: (
        irk.nn.HierarchicalTucker,
        [(2, 2, 2, 2), [2, 3]],
        {"tree": None, "transfer": "diagonal", **DRAWING},
    ),
    "HierarchicalTucker of a tree": lambda: (irk.nn.HierarchicalTucker, [(2, 2, 2), 2],
        {"tree": ((0, 1), 2), "seed": 0}),
    "model.entries": lambda: (model().entries, [at()], {}),
    "model.completion_loss": lambda: (model(trials=2).completion_loss, [observed()], {"loss": "l1", "delta": 0.5}),
    "CP.from_tensorly": lambda: (irk.nn.CP.from_tensorly, [(draw(2), [draw(3, 2), draw(4, 2)])], {}),
    "Sensing": lambda: (irk.Sensing, [draw(5, 2, 4), draw(5)], {}),
    "RankOneSensing": lambda: (irk.RankOneSensing, [[draw(5, 2), draw(5, 4)], draw(5)], {}),
    "Regression": lambda: (irk.Regression, [draw(5, 4), draw(5, 2)], {}),
    "fit": lambda: (
        fitted,
        [model(), observed()],
        {
            "steps": 3, "loss": "mse", "delta": 1.0, "lr": 0.1, "clip": 1.0, "clip_value": None, "record": ["loss"],
            "record_every": 1, "stop": irk.Stop(loss=1e-9), "progress": False, "batch_size": 2, "sampler_seed": 1,
            "ridge": 0.1, "memory_limit": 1 << 30, "tier": "core", "truth": None, "penalty": None,
        },
    ),
    "fit of trials": lambda: (
        fitted,
        [model(trials=3), observed()],
        {"steps": 2, "lr": [0.1, 0.2, 0.3], "progress": False, "ridge": torch.ones(3), "hyper": {"momentum": 0.5}},
    ),
    "fit of a target": lambda: (fitted, [model(), draw(2, 4)],
        {"steps": 2, "progress": False, "record": ["loss", "effective_rank"]}),
    "fit of sensing": lambda: (fitted, [model(), irk.Sensing(draw(5, 2, 4), draw(5))], {"steps": 2, "progress": False}),
    "fit of regression": lambda: (
        fitted,
        [model(), irk.Regression(draw(5, 4), draw(5, 2))],
        {"steps": 2, "progress": False, "truth": draw(2, 4), "record": "loss"},
    ),
    "Stop": lambda: (irk.Stop, [], {"loss": 1e-3, "patience": 2, "every": 5, "diverged_above": 1e6}),
    "Entry": lambda: (irk.Entry, [0, 1], {}),
    "Running": lambda: (irk.Running, ["min", "loss"], {}),
    "GroupRMSprop": lambda: (stepped, [irk.optim.GroupRMSprop], {"lr": 0.1, "alpha": 0.9, "eps": 1e-6, "trials": 2}),
    "fit by GroupRMSprop": lambda: (fitted_by, [irk.optim.GroupRMSprop], {"lr": 0.1, "alpha": 0.9, "eps": 1e-6}),
    "fit by Adam": lambda: (
        fitted_by,
        [torch.optim.Adam],
        {"lr": 0.1, "betas": (0.9, 0.99), "eps": 1e-8, "weight_decay": 0.0, "amsgrad": True, "maximize": False},
    ),
    "fit by SGD": lambda: (fitted_by, [torch.optim.SGD],
        {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.1}),
    "PathSGD": lambda: (irk.measures.PathSGD, [[torch.nn.Parameter(draw(2, 3)), torch.nn.Parameter(draw(3, 4))]],
        {"lr": 0.1, "p": 2}),
    "resume": lambda: (resumed, [checkpoint()], {}),
    "Trajectory.load": lambda: (loaded, [trajectory()], {}),
}
