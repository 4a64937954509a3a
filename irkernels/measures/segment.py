"""Slopes of a ReLU network along a segment between two inputs (Kubo et al. 2019, paper 11).

On x(t) = x_0 + t (x_1 - x_0) the network is linear between breakpoints, where a unit's pre-activation changes sign; the
slope there is the masked chain's df/dt = J(x(t)) (x_1 - x_0).  The paper's exact statistics were not at hand: `gap` is
the norm of the jumps of df/dt and `deflection` the angle between neighbouring slopes, as its abstract describes them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from irkernels._arguments import real
from irkernels.measures.geometric import input_jacobian, relu_masks


@dataclass(frozen=True)
class Segment:
    """breakpoints: [m], ascending in (0, 1).  slopes: df/dt of the m + 1 pieces, [m + 1, outputs]."""

    breakpoints: Tensor
    slopes: Tensor

    @property
    def jumps(self) -> Tensor:
        """[m, outputs]: initial slope + their sum = final slope."""
        return self.slopes.diff(dim=0)

    @property
    def gap(self) -> Tensor:
        """[m]: the norms of the jumps."""
        sizes: Tensor = torch.linalg.vector_norm(self.jumps, dim=1)
        return sizes

    @property
    def deflection(self) -> Tensor:
        """[m]: the angles between neighbouring slopes, in radians; 0 where a slope vanishes."""
        a, b = self.slopes[:-1], self.slopes[1:]
        size = torch.linalg.vector_norm(a, dim=1) * torch.linalg.vector_norm(b, dim=1)
        cosine = (a * b).sum(1) / torch.where(size == 0, torch.ones_like(size), size)
        return torch.where(size == 0, torch.zeros_like(size), cosine.clamp(-1, 1).acos())


def segment_slopes(
    factors: Sequence[Tensor], start: Tensor, end: Tensor, biases: Sequence[Tensor | None] | None = None
) -> Segment:
    """All breakpoints of the network between two inputs [d_N], exact to rounding, and the slopes of the pieces.

    Layer by layer: between the breakpoints so far pre-activations are linear in t, so their zeros follow from the ends.
    Raises what input_jacobian raises.
    """
    if (
        real("start", start).shape != real("end", end).shape
        or start.dim() != 1
        or start.dtype != end.dtype
        or start.device != end.device
    ):
        raise ValueError(
            f"start and end must be two inputs [d] of one dtype, got {list(start.shape)} {start.dtype}"
            f" and {list(end.shape)} {end.dtype}"
        )
    ends = torch.stack([start, end])
    relu_masks(factors, ends, biases)  # checks
    factors = tuple(factors)
    given: list[Tensor | None] = [None] * len(factors) if biases is None else list(biases)
    with torch.no_grad():
        times = start.new_zeros(2)
        times[1] = 1.0
        for layer in reversed(range(1, len(factors))):
            times = _with_zeros(times, _before(factors, given, layer, _at(start, end, times)))
        middles = (times[1:] + times[:-1]) / 2
        slopes = input_jacobian(factors, _at(start, end, middles), biases) @ (end - start)
    return Segment(times[1:-1], slopes)


def _at(start: Tensor, end: Tensor, times: Tensor) -> Tensor:
    return start + times[:, None] * (end - start)


def _before(factors: tuple[Tensor, ...], biases: list[Tensor | None], layer: int, X: Tensor) -> Tensor:
    """Pre-activations of factor `layer`: [n, rows]."""
    for position in reversed(range(layer, len(factors))):
        X = X @ factors[position].T
        bias = biases[position]
        X = X if bias is None else X + bias
        X = X.clamp(min=0) if position > layer else X
    return X


def _with_zeros(times: Tensor, values: Tensor) -> Tensor:
    """The times [m] with those between which some column of values [m, units], linear there, crosses zero."""
    a, b = values[:-1], values[1:]
    piece, unit = ((a > 0) != (b > 0)).nonzero(as_tuple=True)
    share = a[piece, unit] / (a[piece, unit] - b[piece, unit])
    found = times[piece] + share * (times[piece + 1] - times[piece])
    inside = found[(found > times[0]) & (found < times[-1])]
    merged: Tensor = torch.cat([times, inside]).unique()
    return merged
