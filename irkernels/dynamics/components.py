"""How components of CP and deep CP grow under gradient flow on their factors: exact, for any factors.

W = sum_r v_r^1 x ... x v_r^N, with v_r^n = F_n[:, r], or a chain: v_r^n = P_r^{n,1} ... P_r^{n,k} w_r^n.  With
sigma_r = prod_n ||v_r^n|| and gamma_r = <-G, c_r / sigma_r>, c_r the component, plain factors obey

    dsigma_r/dt = gamma_r sigma_r^2 sum_n ||F_n[:, r]||^{-2}

Razin, Maman, Cohen, Implicit Regularization in Tensor Factorization (2021).  Deep components are those of Hariz et al.
(2022); their velocity here is the chain rule's.  laws.py has the balanced forms.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from irkernels.dynamics.chain import end_to_end_velocity
from irkernels.dynamics.equations import column_chains_equation, cp_equation
from irkernels.dynamics.norms import column_norms, column_norms_velocity, over
from irkernels.dynamics.widths import widened, widened_gradient
from irkernels.functional import chain_equation, einsum, gradients

Part = Tensor | Sequence[Tensor]
_CHAINS: dict[str, Callable[[int], str]] = {
    "column": column_chains_equation,
    "factor": lambda count: chain_equation(count, False, False),
}


def component_velocity(factors: Sequence[Part], gradient: Any, chains: str = "column") -> Tensor:
    """dsigma_r/dt [..., R], sigma_r = ||c_r||; 0 for a component with two zero vectors or more.

    factors: for each mode F_n [..., d_n, R], or the operands of a chain that stands for it, as irk.nn.CP orders them:
    chains="column" [..., R, d, h], [..., R, h, h], .., [..., h, R], one chain a component; chains="factor" matrices
    in matmul order.  One dtype; float16 and bfloat16 are computed in float32, which is then the result's dtype.
    gradient: G = dL/dW [..., d_1, .., d_N], an Observed, or a pair (at, values).
    Differentiable.  Raises ValueError (chains, no factor) and what irk.gradients raises.
    """
    vectors, slopes, equations = _pulled_back(factors, gradient, chains)
    velocities = [
        -slope if isinstance(part, Tensor) or equation is None else end_to_end_velocity(part, slope, equation)
        for part, slope, equation in zip(factors, slopes, equations)
    ]
    return column_norms_velocity(vectors, velocities)


def vector_norm_velocity(factors: Sequence[Part], gradient: Any, chains: str = "column") -> Tensor:
    """drho_r/dt [..., R], rho_r = prod_n ||w_r^n||, the columns of each chain's last operand alone.

    component_velocity where no factor is a chain.  Arguments and errors as there.
    """
    _, slopes, equations = _pulled_back(factors, gradient, chains)
    factors = widened(list(factors))
    last = [part if isinstance(part, Tensor) else part[-1] for part in factors]
    pulled = [
        slope if equation is None else gradients(equation, *part, cotangent=slope)[-1]
        for part, slope, equation in zip(factors, slopes, equations)
    ]
    return column_norms_velocity(last, [-slope for slope in pulled])


def component_alignment(factors: Sequence[Part], gradient: Any, chains: str = "column") -> Tensor:
    """gamma_r = <-G, c_r / ||c_r||> [..., R], 0 for a zero component: what the balanced laws take, of deep CP too.

    Arguments and errors as of component_velocity.
    """
    vectors, slopes, _ = _pulled_back(factors, gradient, chains)
    return over(-(vectors[0] * slopes[0]).sum(-2), column_norms(vectors))


def product_of(part: Part, chains: str) -> tuple[Tensor, str | None]:
    """The matrix [..., d, R] that a part stands for, and the equation of its chain (None: it is a tensor).

    Raises ValueError for other chains than "column" and "factor", or one of no operand.
    """
    if isinstance(part, Tensor):
        return part, None
    if chains not in _CHAINS:
        raise ValueError(f"unknown chains {chains!r}; known are {', '.join(_CHAINS)}")
    if not isinstance(part, Sequence) or not part:
        raise ValueError("a chain needs a sequence of at least one operand")
    equation = _CHAINS[chains](len(part))
    return einsum(equation, *part), equation


def _pulled_back(
    factors: Sequence[Part], gradient: Any, chains: str
) -> tuple[list[Tensor], list[Tensor], list[str | None]]:
    """The matrices of all parts, the gradients in them, and the equations of chains."""
    if not isinstance(factors, Sequence) or not factors:
        raise ValueError("components need a sequence of at least one factor")
    products = [product_of(part, chains) for part in widened(list(factors))]
    vectors, equations = [product for product, _ in products], [equation for _, equation in products]
    slopes = gradients(cp_equation(len(vectors)), *vectors, cotangent=widened_gradient(gradient))
    return vectors, list(slopes), equations
