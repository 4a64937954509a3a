"""All combinations of an experiment's parameters: a fit for each product shape, the others its trials."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import torch
from torch import Tensor

Swept = float | str | tuple[float, ...] | tuple[str, ...]  # one value of a parameter, or several
TRIAL = "trial"  # counts the repeats of one combination


@dataclass(frozen=True)
class Settings:
    """What each trial of a fit is: a mapping from parameter to value, and its `trial`, the number of the repeat."""

    each: Sequence[Mapping[str, Any]]

    def __len__(self) -> int:
        return len(self.each)

    def column(self, name: str) -> Tensor:
        """One parameter of all trials: float64 [trials]."""
        return torch.tensor([float(setting[name]) for setting in self.each], dtype=torch.float64)

    def where(self, **wanted: Any) -> Tensor:
        """Which trials have these values: bool [trials]."""
        return torch.tensor(
            [all(setting[name] == value for name, value in wanted.items()) for setting in self.each], dtype=torch.bool
        )

    def values(self, name: str) -> list[Any]:
        """The values that a parameter takes, in their order."""
        return list(dict.fromkeys(setting[name] for setting in self.each))

    def combinations(self) -> list[dict[str, Any]]:
        """Each combination once, without the number of the repeat."""
        found = [{name: value for name, value in setting.items() if name != TRIAL} for setting in self.each]
        return [one for n, one in enumerate(found) if one not in found[:n]]


def trials_of(trials: int, **parameters: Any) -> Settings:
    """All combinations of the parameters' values (a tuple or list each, or one value), `trials` repeats of each."""
    lists = [listed(values) for values in parameters.values()]
    return Settings(
        [
            {**dict(zip(parameters, values, strict=True)), TRIAL: trial}
            for values in product(*lists)
            for trial in range(trials)
        ]
    )


def listed(values: Any) -> tuple[Any, ...]:
    """A tuple of values; one value is a tuple of itself."""
    return tuple(values) if isinstance(values, (tuple, list)) else (values,)
