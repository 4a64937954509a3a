"""torch optimizers as plain rules, and back: read before a native fit, written after it, so that steps interchange."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.optim import SGD, Optimizer

from irkernels._problem import Rule
from irkernels.nn.product import Product
from irkernels.optim import GroupRMSprop

_SGD_OPTIONS = ("momentum", "dampening", "weight_decay", "nesterov", "maximize")


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
    factors = list(model.factors)
    if type(optimizer) not in (SGD, GroupRMSprop):
        return f"{type(optimizer).__name__} has no native steps yet (torch.optim.SGD and irk.optim.GroupRMSprop have)"
    if not all(factor.requires_grad for factor in factors):
        return "some factors do not require grad"
    if len({id(factor) for factor in factors}) < len(factors):
        return "some factors are tied"
    if getattr(optimizer, "_optimizer_step_pre_hooks", None) or getattr(optimizer, "_optimizer_step_post_hooks", None):
        return "the optimizer has step hooks"
    if type(optimizer) is GroupRMSprop:
        return "GroupRMSprop has several parameter groups" if len(optimizer.param_groups) > 1 else None
    options = [[group["lr"], *(group[name] for name in _SGD_OPTIONS)] for group in optimizer.param_groups]
    if any(each != options[0] for each in options):
        return "the optimizer's parameter groups differ"
    begun = [optimizer.state[f].get("momentum_buffer") is not None for f in factors if f in optimizer.state]
    if any(begun) and not (all(begun) and len(begun) == len(factors)):
        return "momentum has begun for some factors only"
    return None


def read_rule(optimizer: SGD | GroupRMSprop, model: Product, lr: Tensor | None) -> Rule:
    """The rule that the optimizer would apply from here on; lr: [T] float64 in place of its own."""
    group = optimizer.param_groups[0]
    device = model.factors[0].device
    trials = model.trials or 1
    if lr is None:
        lr = torch.as_tensor(group["lr"], dtype=torch.float64).detach().reshape(-1).expand(trials).clone()
    lr = lr.to(device)
    step = torch.zeros(trials, dtype=torch.int64, device=device)
    if isinstance(optimizer, GroupRMSprop):
        state = optimizer.group_state(group)
        v, step = state["v"].reshape(trials).clone(), state["step"].reshape(trials).clone()
        return Rule("group_rmsprop", lr, step, alpha=group["alpha"], eps=group["eps"], v=v)
    options = {name: group[name] for name in _SGD_OPTIONS}
    return Rule("sgd", lr, step, momentum_buffers=_momentum_buffers(optimizer, model), **options)


def write_rule(rule: Rule, optimizer: SGD | GroupRMSprop, model: Product) -> None:
    """The rule's state into the optimizer, as its own steps would have left it."""
    if isinstance(optimizer, GroupRMSprop):
        state = optimizer.group_state(optimizer.param_groups[0])
        state["v"].copy_(rule.v.reshape(state["v"].shape))
        state["step"].copy_(rule.step.reshape(state["step"].shape))
    elif rule.momentum != 0 and rule.momentum_buffers is not None:
        for factor, buffer in zip(model.factors, rule.momentum_buffers):
            kept = optimizer.state[factor].get("momentum_buffer")
            if kept is None:
                optimizer.state[factor]["momentum_buffer"] = buffer.reshape(factor.shape).clone()
            else:
                kept.copy_(buffer.reshape(factor.shape))


def _momentum_buffers(optimizer: SGD, model: Product) -> list[Tensor] | None:
    kept = [optimizer.state[f].get("momentum_buffer") if f in optimizer.state else None for f in model.factors]
    if kept[0] is None:
        return None
    lead = () if model.trials is not None else (1,)
    return [b.detach().clone(memory_format=torch.contiguous_format).reshape(*lead, *b.shape) for b in kept]
