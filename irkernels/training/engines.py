"""The two ways to take steps: natively, all in one call, or with the optimizer's own step() in a Python loop."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, optim
from torch.optim import Optimizer

from irkernels._fit import check_tier, fit_workspace, streams, why_not_natively
from irkernels._fit import fit_steps as _engine
from irkernels._problem import HYPERS, Problem
from irkernels._watching import Watching
from irkernels.measurements import Measurements
from irkernels.nn.product import Product
from irkernels.observed import Observed
from irkernels.optim import GroupRMSprop
from irkernels.reference.fit import fit_steps
from irkernels.reference.recording import Watch
from irkernels.reference.rules import clipped
from irkernels.training.checkpoint import Digest
from irkernels.training.data import added_positions
from irkernels.training.distributed import Ranks, observations_share
from irkernels.training.exchange import adopt_state, hand_back, load_state, state_of
from irkernels.training.objective import Objective
from irkernels.training.overrides import Overrides
from irkernels.training.rules import read_rule, standing, trained

# these act on every entry by itself, so trials do not meet in them
_ENTRYWISE = (
    optim.SGD, optim.Adam, optim.AdamW, optim.Adamax, optim.NAdam, optim.RAdam, optim.RMSprop, optim.Adagrad,
    optim.Adadelta, optim.Rprop, optim.ASGD,
)  # fmt: skip


class NativeSteps:
    """Steps of a plain Problem; the model's parameters are its factors, in place."""

    def __init__(
        self, model: Product, objective: Objective, optimizer: Any, overrides: Overrides, tier: str | None = None
    ) -> None:
        self._model, self._optimizer, self._overrides = model, optimizer, overrides
        self.optimizer_state: dict[str, Any] | None = None  # after write_back: what the optimizer cannot hold
        lead = () if model.trials is not None else (1,)
        self._trained = trained(model)
        own: dict[Tensor, Tensor] = {f: f.detach().contiguous().view(*lead, *f.shape) for f in model.factors}
        rule = read_rule(optimizer, model, overrides)
        self._own_step: Tensor | None = rule.step.clone()  # while the state is the optimizer's own
        active = torch.ones(model.trials or 1, dtype=torch.bool, device=model.factors[0].device)
        constants = {position: c.detach() for position, c in model.constants.items()}
        frozen, tied = standing(model)
        data = objective.data
        target = data.target if isinstance(data, Measurements) else data
        self.problem = Problem(
            model.equation, [own[f] for f in self._trained], target, rule, active, objective.loss, objective.delta,
            constants, {position: own[factor] for position, factor in frozen.items()}, tied,
        )  # fmt: skip
        self.problem.batch_size, self.problem.sampler_seed = objective.batch_size, objective.sampler_seed
        self.problem.product, self.problem.single = model.equation, model.trials is None
        self.problem.ridge, self.problem.penalty = objective.ridge, objective.penalty
        self.problem.tier = tier
        if isinstance(data, Measurements):
            self._measure(data)
        if tier is not None and (reason := self.why_in_torch()):
            raise ValueError(f"tier={tier!r} needs native steps, but {reason}")
        check_tier(self.problem)

    def _measure(self, data: Measurements) -> None:
        problem = self.problem
        problem.rows = added_positions(self._model, data)
        problem.equation, problem.data = data.extend(problem.equation), data.target
        problem.constants |= dict(zip(problem.rows, data.constants))
        if self.why_in_torch() is None and streams(problem, data.count):  # a block of measurements at a time
            listed = torch.arange(data.count, device="cpu").unsqueeze(1)
            problem.data, problem.rows = Observed(listed, data.target, (data.count,)), ()

    def advance(self, steps: int, active: Tensor, watching: Watching) -> tuple[Tensor, Tensor]:
        """(losses [T], done [T]) of up to `steps` updates of every active trial; watching has what is noted of them."""
        self.problem.active, self.problem.watching = active, watching
        losses, done = self._engine()(self.problem, steps)
        self._publish()
        return losses, done

    def _engine(self) -> Callable[[Problem, int], tuple[Tensor, Tensor]]:
        return _engine if self.why_in_torch() is None else fit_steps

    def why_in_torch(self) -> str | None:
        """What makes these steps plain torch's, or None."""
        if self.problem.penalty is not None:
            return "penalty= is a Python function"
        return why_not_natively(self.problem)

    def limit_memory(self, limit: int, watching: Watching) -> None:
        """watching: that of the calls to come.

        Raises MemoryError where the steps need more bytes of workspace, ValueError where nobody counts them.
        """
        reason = self.why_in_torch()
        if reason is not None:
            raise ValueError(f"memory_limit= needs native steps, but {reason}")
        self.problem.memory_limit, self.problem.watching = limit, watching
        fit_workspace(self.problem)

    @property
    def tier(self) -> str:
        """Which tier took the steps, and why."""
        return self.problem.served or "none: plain torch"

    def _publish(self) -> None:
        # a parameter that is not contiguous is not its own factor
        with torch.no_grad():
            for parameter, factor in zip(self._trained, self.problem.factors):
                if parameter.data_ptr() != factor.data_ptr():
                    parameter.copy_(factor.view(parameter.shape))

    def gather(self, ranks: Ranks) -> None:
        """The trials of all ranks, factors and state."""
        rule = self.problem.rule
        for tensor in (*self.problem.factors, *(moment for moments in rule.moments for moment in moments)):
            ranks.gather(tensor)
        for state in (rule.v, rule.step):
            if state is not None:
                ranks.gather(state, axis=1)
        self._publish()

    def write_back(self) -> None:
        """The optimizer as its own steps would have left it; graphs of the old parameters learn of the change."""
        rule = self.problem.rule
        if self._own_step is None or not torch.equal(rule.step, self._own_step):
            self.optimizer_state = hand_back(rule, self._optimizer, self._trained, self._overrides)
        for parameter in self._trained:
            torch.autograd.graph.increment_version(parameter)

    def adopt(self, state: Mapping[str, Any]) -> None:
        """A Trajectory's optimizer_state in place of the optimizer's own. Raises ValueError (of another fit)."""
        adopt_state(self.problem.rule, state)
        self._own_step = None

    @property
    def lr(self) -> Tensor:
        """[T] float64, on the CPU."""
        return self.problem.rule.hyper_of("lr")[0].cpu()

    def settings(self, digest: Digest) -> dict[str, Any]:
        """What must be equal for a run to be continued."""
        rule = self.problem.rule
        hyper = {name: rule.hyper_of(name) for name in HYPERS}
        options = {f"optimizer {name}": getattr(rule, name) for name in ("nesterov", "maximize", "decoupled")}
        options["optimizer groups"], options["optimizer moments"] = rule.group, [len(each) for each in rule.moments]
        return {
            "steps taken": "natively", "optimizer kind": type(self._optimizer).__name__, **options,
            "frozen factors": digest(list(self.problem.frozen.values())),
            "tied factors": list(self.problem.tied.items()),
            **{name: (v[0] if len(v) == 1 else v).tolist() for name, v in hyper.items()}, **self._overrides.settings(),
        }  # fmt: skip

    def state(self) -> dict[str, Any]:
        return {"factors": self.problem.factors, **state_of(self.problem.rule)}

    def load(self, state: dict[str, Any]) -> None:
        for factor, saved in zip(self.problem.factors, state["factors"]):
            factor.copy_(saved)
        load_state(self.problem.rule, state)
        self._own_step = None
        self._publish()


class OrdinarySteps:
    """loss.backward() and optimizer.step(), one step at a time; a trial that has stopped is put back after each."""

    optimizer_state = None  # the optimizer holds its own
    tier = "none: steps in a Python loop"

    def __init__(self, model: Product, objective: Objective, optimizer: Optimizer, overrides: Overrides) -> None:
        if isinstance(optimizer, optim.LBFGS):
            raise TypeError("optimizer: LBFGS evaluates its loss several times a step, which fit does not do")
        if model.trials is not None and not isinstance(optimizer, (*_ENTRYWISE, GroupRMSprop)):
            raise TypeError(
                f"optimizer: {type(optimizer).__name__} may couple trials; with trials use SGD, GroupRMSprop or one of"
                f" {', '.join(each.__name__ for each in _ENTRYWISE[1:])}"
            )
        self._model, self._objective, self._optimizer, self._overrides = model, objective, optimizer, overrides
        self._parameters = [p for p in model.parameters() if p.requires_grad]
        if not self._parameters:
            raise ValueError("the model has no factor that requires grad")

    def advance(self, steps: int, active: Tensor, watching: Watching) -> tuple[Tensor, Tensor]:
        active = active.clone()
        watching.prepare(steps, active.device)
        watch = Watch(watching, steps, self._product)
        losses = torch.full(active.shape, torch.nan, dtype=self._parameters[0].dtype, device=active.device)
        done = torch.zeros_like(active, dtype=torch.int64)
        with self._borrowed():
            for step in range(watching.first, watching.first + steps):
                if not active.any():
                    break
                now, gradients = self._gradients(step)
                losses = torch.where(active, now, losses)
                active = watch.look(step, losses, active)
                finite = [torch.isfinite(g).unsqueeze(-1).flatten(1).all(1) for g in gradients]
                broken = active & ~(torch.isfinite(now) & torch.stack(finite).all(0))
                watch.leave(step, losses, broken)
                active = active & ~broken
                if active.any():
                    self._step(clipped(gradients, *self._clips(active.device)), active)
                done += active
            if watching.look_back and active.any():
                losses = torch.where(active, self._gradients(watching.first + steps)[0], losses)
                watch.look(watching.first + steps, losses, active)
        return losses, done

    @contextmanager
    def _borrowed(self) -> Iterator[None]:
        """`.grad` and the numbers given in place of the optimizer's own are its only inside; all others stand still."""
        groups, options = self._optimizer.param_groups, self._overrides.options()
        held = [parameter for group in groups for parameter in group["params"]]
        kept, own = [p.grad for p in held], [{name: group[name] for name in options} for group in groups]
        try:
            for parameter in held:
                parameter.grad = None
            for group in groups:
                group.update(options)
            yield
        finally:
            for group, before in zip(groups, own):
                group.update(before)
            for parameter, gradient in zip(held, kept):
                parameter.grad = gradient

    def _clips(self, device: torch.device) -> tuple[Tensor | None, Tensor | None]:
        clip, value = self._overrides.clip, self._overrides.clip_value
        return None if clip is None else clip.to(device), None if value is None else value.to(device)

    def _gradients(self, step: int) -> tuple[Tensor, list[Tensor]]:
        """Losses [T] and gradients [T, ...] at this step."""
        with torch.enable_grad():
            losses, descended = (each.reshape(-1) for each in self._objective.step_losses(self._model, step))
            gradients = torch.autograd.grad(self._own_part(losses, descended).sum(), self._parameters)
        lead = () if self._model.trials is not None else (1,)
        return losses.detach(), [g.reshape(*lead, *g.shape) for g in gradients]

    def _own_part(self, losses: Tensor, descended: Tensor) -> Tensor:
        """What this process adds to what is descended."""
        return descended

    def _product(self) -> Tensor:
        with torch.no_grad():
            product: Tensor = self._model()
            return product if self._model.trials is not None else product[None]

    def _step(self, gradients: Sequence[Tensor], active: Tensor) -> None:
        masks = [active.view(-1, *[1] * (g.dim() - 1)) for g in gradients]
        for parameter, gradient, mask in zip(self._parameters, gradients, masks):
            parameter.grad = torch.where(mask, gradient, torch.zeros_like(gradient)).view(parameter.shape)
        before = None if active.all() else [p.detach().clone() for p in self._parameters]
        self._optimizer.step()
        if before is not None:
            with torch.no_grad():
                for parameter, mask, old in zip(self._parameters, masks, before):
                    parameter.copy_(torch.where(mask, parameter, old))

    def gather(self, ranks: Ranks) -> None:
        pass  # every rank has taken every step

    def limit_memory(self, limit: int, watching: Watching) -> None:
        raise ValueError("memory_limit= needs native steps, but these are the optimizer's own")

    def adopt(self, state: Mapping[str, Any]) -> None:
        raise ValueError("optimizer_state= needs native steps, which this fit has not")

    def write_back(self) -> None:
        pass  # the optimizer has taken every step itself

    @property
    def lr(self) -> Tensor:
        own = self._optimizer.param_groups[0]["lr"]
        lrs = torch.as_tensor(self._overrides.options().get("lr", own), dtype=torch.float64, device="cpu")
        return lrs.detach().reshape(-1).expand(self._model.trials or 1).clone().cpu()

    def settings(self, digest: Digest) -> dict[str, Any]:
        groups = [
            {k: v for k, v in {**g, **self._overrides.options()}.items() if k != "params"}
            for g in self._optimizer.param_groups
        ]
        kind = type(self._optimizer).__name__
        return {
            "steps taken": "in a Python loop",
            "optimizer kind": kind,
            "optimizer options": repr(groups),
            **self._overrides.settings(),
        }

    def state(self) -> dict[str, Any]:
        optimizer = self._optimizer.state_dict()
        return {"factors": [f.detach() for f in self._model.factors], "optimizer": optimizer}

    def load(self, state: dict[str, Any]) -> None:
        with torch.no_grad():
            for factor, saved in zip(self._model.factors, state["factors"]):
                factor.copy_(saved)
        saved = state["optimizer"]
        self._optimizer.load_state_dict(saved)
        for group, numbers in zip(self._optimizer.param_groups, saved["param_groups"]):
            for parameter, number in zip(group["params"], numbers["params"]):
                mine = self._optimizer.state[parameter]
                for name, value in saved["state"].get(number, {}).items():
                    if isinstance(value, Tensor):  # torch has cast it to the parameter's dtype
                        mine[name] = value.to(mine[name].device, copy=True)


class SharedSteps(OrdinarySteps):
    """Ordinary steps along the gradient of all ranks' observations: each rank's own, weighed and summed.

    Penalties are of the product, which all ranks have: each adds an equal part of them.
    """

    def __init__(
        self, model: Product, objective: Objective, optimizer: Optimizer, overrides: Overrides, ranks: Ranks
    ) -> None:
        super().__init__(model, objective, optimizer, overrides)
        self._ranks, self._share = ranks, observations_share(ranks, objective.data, objective.loss, model.trials or 1)

    def _gradients(self, step: int) -> tuple[Tensor, list[Tensor]]:
        losses, gradients = super()._gradients(step)
        losses, *gradients = self._ranks.add([self._share.to(losses) * losses, *gradients])
        return losses, gradients

    def _own_part(self, losses: Tensor, descended: Tensor) -> Tensor:
        return self._share.to(losses) * losses + (descended - losses) / self._ranks.count
