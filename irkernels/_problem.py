"""What an engine of `fit` is given: factors, data, loss and the update rule, as plain data.

An engine is a function fit_steps(problem, steps) -> (losses [T], done [T]); there is one in plain torch
(reference/fit.py) and one in native code. T is the number of trials, 1 for a model without trials.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from irkernels._watching import Watching
from irkernels.grammar import fresh_letters
from irkernels.observed import Observed

HYPERS = ("lr", "momentum", "dampening", "weight_decay", "beta1", "beta2", "alpha", "eps")


@dataclass
class Rule:
    """One optimizer's hyper-parameters and state, for G parameter groups; the state is updated in place.

    moments: one list for each factor, tensors like it.  sgd: the momentum buffer, or nothing where momentum is zero in
    all trials.  adam: exp_avg, exp_avg_sq and, with amsgrad, max_exp_avg_sq.  group_rmsprop: nothing.
    """

    kind: str  # "sgd" (torch.optim.SGD), "adam" (Adam, AdamW) or "group_rmsprop" (Arora et al. 2019)
    hyper: Tensor  # float64 [G, HYPERS, T]; a rule reads its own and no others
    group: list[int]  # of each factor
    step: Tensor  # int64 [G, T], updates that have made the state: 0 begins it
    moments: list[list[Tensor]]
    v: Tensor | None = None  # float64 [G, T], group_rmsprop: running mean of the squared gradient norm
    nesterov: bool = False
    maximize: bool = False
    decoupled: bool = False  # adam: weight decay past the moments
    clip: Tensor | None = None  # float64 [T], largest norm of all gradients of a trial
    clip_value: Tensor | None = None  # float64 [T], largest magnitude of a gradient's entry

    def hyper_of(self, name: str) -> Tensor:
        """[G, T]"""
        return self.hyper[:, HYPERS.index(name)]


@dataclass
class Problem:
    """A model, its data and its rule; factors are updated in place.

    Operands come from constants, frozen and tied where these name their position, from the next factor elsewhere.
    """

    equation: str  # without `...`
    factors: list[Tensor]  # those that move, in operand order, each [T, ...] contiguous
    data: Observed | Tensor  # Tensor: dense target, of the output's shape or [T, output]; measurements have become one
    rule: Rule
    active: Tensor  # bool [T], trials that take part; an engine reads it only
    loss: str = "mse"
    delta: float = 1.0
    constants: dict[int, Tensor] = field(default_factory=dict)  # operand position -> tensor without a trial axis
    frozen: dict[int, Tensor] = field(default_factory=dict)  # operand position -> [T, ...] that does not move
    tied: dict[int, int] = field(default_factory=dict)  # operand position -> the factor that stands there once more
    rows: tuple[int, ...] = ()  # constants that have, as the target has, one row for each measurement
    batch_size: int | None = None  # observations or measurements that each step sees; None: all of them
    sampler_seed: int = 0
    product: str = ""  # the equation of W alone, whose operands come first; default: `equation`
    ridge: Tensor | None = None  # [T] float64: ridge ||W||_F^2 is added to what a trial descends
    penalty: Callable[[Tensor], Tensor] | None = None  # W -> one number, or [T], which is added too
    single: bool = False  # a model without trials: its penalty sees W without their axis
    memory_limit: int | None = None  # bytes that an engine may take as workspace
    kept: dict[str, Any] = field(default_factory=dict)  # what an engine keeps from call to call
    tier: str | None = None  # "lanes", "core" or "grid" of the native engine; None: as it finds best
    served: str | None = None  # the tier that took the steps, and why
    # which steps, what to note of them, and when to stop a trial; default: nothing
    watching: Watching = None  # type: ignore[assignment]  # made below

    def __post_init__(self) -> None:
        self.product = self.product or self.equation
        self.watching = self.watching or Watching(self.trials)

    @property
    def trials(self) -> int:
        return self.active.shape[0]

    @property
    def operands(self) -> list[Tensor]:
        """Factors and constants in operand order."""
        return self.operands_with(self.factors)

    def operands_with(self, factors: list[Tensor]) -> list[Tensor]:
        """The operands with other tensors for the factors."""
        kept = {**self.constants, **self.frozen, **{position: factors[index] for position, index in self.tied.items()}}
        own = iter(factors)
        return [kept[position] if position in kept else next(own) for position in range(len(kept) + len(factors))]

    @property
    def places(self) -> list[tuple[int, ...]]:
        """The operand positions of each factor."""
        elsewhere = {*self.constants, *self.frozen, *self.tied}
        own = [p for p in range(len(elsewhere) + len(self.factors)) if p not in elsewhere]
        return [(first, *(p for p, i in self.tied.items() if i == index)) for index, first in enumerate(own)]

    @property
    def trial_equation(self) -> str:
        """The equation with the trial axis as `...` in every factor and in the output."""
        return with_trials(self.equation, self.constants)

    @property
    def trial_product(self) -> str:
        """The equation of W alone in the same form."""
        return with_trials(self.product, self.constants)

    @property
    def ridge_equation(self) -> str:
        """||W||^2 = <W, W'>, over W's operands twice: `ij,jk->ik` gives `ij,jk,il,lk->`."""
        terms, output = self.product.split("->")
        inner = sorted(set(terms) - {","} - set(output))
        renamed = str.maketrans(dict(zip(inner, fresh_letters(self.product, len(inner)))))
        return f"{terms},{terms.translate(renamed)}->"


def with_trials(equation: str, constants: Container[int] = ()) -> str:
    """`ij,jk->ik` -> `...ij,...jk->...ik`; operands at the positions in `constants` have no trial axis."""
    terms, output = equation.split("->")
    spread = (term if p in constants else f"...{term}" for p, term in enumerate(terms.split(",")))
    return f"{','.join(spread)}->...{output}"
