"""The divided differences of x^N as polynomials: no division, so equal, tiny and zero arguments are exact.

    (x^N - y^N) / (x - y) = h_{N-1}(x, y) = sum_{p+q=N-1} x^p y^q,    N x^{N-1} where y = x
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

import torch
from torch import Tensor


def complete_symmetric(x: Tensor, y: Tensor, degree: int) -> Tensor:
    """h_degree(x_a, y_b) = sum_{p+q=degree} x_a^p y_b^q: [..., a, b] of x [..., a] and y [..., b]; 0 below degree 0."""
    if degree < 0:
        return torch.zeros_like(x[..., :, None] * y[..., None, :])
    return deque(rising_degrees(x, y, degree), maxlen=1).pop()


def rising_degrees(x: Tensor, y: Tensor, degree: int) -> Iterator[Tensor]:
    """h_0, h_1, .., h_degree, each from the one before: h_d = x_a h_{d-1} + y_b^d."""
    rows, power = x[..., :, None], torch.ones_like(y[..., None, :])
    total = torch.ones_like(rows * power)
    yield total
    for _ in range(degree):
        power = power * y[..., None, :]
        total = torch.addcmul(power, total, rows)
        yield total
