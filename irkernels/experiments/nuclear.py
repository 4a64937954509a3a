"""Nuclear norm minimisation, the convex baseline of matrix completion, by cvxpy and the solver SCS."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from irkernels.observed import Observed

TOLERANCE = 1e-3  # at an observed entry, as in Arora et al. 2019


def least_nuclear_norm(observed: Observed) -> Tensor:
    """The matrix of least nuclear norm that differs by at most 1e-3 from each observed entry: float64.

    Raises ImportError where cvxpy is missing (`pip install "irkernels[baselines]"`) and RuntimeError if it fails.
    """
    import cvxpy

    convex: Any = cvxpy  # its types come and go with its releases
    W = convex.Variable(observed.shape)
    rows, columns = observed.at.cpu().T.numpy()
    residual = W[rows, columns] - observed.values.cpu().double().numpy()
    problem = convex.Problem(convex.Minimize(convex.normNuc(W)), [convex.abs(residual) <= TOLERANCE])
    problem.solve(solver=convex.SCS, max_iters=20_000)
    if W.value is None:
        raise RuntimeError(f"nuclear norm minimisation ended without a solution: {problem.status}")
    return torch.from_numpy(W.value)
