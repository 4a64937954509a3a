"""What `fit` is given beside the optimizer: hyper-parameters for each trial in place of its own, and clipping."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.optim import SGD, Adam, AdamW, Optimizer

from irkernels._arguments import per_trial
from irkernels.optim import GroupRMSprop

# what each optimizer reads of them; betas is beta1 and beta2
NAMES: dict[type[Optimizer], tuple[str, ...]] = {
    SGD: ("momentum", "dampening", "weight_decay"),
    Adam: ("betas", "eps", "weight_decay"),
    AdamW: ("betas", "eps", "weight_decay"),
    GroupRMSprop: ("alpha", "eps"),
}
_BELOW_ONE = ("beta1", "beta2", "alpha")


@dataclass
class Overrides:
    """hyper: names of `_problem.HYPERS` -> float64 [T].  clip, clip_value: float64 [T], or None."""

    hyper: dict[str, Tensor] = field(default_factory=dict)
    clip: Tensor | None = None
    clip_value: Tensor | None = None

    def options(self) -> dict[str, Any]:
        """The hyper-parameters as a torch parameter group names them, for trials that have them in common."""
        common: dict[str, Any] = {name: values[0].item() for name, values in self.hyper.items()}
        if "beta1" in common:
            common["betas"] = (common.pop("beta1"), common.pop("beta2"))
        return common

    def settings(self) -> dict[str, Any]:
        listed = {"clip": self.clip, "clip_value": self.clip_value}
        return {name: None if value is None else value.tolist() for name, value in listed.items()}


def read_overrides(
    optimizer: Optimizer, trials: int | None, lr: Any, hyper: Any, clip: Any, clip_value: Any
) -> Overrides:
    """The arguments of `fit`, checked. Raises TypeError and ValueError naming the argument."""
    read: dict[str, Tensor] = {} if lr is None else {"lr": per_trial("lr", lr, trials)}
    for name, value in _mapping(optimizer, hyper).items():
        if name == "betas":
            read["beta1"], read["beta2"] = _betas(value, trials)
        else:
            read[name] = per_trial(f"hyper: {name}", value, trials)
    for name, values in read.items():
        if name in _BELOW_ONE and (values >= 1).any():
            raise ValueError(f"hyper: {name} must be in [0, 1), got {values.max().item()}")
    given = {"clip": clip, "clip_value": clip_value}
    return Overrides(read, **{n: None if v is None else per_trial(n, v, trials) for n, v in given.items()})


def _mapping(optimizer: Optimizer, hyper: Any) -> Mapping[str, Any]:
    if hyper is None:
        return {}
    if not isinstance(hyper, Mapping):
        raise TypeError(f"hyper must be {{name: values}}, got {type(hyper).__name__}")
    names = NAMES.get(type(optimizer), ())
    for name in hyper:
        if name == "lr":
            raise ValueError("hyper: lr is an argument of its own, lr=")
        if name not in names:
            known = f"known are {', '.join(names)}" if names else "it has no native steps"
            raise ValueError(f"hyper: {type(optimizer).__name__} does not read {name!r}; {known}")
    return hyper


def _betas(value: Any, trials: int | None) -> tuple[Tensor, Tensor]:
    """A pair, or [trials, 2]."""
    try:
        given = torch.as_tensor(value, dtype=torch.float64, device="cpu").detach()
    except (TypeError, ValueError) as error:
        raise TypeError(f"hyper: betas must be a pair of numbers or one for each trial, got {value!r}") from error
    if given.dim() not in (1, 2) or given.shape[-1] != 2:
        raise ValueError(f"hyper: betas must be [2] or [trials, 2], got {list(given.shape)}")
    first, second = given.unbind(-1)
    return per_trial("hyper: betas", first, trials), per_trial("hyper: betas", second, trials)
