"""The loop of `irk.fit`: chunks of steps by an engine, and everything that happens between them."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from irkernels import sharded
from irkernels._arguments import integer
from irkernels._watching import Watching
from irkernels.nn.product import Product
from irkernels.training import checkpoint as files
from irkernels.training.data import Data, checked_data, checked_loss
from irkernels.training.distributed import Ranks, read_ranks
from irkernels.training.engines import NativeSteps, OrdinarySteps, SharedSteps
from irkernels.training.exchange import withheld
from irkernels.training.interrupt import answer_interrupts
from irkernels.training.ledger import Ledger
from irkernels.training.objective import Objective, with_batches, with_penalties
from irkernels.training.overrides import Overrides, read_overrides
from irkernels.training.pace import LOOK_UP, Pace
from irkernels.training.progress import Progress, reporter
from irkernels.training.quantities import compile_records
from irkernels.training.recording import Recorder, Snapshot, read_metrics
from irkernels.training.rules import check_optimizer, why_not_native
from irkernels.training.stopping import Running, Stop
from irkernels.training.trajectory import Trajectory

TIERS = (None, "lanes", "core", "grid")


def fit(
    model: Product,
    data: Data,
    optimizer: Optimizer,
    *,
    steps: int,
    loss: str = "mse",
    delta: float = 1.0,
    lr: float | Sequence[float] | Tensor | None = None,
    hyper: Mapping[str, Any] | None = None,
    clip: float | Sequence[float] | Tensor | None = None,
    clip_value: float | Sequence[float] | Tensor | None = None,
    optimizer_state: Mapping[str, Any] | None = None,
    record: str | Iterable[str | Mapping[str, Callable[..., Any]]] | Mapping[str, Callable[..., Any]] = (),
    record_every: int | None = None,
    stop: Stop | None = None,
    progress: bool | Callable[[Progress], Any] = True,
    checkpoint: str | os.PathLike[str] | None = None,
    checkpoint_every: float = 60.0,
    resume: str | os.PathLike[str] | None = None,
    truth: Data | None = None,
    batch_size: int | None = None,
    sampler_seed: int = 0,
    ridge: float | Sequence[float] | Tensor = 0.0,
    penalty: Callable[[Tensor], Tensor] | None = None,
    memory_limit: int | None = None,
    distributed: str | None = None,
    tier: str | None = None,
) -> Trajectory:
    """Train a model: `steps` optimizer steps of all its trials, each trial as if alone.

    model: irk.nn.Product or a family.  data, of the factors' dtype: Observed (values [nnz] or [trials, nnz]), a dense
    target ([*output] or [trials, *output]), Sensing, RankOneSensing or Regression.  optimizer: torch.optim.SGD, Adam,
    AdamW or irk.optim.GroupRMSprop over the model's parameters run natively (half types and other devices than CPU
    and CUDA: the same steps in plain torch); another one runs in an ordinary Python loop, with a warning.  Parameters
    and optimizer state are updated in place, as so many optimizer.step() calls would; `.grad` is not touched.

    loss: mse, half_sse, l1 or huber (with delta).  lr, and hyper={"momentum": ..., "betas": ..., ...}: in place of the
    optimizer's, a number or [trials] (betas: a pair or [trials, 2]).  clip: the largest norm of all gradients of a
    trial (torch.nn.utils.clip_grad_norm_), a number or [trials]; clip_value: of an entry, cut before the norm is taken.

    A torch optimizer holds one state for all trials.  Where their hyper-parameters differ, or Adam's trials ended after
    different numbers of updates, it stays as it was and the Trajectory's optimizer_state has each trial's: pass it to
    the next fit; a step of the optimizer itself, or a fit without, is an error from then on.

    stop: irk.Stop.  A trial whose loss or gradient is not finite stops by itself with its last finite parameters.

    record: names of metrics, quantities, and {name: f(model)}, taken at step 0, every record_every steps (default
    steps / 1000) and at the end.  Names are loss; determinant, gradient_norm, singular_values, effective_rank,
    component_norms; error (mean squared error against `truth`, over all its entries, or over what it lists or measures
    if it is no tensor); product (the whole W).  Quantities are irk.Loss(), irk.Entry(i, j), irk.Determinant() and
    formulas of them, and irk.Running("min" or "max", quantity, where=condition), their extreme over all steps so far.
    These, and loss, are noted in the step loop at every step if record_every=1; all else ends a chunk of steps.  A
    trial that has stopped repeats its last.

    progress: a line on standard error where that is a terminal; or a callable given a Progress.  Ctrl-C ends the run
    after the present chunk (about 0.1 s) and returns what was reached; a native step that takes longer is given up and
    not recorded.  checkpoint: a file written at the start, every checkpoint_every seconds and at the end.  resume: such
    a file; the run continues to `steps` in total, bit for bit as if it had not been interrupted, in its recordings too.

    batch_size: observations (entries, or rows of measurements) that each step sees, the same for all trials: slices of
    a permutation of them all, a new one each epoch, keyed by sampler_seed and the step's number; what is left beyond
    the last whole batch waits for another epoch (reference/sampler.py).  The recorded `loss` is of all the data;
    irk.Loss() and `stop` look at the mini-batch's.
    ridge: ridge ||W||_F^2 is added to what is descended, a number or [trials].  penalty: a differentiable function of W
    that gives one number ([trials] where there are trials), added too; it is called at every step, so that steps are
    taken in plain torch, slower, and a warning says so.  The recorded `loss`, and that which `stop` looks at, has
    neither; gradient_norm has both.
    memory_limit: bytes that native steps may take as workspace; MemoryError, naming the bytes, before the first step
    where they need more.
    distributed: in an initialised torch.distributed process group, where all ranks make the same call.  "trials":
    each rank trains its share of the trials, and at the end every rank has the model, the optimizer and the
    Trajectory of all of them, bit for bit those of one process.  "observations": each rank has its own part of the
    observations in `data`, and all step together along the gradient of all of them, in a Python loop.  A checkpoint
    is a file for each rank.

    tier: who takes native steps, with the same bits: "lanes" (a trial in each SIMD lane, small products written out
    once), "core" (a trial on each core) or "grid" (each step of a trial on all cores); default by cost. A ValueError
    says why one cannot.

    Raises TypeError and ValueError naming the argument; CheckpointError (a ValueError) for a damaged file.
    """
    steps = integer("steps", steps, 0)
    record_every = None if record_every is None else integer("record_every", record_every, 1)
    if not isinstance(checkpoint_every, (int, float)) or not checkpoint_every >= 0:
        raise ValueError(f"checkpoint_every must be seconds, at least 0, got {checkpoint_every!r}")
    if not isinstance(model, Product):
        raise TypeError(f"model must be an irk.nn.Product (MatrixChain, ...), got {type(model).__name__}")
    if sharded.among(model.factors):
        raise TypeError("the model's factors are DTensors; fit takes plain ones on each rank (see its distributed=)")
    if stop is not None and not isinstance(stop, Stop):
        raise TypeError(f"stop must be an irk.Stop, got {type(stop).__name__}")
    if tier not in TIERS:
        raise ValueError(f"unknown tier {tier!r}; known are {', '.join(map(repr, TIERS))}")
    checked_loss(loss, delta)
    data = checked_data("data", data, model)
    truth = None if truth is None else checked_data("truth", truth, model)
    check_optimizer(optimizer, model)
    overrides = read_overrides(optimizer, model.trials, lr, hyper, clip, clip_value)
    ranks = read_ranks(distributed)
    checkpoint, resume = ranks.file(checkpoint), ranks.file(resume)
    metrics = read_metrics(record, model, truth, in_batches=batch_size is not None)
    if ranks.shares_observations and "gradient_norm" in metrics.between:
        raise ValueError('record: gradient_norm is of one process\'s observations, not of distributed="observations"')
    report = reporter(progress if ranks.rank == 0 or callable(progress) else False)
    saved = None if resume is None else files.read(resume, "Checkpoint")
    if record_every is None:
        record_every = max(1, steps // 1000) if saved is None else saved["settings"]["record_every"]
    if optimizer_state is not None and resume is not None:
        raise ValueError("optimizer_state: the checkpoint to resume from has a state of its own; give one of the two")
    if optimizer_state is None and saved is None and (mark := withheld(optimizer)):
        mark(optimizer)
    objective = with_batches(Objective(data, loss, delta), model, batch_size, sampler_seed)
    objective = with_penalties(objective, model, ridge, penalty)
    engine = _engine_for(model, objective, optimizer, overrides, tier, ranks)
    if optimizer_state is not None:
        engine.adopt(optimizer_state)
    compared = ranks.count > 1 or resume is not None or checkpoint is not None
    digest = files.digest if compared else files.no_digest
    settings = {
        "equation": model.equation, "shapes": [list(f.shape) for f in model.factors], "trials": model.trials,
        "dtype": str(model.factors[0].dtype), "constants": digest(list(model.constants.values())),
        **objective.settings(digest), "record": metrics.names, "record_every": record_every,
        "quantities": {name: str(quantity) for name, quantity in metrics.within.items()},
        **engine.settings(digest), **ranks.settings(),
    }  # fmt: skip
    shared = {name: value for name, value in settings.items() if name != "distributed"}
    if ranks.shares_observations:
        del shared["data"]
    begin = digest([factor.detach() for factor in model.factors])
    ranks.check_alike({**shared, "steps": steps, "the model's parameters": begin})
    trials, factor = model.trials or 1, model.factors[0].detach()
    records = compile_records(metrics.within, model.shape, trials, record_every, factor)
    run = _Run(
        engine=engine,
        running=Running(trials, factor.device, ranks.own(trials)),
        ranks=ranks,
        recorder=Recorder(metrics.between, model.trials),
        ledger=Ledger(list(metrics.within), records),
        watching=Watching(
            trials, records=records, limits=None if stop is None else stop.limits(trials, record_every, factor.device)
        ),
        names=metrics.names,
        snapshot=lambda: Snapshot(model, objective, truth),
        settings=settings,
        steps=steps,
        stop=stop,
    )
    if memory_limit is not None:
        engine.limit_memory(integer("memory_limit", memory_limit, 0), run.watching)
    if saved is not None and resume is not None:
        files.same_settings(resume, saved["settings"], settings)
        run.load(resume, saved)
    run.loop(report, checkpoint, checkpoint_every)
    return run.trajectory(model)


class _Run:
    """A fit under way: `reached` steps of `steps`, and whatever a checkpoint holds."""

    def __init__(
        self,
        engine: NativeSteps | OrdinarySteps,
        running: Running,
        ranks: Ranks,
        recorder: Recorder,
        ledger: Ledger,
        watching: Watching,
        names: list[str],
        snapshot: Callable[[], Snapshot],
        settings: dict[str, Any],
        steps: int,
        stop: Stop | None,
    ) -> None:
        self.engine, self.running, self.ranks, self.recorder = engine, running, ranks, recorder
        self.ledger, self.watching, self.names = ledger, watching, names
        self.snapshot, self.settings, self.steps, self.stop = snapshot, settings, steps, stop
        self.record_every: int = settings["record_every"]
        self.reached = 0
        self.losses = torch.full(running.active.shape, torch.nan, dtype=torch.float64, device="cpu")
        self._asked = False  # to end, by the progress callable
        self._fresh = True
        self._reported = -LOOK_UP

    def loop(self, report: Any, path: Any, checkpoint_every: float) -> None:
        pace = Pace()
        with answer_interrupts(within_steps=not self.ranks.shares_trials) as interrupt:
            try:
                if self._fresh:
                    self._visit()
                if path is not None:
                    files.clear_unfinished(path)
                written = self._save(path)
                while self.reached < self.steps and self.running.active.any():
                    chunk, interrupted = self.ranks.agree(
                        min(pace.chunk, self._next_visit() - self.reached), interrupt.requested or self._asked
                    )
                    if interrupted:
                        break
                    self._advance(pace, chunk)
                    if self.watching.interrupted:
                        break
                    self._visit()
                    self._report(report, pace)
                    if time.monotonic() - written > checkpoint_every:
                        written = self._save(path)
            finally:
                self.engine.write_back()
                report.close()
            self._finish()
            self._save(path)
        self._gather()

    def _advance(self, pace: Pace, chunk: int) -> None:
        active, self.watching.first, self.watching.look_back = self.running.active, self.reached, False
        with pace.measured(chunk):
            losses, done = self.engine.advance(chunk, active, self.watching)
        if self.watching.interrupted:
            return
        self.losses = torch.where(active, losses, self.losses.to(losses)).cpu().double()
        self.running.advanced(self.reached, done, self.watching.verdicts)
        self.reached += chunk
        if not self.running.active.any():
            # how long the chunk would have been is nobody's business: the run ended with its last trial
            self.reached = int(self.running.stopped_at.max())
        self.ledger.add(self.watching, active, self.reached)

    def _next_visit(self) -> int:
        grids = [self.record_every] if self.recorder.names else []
        return min([self.steps, *(self.reached + grid - self.reached % grid for grid in grids)])

    def _visit(self) -> None:
        """Records what is due at this step."""
        if self.recorder.names and self.reached % self.record_every == 0:
            self._record()

    def _record(self) -> None:
        if self.recorder.names and self.recorder.steps[-1:] != [self.reached]:
            self.recorder.record(self.reached, self.snapshot(), self.running.settled)

    def _finish(self) -> None:
        """The state that no step begins from is looked at too, and stands in the last record.

        That of a step which was given up is not: a look takes as long as the step.
        """
        if self.watching.interrupted:
            return self.running.pause(self.reached)
        if (self.watching.records or self.watching.limits) and self.running.active.any():
            self.watching.first, self.watching.look_back = self.reached, True
            _, done = self.engine.advance(0, self.running.active, self.watching)
            self.running.advanced(self.reached, done, self.watching.verdicts)
            if self.watching.limits:
                self.watching.limits.checked = self.reached
        self.running.pause(self.reached)
        latest = self.ranks.largest(self.reached)
        self.ledger.extend(self.reached, latest)
        while self.reached < latest:
            self.reached = min(latest, self._next_visit())
            self._visit()
        self.ledger.close(self.reached)
        self._record()

    def _gather(self) -> None:
        """What the other ranks' trials have become."""
        if self.ranks.shares_trials:
            for part in (self.engine, self.running, self.recorder, self.ledger):
                part.gather(self.ranks)
            self.engine.write_back()

    def _report(self, report: Any, pace: Pace) -> None:
        left = self.steps - self.reached
        running = int(self.running.active.sum())
        if left and running and pace.seconds - self._reported < LOOK_UP:
            return
        self._reported = pace.seconds
        remaining = left / pace.rate if running and pace.rate else 0.0
        try:
            report(Progress(self.reached, self.steps, pace.rate, remaining, self.losses, running))
        except KeyboardInterrupt:  # between chunks, so that the run can end in order
            self._asked = True

    def _save(self, path: Any) -> float:
        if path is not None:
            limits = self.watching.limits
            body = {
                "settings": self.settings, "engine": self.engine.state(), "running": self.running.state(),
                "reached": self.reached, "stop": None if self.stop is None else list(vars(self.stop).values()),
                "streak": None if limits is None else limits.streak.cpu(), "checked": limits and limits.checked,
                "between": self.recorder.state(), "within": self.ledger.state(),
            }  # fmt: skip
            files.write(path, "Checkpoint", body)
        return time.monotonic()

    def load(self, path: Any, saved: dict[str, Any]) -> None:
        if saved["reached"] > self.steps:
            raise ValueError(f"resume: {os.fspath(path)!r} is at step {saved['reached']}, beyond steps={self.steps}")
        self._fresh = False
        self.reached = saved["reached"]
        self.engine.load(saved["engine"])
        self.running.load(saved["running"])
        self.recorder.load(saved["between"])
        self.ledger.load(saved["within"])
        if saved["stop"] != (None if self.stop is None else list(vars(self.stop).values())):
            self.running.restart_converged(self.reached)
        elif self.watching.limits is not None:
            self.watching.limits.streak.copy_(saved["streak"])
            self.watching.limits.checked = saved["checked"]
        self.ledger.drop_from(self.reached)
        if self.reached < self.steps and self.running.active.any():
            self.recorder.drop_after(self.record_every)

    def trajectory(self, model: Product) -> Trajectory:
        reasons, ends = self.running.reasons(self.steps), self.running.stopped_at.cpu()
        single = model.trials is None
        metrics = {**self.recorder.arrays(), **self.ledger.arrays(model.trials)}
        steps = self.ledger.steps if self.watching.records else self.recorder.recorded_at()
        return Trajectory(
            steps=steps,
            # the ledger lacks the step that was given up
            metrics={name: metrics[name][: len(steps)] for name in self.names},
            reason=reasons[0] if single else reasons,
            stopped_at=int(ends[0]) if single else ends,
            lr=self.engine.lr[0] if single else self.engine.lr,
            equation=model.equation,
            shape=model.shape,
            trials=model.trials,
            loss=self.settings["loss"],
            optimizer=self.settings["optimizer kind"],
            tier=self.engine.tier,
            optimizer_state=self.engine.optimizer_state,
        )


def _engine_for(
    model: Product, objective: Objective, optimizer: Optimizer, overrides: Overrides, tier: str | None, ranks: Ranks
) -> NativeSteps | OrdinarySteps:
    reason = why_not_native(optimizer, model)
    if ranks.shares_observations:
        reason = 'distributed="observations" takes them in a Python loop'
    if ranks.shares_trials and (model.trials is None or reason is not None):
        reason = reason or "the model has no trials"
        raise ValueError(f'distributed="trials" needs trials and native steps, but {reason}')
    if reason is None:
        if objective.penalty is not None:
            warnings.warn(
                "irk.fit takes its steps in plain torch: penalty= is called at every step", UserWarning, stacklevel=3
            )
        return NativeSteps(model, objective, optimizer, overrides, tier)
    if tier is not None:
        raise ValueError(f"tier={tier!r} needs native steps, but {reason}")
    for name, values in overrides.hyper.items():
        if (values != values[0]).any():
            raise ValueError(f"{name} for each trial needs native steps, but {reason}")
    if ranks.shares_observations:
        if objective.batch_size is not None:
            raise ValueError(
                'batch_size= is of one process: with distributed="observations" each has a part of the data'
            )
        return SharedSteps(model, objective, optimizer, overrides, ranks)
    engine = OrdinarySteps(model, objective, optimizer, overrides)
    warnings.warn(f"irk.fit takes its steps in an ordinary Python loop: {reason}", UserWarning, stacklevel=3)
    return engine
