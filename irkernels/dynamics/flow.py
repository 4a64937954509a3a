"""Gradient flow as an ordinary differential equation, solved by SciPy, to set beside discrete runs."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from irkernels._arguments import integer, number, real, with_numbers
from irkernels.dynamics.balanced import balanced_velocity


def end_to_end_flow(
    gradient: Callable[[Tensor], Tensor], W: Tensor, times: Sequence[float], depth: int, **solver: Any
) -> Tensor:
    """W at the times, [times, ..., rows, cols], under dW/dt = balanced_velocity(W, gradient(W), depth).

    gradient: G = dL/dW of W, [..., rows, cols] float64 on W's device.  W is the value at times[0].
    Further arguments and errors as of integrate.
    """
    depth = integer("depth", depth, 1)
    return integrate(lambda W: balanced_velocity(W, gradient(W), depth), W, times, **solver)


def factor_flow(
    loss: Callable[..., Tensor], factors: Sequence[Tensor], times: Sequence[float], **solver: Any
) -> list[Tensor]:
    """Every factor at the times, [times, *its shape], where each moves by minus its gradient.

    loss: a scalar, or [trials] that do not couple, of the factors as arguments, differentiable.  Further arguments and
    errors as of integrate.
    """
    shapes = [factor.shape for factor in factors]
    sizes = [shape.numel() for shape in shapes]

    def apart(flat: Tensor) -> list[Tensor]:
        return [each.reshape(*flat.shape[:-1], *shape) for each, shape in zip(flat.split(sizes, dim=-1), shapes)]

    def velocity(flat: Tensor) -> Tensor:
        with torch.enable_grad():
            leaves = [each.clone().requires_grad_() for each in apart(flat)]
            slopes = torch.autograd.grad(loss(*leaves).sum(), leaves)
        return -torch.cat([slope.reshape(-1) for slope in slopes])

    return apart(integrate(velocity, torch.cat([factor.detach().reshape(-1) for factor in factors]), times, **solver))


def integrate(
    velocity: Callable[[Tensor], Tensor],
    start: Tensor,
    times: Sequence[float],
    *,
    rtol: float = 1e-9,
    atol: float = 1e-12,
    method: str = "DOP853",
    evaluations: int = 1_000_000,
) -> Tensor:
    """The solution at the times, [times, *start's shape] float64, without a graph.

    velocity: of a float64 tensor of start's shape on its device; start is the value at times[0], times rise.
    rtol, atol, method: scipy.integrate.solve_ivp's ("LSODA", "BDF" or "Radau" where the flow is stiff).  All trials
    take the same steps, so that one may differ by the tolerance from what it is alone.
    evaluations: the most of the velocity, so that a flow too stiff or too long for its solver ends with an error.
    Raises ImportError without SciPy (pip install "irkernels[dynamics]"), TypeError, ValueError (start, times,
    tolerances) and RuntimeError (the solver stopped early, with its reason, or had no evaluations left).
    """
    try:
        from scipy.integrate import solve_ivp
    except ImportError as error:
        raise ImportError('the flow is integrated by SciPy: pip install "irkernels[dynamics]"') from error
    times = [number(f"times[{i}]", time) for i, time in enumerate(times)]
    rtol, atol = number("rtol", rtol, 0.0), number("atol", atol, 0.0)  # of a NaN the solver would never make an end
    evaluations = integer("evaluations", evaluations, 1)
    if not isinstance(method, str):
        raise TypeError(f"method must be the name of a solver, got {type(method).__name__}")
    if not with_numbers("start", real("start", start)).isfinite().all():
        raise ValueError("start must be finite")
    if not times or any(later <= earlier for earlier, later in itertools.pairwise(times)):
        raise ValueError(f"times must rise and have at least one entry, got {times[:5]}")
    initial = start.detach().to(torch.float64)
    if len(times) == 1:
        return initial[None].clone()

    used = itertools.count(1)

    def slope(time: float, flat: Any) -> Any:
        if next(used) > evaluations:
            raise RuntimeError(
                f"the flow was not integrated up to {times[-1]}: {evaluations} evaluations of the velocity led to"
                f" {time:g} (evaluations= allows more; another method may need fewer)"
            )
        now = torch.as_tensor(flat, dtype=torch.float64).to(start.device).reshape(start.shape)
        return real("the velocity", velocity(now)).detach().cpu().reshape(-1).numpy()

    found = solve_ivp(
        slope, (times[0], times[-1]), initial.cpu().reshape(-1).numpy(), method, times, rtol=rtol, atol=atol
    )
    if not found.success:
        raise RuntimeError(f"the flow was not integrated up to {times[-1]}: {found.message}")
    return torch.from_numpy(found.y.T.copy()).to(start.device).reshape(len(times), *start.shape)
