"""Where and how an experiment's fits run: device, progress, checkpoints to resume from, eager PyTorch timed beside."""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from irkernels.experiments.eager import EagerSteps, extrapolated
from irkernels.experiments.grid import Settings
from irkernels.experiments.outcome import Run
from irkernels.nn import Product
from irkernels.training import fit
from irkernels.training.checkpoint import CheckpointError


@dataclass
class Session:
    """device: of models and data.  say: called with a line of progress.  folder: of checkpoints, none by default.

    tag: what the checkpoints belong to; a session with the same folder and tag goes on where that one was interrupted.
    """

    device: str = "cpu"
    say: Callable[[str], Any] | None = None
    folder: Path | None = None
    tag: str = ""
    written: list[Path] = field(default_factory=list)  # checkpoints, for `clear`

    def fit(
        self,
        name: str,
        model: Product,
        data: Any,
        optimizer: Callable[[Iterable[Tensor]], Optimizer],
        settings: Settings,
        timed: int,
        eager: EagerSteps | None = None,
        **options: Any,
    ) -> Run:
        """irk.fit with these options; beside it, from the same start, at most `timed` steps of eager PyTorch.

        name: of the fit within the experiment.  optimizer: parameters -> optimizer.  eager: how eager PyTorch predicts,
        where that is not torch.einsum.  Raises KeyboardInterrupt once an interrupted fit has written its checkpoint.
        """
        begin = Product(model.equation, *model.factors, constants=model.constants, trials=model.trials)
        path = self._checkpoint(name)
        before = _seconds_of(path)
        optimizer(model.parameters())  # the first that a process makes takes torch most of a second
        start = time.perf_counter()

        def train(resume: Path | None) -> Any:
            return fit(
                model, data, optimizer(model.parameters()), checkpoint=path, resume=resume,
                progress=self._progress(name), **options
            )

        try:
            trajectory = train(path if path is not None and path.exists() else None)
        except CheckpointError:  # of another release, or damaged
            trajectory = train(None)
        seconds = before + time.perf_counter() - start
        if path is not None:
            path.with_suffix(".seconds").write_text(repr(seconds))
        if "interrupted" in trajectory.reason:
            raise KeyboardInterrupt
        steps = int(torch.as_tensor(trajectory.stopped_at).max())
        wanted = {key: options[key] for key in ("loss", "delta", "batch_size", "penalty") if key in options}
        beside = extrapolated(begin, data, optimizer, steps, min(timed, steps), eager, **wanted)
        return Run(trajectory, settings, model, seconds, beside)

    def clear(self) -> None:
        """Removes the checkpoints; the next session begins anew."""
        for path in self.written:
            for each in (path, path.with_suffix(".seconds")):
                with contextlib.suppress(OSError):
                    each.unlink()

    def _progress(self, name: str) -> Any:
        say = self.say
        return False if say is None else lambda progress: say(f"{self.tag} {name}: step {progress}".strip())

    def _checkpoint(self, name: str) -> Path | None:
        if self.folder is None:
            return None
        path = self.folder / f".{self.tag}-{name}.checkpoint".replace(" ", "-")
        self.written.append(path)
        return path


def tag_of(experiment: str, parameters: Mapping[str, Any], device: str) -> str:
    """The experiment's name and a hash of all that its fits depend on."""
    text = repr(sorted((name, str(value)) for name, value in parameters.items())) + device
    return f"{experiment}-{hashlib.blake2b(text.encode(), digest_size=4).hexdigest()}"


def _seconds_of(path: Path | None) -> float:
    """What an interrupted fit has taken already."""
    try:
        return float(path.with_suffix(".seconds").read_text()) if path is not None and path.exists() else 0.0
    except (OSError, ValueError):
        return 0.0
