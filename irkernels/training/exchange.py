"""A rule's state out of a torch optimizer and back into it, so that native steps and its own interchange.

A torch optimizer has one step count and one set of hyper-parameters for all trials.  Where the trials' differ, it stays
as it was, the state of each trial goes into the Trajectory, and the optimizer's next step is an error that says so.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.optim import Optimizer

from irkernels._problem import Rule
from irkernels.optim import GroupRMSprop
from irkernels.training.overrides import Overrides

_NAMES = {"sgd": ("momentum_buffer",), "adam": ("exp_avg", "exp_avg_sq", "max_exp_avg_sq"), "group_rmsprop": ()}


class Withheld:
    """A step hook: the optimizer did not get the state of the last fit, so a step of its own would be a wrong one."""

    def __init__(self, why: str) -> None:
        self.why = why
        self.handle: Any = None

    def __call__(self, optimizer: Optimizer, *_: Any) -> None:
        raise ValueError(
            f"the optimizer has not got the state of the last fit, for {self.why}, and {type(optimizer).__name__} keeps"
            " one state for all trials; go on with irk.fit(..., optimizer_state=run.optimizer_state), run being that"
            " fit's Trajectory, or with a new optimizer"
        )


def withheld(optimizer: Optimizer) -> Withheld | None:
    """The mark that an earlier fit has left, if it could not hand back its state."""
    hooks = (getattr(optimizer, "_optimizer_step_pre_hooks", None) or {}).values()
    return next((hook for hook in hooks if isinstance(hook, Withheld)), None)


def steps_made(kind: str, optimizer: Optimizer, factor: Tensor) -> int:
    """Updates in the optimizer's state of this factor; sgd does not count, so 1 is any number."""
    state = optimizer.state.get(factor, {})
    if kind == "sgd":
        return int(state.get("momentum_buffer") is not None)
    return int(state.get("step", 0)) if kind == "adam" else 0


def kept_moments(
    optimizer: Optimizer, position: int, factor: Tensor, names: list[str], trials: int | None
) -> list[Tensor]:
    """Copies [T, ...] of the state tensors of these names, in the factor's dtype; zeros where there are none.

    Raises ValueError where the state is of a factor of another shape; position: of the factor, among those trained.
    """
    lead = () if trials is not None else (1,)
    state, found = optimizer.state.get(factor, {}), []
    for name in names:
        kept = factor.new_zeros(factor.shape) if state.get(name) is None else state[name].detach()
        if kept.shape != factor.shape:
            raise ValueError(
                f"the optimizer's {name} of trained factor {position} has shape {list(kept.shape)}, the factor has"
                f" {list(factor.shape)} (they must be equal: the state is of another model)"
            )
        kept = kept.to(factor).clone(memory_format=torch.contiguous_format)
        found.append(kept.reshape(*lead, *factor.shape))
    return found


def why_per_trial(rule: Rule, overrides: Overrides) -> str | None:
    """What a torch optimizer cannot hold of this state, or None."""
    if rule.kind == "sgd" and not any(rule.moments):
        return None
    for name, values in overrides.hyper.items():
        if (values != values[0]).any():
            return f"its trials had their own {name}"
    made = rule.step.clamp(max=1) if rule.kind == "sgd" else rule.step  # momentum buffers have no step count
    if rule.kind != "group_rmsprop" and (made != made[:, :1]).any():
        return f"its trials made {rule.step.min()} to {rule.step.max()} updates"
    return None


def hand_back(
    rule: Rule, optimizer: Optimizer, trained: list[Parameter], overrides: Overrides
) -> dict[str, Any] | None:
    """The rule's state into the optimizer, as its own steps would have left it; returned instead where it cannot be."""
    mark, why = withheld(optimizer), why_per_trial(rule, overrides)
    if mark is not None:
        mark.handle.remove()
    if why is not None:
        mark = Withheld(why)
        mark.handle = optimizer.register_step_pre_hook(mark)
        return {"kind": rule.kind, "group": rule.group, **state_of(rule)}
    owner = {id(p): group for group in optimizer.param_groups for p in group["params"]}
    for factor, group, moments in zip(trained, rule.group, rule.moments):
        options = owner[id(factor)]
        if isinstance(optimizer, GroupRMSprop) and rule.v is not None:
            state = optimizer.group_state(options)
            state["v"].copy_(rule.v[group].reshape(state["v"].shape))
            state["step"].copy_(rule.step[group].reshape(state["step"].shape))
        elif moments and rule.step[group, 0] > 0:
            _write(optimizer.state[factor], options, factor, _NAMES[rule.kind], moments)
            if rule.kind == "adam":
                optimizer.state[factor]["step"].fill_(rule.step[group, 0].item())
    return None


def _write(
    state: dict[str, Any], options: dict[str, Any], factor: Tensor, names: tuple[str, ...], moments: list[Tensor]
) -> None:
    if "betas" in options and "step" not in state:
        # torch's own choice: float32 unless the default is wider, beside the parameter only if fused or capturable
        beside = bool(options.get("fused") or options.get("capturable"))
        wide = torch.get_default_dtype() == torch.float64 and not options.get("fused")
        dtype, device = torch.float64 if wide else torch.float32, factor.device if beside else "cpu"
        state["step"] = torch.zeros((), dtype=dtype, device=device)
    for name, moment in zip(names, moments):
        if state.get(name) is None or state[name].dtype != factor.dtype:
            state[name] = torch.empty_like(factor, memory_format=torch.preserve_format, requires_grad=False)
        state[name].copy_(moment.reshape(factor.shape))


def state_of(rule: Rule) -> dict[str, Any]:
    """What changes from step to step, beside the factors."""
    return {"moments": rule.moments, "v": rule.v, "step": rule.step}


def load_state(rule: Rule, state: dict[str, Any]) -> None:
    """A state_of() into a rule of the same shapes."""
    for kept, saved in zip(rule.moments, state["moments"], strict=True):
        for mine, moment in zip(kept, saved, strict=True):
            mine.copy_(moment)
    rule.step.copy_(state["step"])
    if rule.v is not None:
        rule.v.copy_(state["v"])


def adopt_state(rule: Rule, state: Any) -> None:
    """The state that an earlier fit could not hand back. Raises TypeError and ValueError (of another model or rule)."""
    if not isinstance(state, dict) or not {"kind", "group", "moments", "v", "step"} <= set(state):
        raise TypeError("optimizer_state must be the optimizer_state of a Trajectory that has one")
    mine, given = (
        [r["kind"], r["group"], _shapes(r)] for r in ({"kind": rule.kind, "group": rule.group, **state_of(rule)}, state)
    )
    if mine != given:
        raise ValueError(f"optimizer_state is of another fit: it has {given}, but this one {mine}")
    load_state(rule, state)


def _shapes(state: dict[str, Any]) -> list[Any]:
    return [list(state["step"].shape), [[list(moment.shape) for moment in each] for each in state["moments"]]]
