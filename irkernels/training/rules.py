"""torch optimizers as plain rules: what has native steps, and the rule that an optimizer would apply from here on."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.optim import SGD, Adam, AdamW, Optimizer

from irkernels._arguments import flag
from irkernels._problem import HYPERS, Rule
from irkernels.nn.product import Product
from irkernels.optim import GroupRMSprop
from irkernels.training.exchange import Withheld, kept_moments, steps_made
from irkernels.training.overrides import Overrides

KINDS: dict[type[Optimizer], str] = {SGD: "sgd", Adam: "adam", AdamW: "adam", GroupRMSprop: "group_rmsprop"}
_OF_ALL_GROUPS = ("nesterov", "maximize", "decoupled_weight_decay")  # options that a rule has once


def check_optimizer(optimizer: Any, model: Product) -> None:
    """Raises TypeError (not an optimizer) and ValueError (a trained factor it does not hold, another trial axis)."""
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"optimizer must be a torch.optim.Optimizer, got {type(optimizer).__name__}")
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    for position, factor in enumerate(model.factors):
        if factor.requires_grad and id(factor) not in held:
            raise ValueError(
                f"factor {position} of the model is not among the optimizer's parameters; build the optimizer from"
                " model.parameters(), or set requires_grad_(False) on what is not to move"
            )
    if isinstance(optimizer, GroupRMSprop):
        for group in optimizer.param_groups:
            if group["trials"] != model.trials:
                raise ValueError(f"the optimizer has trials={group['trials']}, but the model has trials={model.trials}")


def why_not_native(optimizer: Optimizer, model: Product) -> str | None:
    """What keeps a fit out of the native step loop, or None."""
    groups = optimizer.param_groups
    if type(optimizer) not in KINDS:
        native = "torch.optim.SGD, Adam, AdamW and irk.optim.GroupRMSprop have"
        return f"{type(optimizer).__name__} has no native steps ({native})"
    if not trained(model):
        return "no factor requires grad"
    hooks = [getattr(optimizer, f"_optimizer_step_{when}_hooks", None) or {} for when in ("pre", "post")]
    if any(not isinstance(hook, Withheld) for each in hooks for hook in each.values()):
        return "the optimizer has step hooks"
    if any(group.get("differentiable") for group in groups):
        return "the optimizer is differentiable"
    for name in _OF_ALL_GROUPS:
        if any(group.get(name) != groups[0].get(name) for group in groups):
            return f"the optimizer's parameter groups differ in {name}"
    return None

_FLAGS = ("nesterov", "maximize", "amsgrad", "decoupled_weight_decay")


def trained(model: Product) -> list[Parameter]:
    """The factors that move, each once, in operand order."""
    return list({id(factor): factor for factor in model.factors if factor.requires_grad}.values())


def standing(model: Product) -> tuple[dict[int, Tensor], dict[int, int]]:
    """Where the other operands come from: position -> frozen factor; position -> index into trained(), met before."""
    index = {id(p): number for number, p in enumerate(trained(model))}
    frozen: dict[int, Tensor] = {}
    tied: dict[int, int] = {}
    met: set[int] = set()
    for position, operand in enumerate(model.operands()):
        if id(operand) in met:
            tied[position] = index[id(operand)]
        elif id(operand) in index:
            met.add(id(operand))
        elif position not in model.constants:
            frozen[position] = operand
    return frozen, tied


def read_rule(optimizer: Optimizer, model: Product, overrides: Overrides) -> Rule:
    """The rule that the optimizer would apply from here on, with `overrides` in place of its own numbers."""
    kind, device, trials = KINDS[type(optimizer)], model.factors[0].device, model.trials or 1
    owner = {id(p): number for number, group in enumerate(optimizer.param_groups) for p in group["params"]}
    # a group of the rule is a parameter group and a number of steps already made, which may differ inside one
    keys = [(owner[id(factor)], steps_made(kind, optimizer, factor)) for factor in trained(model)]
    distinct = list(dict.fromkeys(keys))
    options = [optimizer.param_groups[number] for number, _ in distinct]
    for own in options:
        for name in _FLAGS:
            if own.get(name) is not None:
                flag(f"the optimizer's {name}", own[name])
    hyper = torch.stack([torch.stack([_numbers(each, n, overrides, trials) for n in HYPERS]) for each in options])
    rule = Rule(
        kind,
        hyper.to(device),
        [distinct.index(key) for key in keys],
        torch.tensor([made for _, made in distinct], dtype=torch.int64, device=device).unsqueeze(1).repeat(1, trials),
        [[] for _ in keys],
        nesterov=bool(options[0].get("nesterov", False)),
        maximize=bool(options[0].get("maximize", False)),
        decoupled=isinstance(optimizer, AdamW) or bool(options[0].get("decoupled_weight_decay", False)),
        clip=None if overrides.clip is None else overrides.clip.to(device),
        clip_value=None if overrides.clip_value is None else overrides.clip_value.to(device),
    )
    if isinstance(optimizer, GroupRMSprop):
        states = [optimizer.group_state(each) for each in options]
        for name in ("v", "step"):
            for group, state in enumerate(states):
                if state[name].numel() != trials:
                    raise ValueError(
                        f"the optimizer's {name} of parameter group {group} has shape {list(state[name].shape)}, but"
                        f" there are {trials} trials (one number each: the state is of another model)"
                    )
        rule.v = torch.stack([state["v"].to(device, torch.float64).reshape(trials) for state in states])
        rule.step = torch.stack([state["step"].to(device, torch.int64).reshape(trials) for state in states])
    momentum = (rule.hyper_of("momentum") != 0).any(1).tolist()
    for position, (factor, group) in enumerate(zip(trained(model), rule.group)):
        names = {"sgd": ["momentum_buffer"] * momentum[group], "adam": ["exp_avg", "exp_avg_sq"]}.get(kind, [])
        names += ["max_exp_avg_sq"] * bool(kind == "adam" and options[group].get("amsgrad"))
        rule.moments[position] = kept_moments(optimizer, position, factor, names, model.trials)
    return rule


def _numbers(group: dict[str, Any], name: str, overrides: Overrides, trials: int) -> Tensor:
    """A hyper-parameter of one parameter group, float64 [T]; 0 where the optimizer has none of that name."""
    if name in overrides.hyper:
        return overrides.hyper[name]
    own = (
        group["betas"]["12".index(name[4])] if name in ("beta1", "beta2") and "betas" in group else group.get(name, 0.0)
    )
    return torch.as_tensor(own, dtype=torch.float64, device="cpu").detach().reshape(-1).expand(trials)
