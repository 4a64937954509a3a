"""The divided differences of x^N as polynomials: no division, so equal, tiny and zero arguments are exact.

    (x^N - y^N) / (x - y) = h_{N-1}(x, y) = sum_{p+q=N-1} x^p y^q,    N x^{N-1} where y = x
"""

from __future__ import annotations

import torch
from torch import Tensor


def complete_symmetric(x: Tensor, y: Tensor, degree: int) -> Tensor:
    """h_degree(x_a, y_b) = sum_{p+q=degree} x_a^p y_b^q: [..., a, b] of x [..., a] and y [..., b]; 0 below degree 0."""
    rows, cols = x[..., :, None], y[..., None, :]
    if degree < 0:
        return torch.zeros_like(rows * cols)
    power = torch.ones_like(cols)
    total = torch.ones_like(rows * cols)
    for _ in range(degree):
        power = power * cols
        total = torch.addcmul(power, total, rows)
    return total
