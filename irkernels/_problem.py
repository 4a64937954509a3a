"""What an engine of `fit` is given: factors, data, loss and the update rule, as plain data.

An engine is a function fit_steps(problem, steps) -> (losses [T], done [T]); there is one in plain torch
(reference/fit.py) and one in native code. T is the number of trials, 1 for a model without trials.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from irkernels._watching import Watching
from irkernels.observed import Observed


@dataclass
class Rule:
    """One optimizer's hyper-parameters and state; the state is updated in place or replaced by the engine."""

    kind: str  # "sgd" (torch.optim.SGD) or "group_rmsprop" (Arora et al. 2019)
    lr: Tensor  # [T] float64
    step: Tensor  # [T] int64, updates made so far
    momentum: float = 0.0
    dampening: float = 0.0
    weight_decay: float = 0.0
    nesterov: bool = False
    maximize: bool = False
    momentum_buffers: list[Tensor] | None = None  # like the factors; None: the first update copies the gradient
    alpha: float = 0.99
    eps: float = 1e-6
    v: Tensor | None = None  # [T] float64, running mean of the squared gradient norm


@dataclass
class Problem:
    """A model, its data and its rule; factors are updated in place."""

    equation: str  # without `...`
    factors: list[Tensor]  # operand order, each [T, ...] contiguous
    data: Observed | Tensor  # Tensor: dense target, of the output's shape or [T, output]
    rule: Rule
    active: Tensor  # bool [T], trials that take part; an engine reads it only
    loss: str = "mse"
    delta: float = 1.0
    constants: dict[int, Tensor] = field(default_factory=dict)  # operand position -> tensor without a trial axis
    watching: Watching | None = None  # what to note of the steps, and when to stop a trial; default: nothing

    def __post_init__(self) -> None:
        self.watching = self.watching or Watching(self.trials)

    @property
    def trials(self) -> int:
        return self.active.shape[0]

    @property
    def operands(self) -> list[Tensor]:
        """Factors and constants in operand order."""
        factors = iter(self.factors)
        count = len(self.factors) + len(self.constants)
        return [self.constants[p] if p in self.constants else next(factors) for p in range(count)]

    @property
    def trial_equation(self) -> str:
        """The equation with the trial axis as `...` in every factor and in the output."""
        return with_trials(self.equation, self.constants)


def with_trials(equation: str, constants: object = ()) -> str:
    """`ij,jk->ik` -> `...ij,...jk->...ik`; operands at the positions in `constants` have no trial axis."""
    terms, output = equation.split("->")
    spread = (term if p in constants else f"...{term}" for p, term in enumerate(terms.split(",")))
    return f"{','.join(spread)}->...{output}"
