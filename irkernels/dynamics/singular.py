"""How singular values move while balanced factors follow gradient flow."""

from __future__ import annotations

from torch import Tensor

from irkernels._arguments import integer
from irkernels.dynamics.pairs import matrix_and_gradient
from irkernels.spectrum.decomposition import svd


def singular_value_velocity(W: Tensor, gradient: Tensor, depth: int) -> Tensor:
    """ds_r/dt = -N s_r^{2-2/N} <G, u_r v_r^T>: [..., min(rows, cols)], in the order of irk.spectrum.singular_values.

    Arora, Cohen, Hu, Luo (2019), Theorem 3.  W, gradient: [..., rows, cols] of one dtype; float16 and bfloat16 are
    computed in float32.  depth: N >= 1; the rate of a zero value is 0 for N >= 2.  Where values repeat, the sum over
    the group is what the flow determines, and each rate belongs to LAPACK's choice of vectors.
    Differentiable, finite at repeated values (spectrum/decomposition.py); NaN for a W that is not finite.
    Raises what balanced_velocity raises.
    """
    W, gradient = matrix_and_gradient("singular_value_velocity", W, gradient)
    depth = integer("depth", depth, 1)
    U, s, V = svd(W)
    along = (U * (gradient @ V)).sum(-2)
    return -depth * s.pow(2 - 2 / depth) * along if depth > 1 else -along + 0 * s
