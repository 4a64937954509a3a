"""Products with the Hessian of a product's loss, and for small problems the Hessian itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from irkernels.curvature.parameters import Parameters
from irkernels.curvature.problem import checked_tangents, read_problem
from irkernels.measurements import Measurements
from irkernels.observed import Observed

Loss = str | Callable[[Tensor], Tensor]


def hvp(
    equation: str,
    *operands: Tensor,
    tangents: Sequence[Tensor | None],
    observed: Observed | None = None,
    target: Tensor | Measurements | None = None,
    loss: Loss = "mse",
    delta: float = 1.0,
    wrt: Sequence[int] | None = None,
) -> tuple[Tensor | None, ...]:
    """The loss's Hessian times a direction: sum_k d^2 L / (d operand_j d operand_k) [tangent_k] for each operand j.

    The data are one of: observed= (completion_loss's, at most its entries are formed); target=, a tensor of the
    product's shape, or Sensing, RankOneSensing, Regression; neither, with loss= a function of W that gives one number,
    or one for each trial.  loss by name: mse, half_sse, l1, huber (delta).  With trials (`...`, which must lead the
    output of a dense product) the loss is the sum of theirs.
    tangents: one for each operand, of its shape, dtype and device; None is zero, so that one tangent gives one column
    of the Hessian's blocks, cross terms included.  wrt: positions whose results are wanted (default all); None stands
    for the others.  A tensor given twice is two operands, whose results add.
    Forward-over-reverse on the contraction tree: at most 3 gradients' cost.  float16 and bfloat16 are computed in
    float32 and rounded once.  Differentiable in operands and tangents.
    Raises what einsum and entries raise, TypeError and ValueError for tangents, data or loss that do not fit.

    >>> (h,) = hvp("i->i", torch.ones(3), tangents=[torch.ones(3)], target=torch.zeros(3), loss="half_sse")
    >>> h
    tensor([1., 1., 1.])
    """
    problem = read_problem(equation, operands, observed, target, loss, delta, wrt)
    moved = checked_tangents(tangents, problem)
    with torch.set_grad_enabled(torch.is_grad_enabled() and _requires_grad(*operands, *tangents, target)):
        return problem.as_given(problem.linearized().product(moved))


def hessian(
    equation: str,
    *operands: Tensor,
    observed: Observed | None = None,
    target: Tensor | Measurements | None = None,
    loss: Loss = "mse",
    delta: float = 1.0,
    wrt: Sequence[int] | None = None,
) -> Tensor:
    """The whole Hessian [..., P, P] over the P elements of one trial's operands, those of `wrt` one after the other.

    For small problems: P products with it.  `...`: the trials, which every operand of `wrt` must then have first.  A
    tensor given twice is one parameter.  Data, loss and errors as for hvp.
    """
    problem = read_problem(equation, operands, observed, target, loss, delta, wrt)
    parameters, point = Parameters(problem), problem.linearized()
    directions = torch.eye(parameters.count, dtype=problem.operands[0].dtype, device=problem.operands[0].device)
    shape = (*problem.dense, parameters.count, parameters.count)
    rows = [parameters.join(point.product(parameters.split(each.expand(parameters.trials, -1)))) for each in directions]
    return torch.stack(rows, dim=1).reshape(shape).to(problem.given[0].dtype)


def _requires_grad(*tensors: Tensor | Measurements | None) -> bool:
    """Whether a graph is wanted: native calls without one take less time."""
    return any(isinstance(tensor, Tensor) and tensor.requires_grad for tensor in tensors)
