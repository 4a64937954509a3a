"""Velocities of a Hadamard chain beta = w_1 o .. o w_L, a diagonal network (Vardi 2023; Matveev et al. 2026)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from irkernels._arguments import integer, real
from irkernels.dynamics.pairs import alike
from irkernels.dynamics.widths import checked_factors, widened
from irkernels.functional import gradients


def hadamard_velocity(factors: Sequence[Tensor], gradient: Tensor) -> Tensor:
    """dbeta_i/dt = -g_i sum_l prod_{m != l} w_{m,i}^2, for any factors: [..., n].

    The form -g_i beta_i^2 sum_l w_{l,i}^{-2} without its divisions: zero factors are exact.  factors: L tensors
    [..., n]; gradient: g = dL/dbeta [..., n] of their dtype; float16 and bfloat16 are computed in float32, the result's
    dtype then.  Differentiable.  Raises what irk.gradients raises.
    """
    factors, gradient = checked_factors("hadamard_velocity", factors), widened(real("gradient", gradient))
    if not factors:
        raise ValueError("hadamard_velocity needs at least one factor")
    equation = ",".join(["...i"] * len(factors)) + "->...i"
    others = gradients(equation, *factors, cotangent=torch.ones_like(gradient))
    return -gradient * sum(other.square() for other in others)


def balanced_hadamard_velocity(beta: Tensor, gradient: Tensor, depth: int) -> Tensor:
    """dbeta/dt = -L |beta|^{2-2/L} g where all factors have one absolute value |beta|^{1/L}: shaped as beta.

    beta, gradient: [..., n] of one dtype.  depth: L >= 1, which is -g for 1.  For beta = w o w of one vector, tied, the
    loss's gradient counts twice: pass 2 g and depth 2.  Raises TypeError and ValueError as balanced_velocity does.
    """
    alike("balanced_hadamard_velocity", beta, gradient, "beta")
    beta, gradient = widened(beta), widened(gradient)
    depth = integer("depth", depth, 1)
    return -depth * beta.abs().pow(2 - 2 / depth) * gradient
