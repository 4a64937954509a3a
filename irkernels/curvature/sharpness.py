"""Sharpness: the largest eigenvalue of the Hessian of a product's loss."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Generator, Tensor

from irkernels._arguments import integer
from irkernels.curvature.hessian import Loss
from irkernels.curvature.lanczos import largest_eigenpair
from irkernels.curvature.parameters import Parameters
from irkernels.curvature.problem import Problem, read_problem
from irkernels.measurements import Measurements
from irkernels.observed import Observed

TOLERANCE, ITERATIONS = 1e-6, 200


def sharpness(
    equation: str,
    *operands: Tensor,
    observed: Observed | None = None,
    target: Tensor | Measurements | None = None,
    loss: Loss = "mse",
    delta: float = 1.0,
    wrt: Sequence[int] | None = None,
    tolerance: float = TOLERANCE,
    iterations: int = ITERATIONS,
    generator: Generator | None = None,
) -> Tensor:
    """The largest Hessian eigenvalue of each trial's loss: [...], a scalar without trials (Matveev et al. 2026).

    Lanczos with full reorthogonalisation until the residual |H v - s v| is at most tolerance x |s|: s is then that
    close to an eigenvalue of H, and its error below the residual's square over the gap.  generator draws the start, the
    same for every trial, on the CPU in float64; by default seed 0, so that two calls agree and a trial of many has
    what it has alone, to rounding.  RuntimeWarning after `iterations` products without reaching the tolerance.
    `...`: the trials, which every operand of `wrt` must have first.  A tensor given twice is one parameter (a
    weight-shared network).  Differentiable in the operands where the eigenvalue is simple: d s = v^T dH v.
    Data, loss, delta, wrt and errors as for hvp.
    """
    problem = read_problem(equation, operands, observed, target, loss, delta, wrt)
    return largest_curvature([problem], tolerance, iterations, generator)


def largest_curvature(
    problems: Sequence[Problem],
    tolerance: float = TOLERANCE,
    iterations: int = ITERATIONS,
    generator: Generator | None = None,
) -> Tensor:
    """Of the sum of losses of the same parameters: [...]."""
    if not (math.isfinite(tolerance) and tolerance > 0):
        raise ValueError(f"tolerance must be positive and finite, got {tolerance}")
    integer("iterations", iterations, 1)
    first = problems[0]
    layouts = [Parameters(problem) for problem in problems]
    start = _start(layouts[0], first.operands[0], generator)
    with torch.no_grad():
        points = [problem.linearized() for problem in problems]

        def product(vectors: Tensor) -> Tensor:
            terms = (each.join(point.product(each.split(vectors))) for each, point in zip(layouts, points))
            return sum(terms, start=torch.zeros_like(vectors)) if len(points) > 1 else next(terms)

        found = largest_eigenpair(product, start, tolerance, iterations)
    value = found.value
    if torch.is_grad_enabled() and any(operand.requires_grad for problem in problems for operand in problem.given):
        value = _rayleigh(problems, layouts, found.vector)
    return value.reshape(first.dense).to(first.given[0].dtype)


def _start(layout: Parameters, like: Tensor, generator: Generator | None) -> Tensor:
    """[trials, P], the same for every trial."""
    generator = torch.Generator("cpu").manual_seed(0) if generator is None else generator
    drawn = torch.randn(layout.count, dtype=torch.float64, device=generator.device, generator=generator)
    return drawn.to(like).expand(layout.trials, -1)


def _rayleigh(problems: Sequence[Problem], layouts: Sequence[Parameters], vectors: Tensor) -> Tensor:
    """v^T H v, differentiable: the vector's own derivative drops out, because the quotient is stationary there."""
    terms = []
    for problem, layout in zip(problems, layouts):
        terms.append((vectors * layout.join(problem.linearized().product(layout.split(vectors)))).sum(1))
    return sum(terms[1:], start=terms[0])
