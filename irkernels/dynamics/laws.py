"""Growth laws of balanced components: how fast a norm grows is a power of itself, set by depth.

norms and alignment (gamma = <-G, direction of the component>) are tensors of one shape and dtype, as
component_alignment, slice_alignment and local_component_alignment give them; half types are computed in float32.
"""

from __future__ import annotations

from torch import Tensor

from irkernels._arguments import integer
from irkernels.dynamics.pairs import alike
from irkernels.dynamics.widths import widened


def balanced_component_velocity(norms: Tensor, alignment: Tensor, degree: int) -> Tensor:
    """dsigma/dt = D gamma sigma^{2-2/D} of a component that is a product of D vectors and matrices of one norm.

    D = N for CP (Razin, Maman, Cohen 2021, equation of their Theorem 1's balanced case); D = N (k + 1) for deep CP with
    k matrices before each vector, all of rank one; D = K, children + 1, for a local component (Razin, Maman, Cohen
    2022).  Raises TypeError and ValueError (degree below 1, shapes).
    """
    norms, alignment = _pair("balanced_component_velocity", norms, alignment)
    degree = integer("degree", degree, 1)
    return degree * alignment * norms.pow(2 - 2 / degree)


def balanced_vector_norm_velocity(norms: Tensor, alignment: Tensor, order: int, matrices: int) -> Tensor:
    """drho/dt = N gamma rho^{k+2-2/N}, rho = prod_n ||w^n|| of the vectors alone of a balanced deep CP component.

    order: N; matrices: k >= 0 before each vector.  Of polynomial order k + 2 - 2/N, where the end-to-end norm sigma =
    rho^{k+1} never exceeds 2.  Derived here from the law of sigma, not quoted from a paper.
    Raises TypeError and ValueError (order below 1, matrices below 0, shapes).
    """
    norms, alignment = _pair("balanced_vector_norm_velocity", norms, alignment)
    order, matrices = integer("order", order, 1), integer("matrices", matrices, 0)
    return order * alignment * norms.pow(matrices + 2 - 2 / order)


def balanced_slice_velocity(norms: Tensor, alignment: Tensor, depth: int) -> Tensor:
    """ds_j/dt = s_j^K gamma_j of a Tucker core's slice whose columns' chains have its norm s_j in all their K blocks.

    depth: K = 0 for the core alone, 1 for plain Tucker, more for deep.  Raises TypeError and ValueError.
    """
    norms, alignment = _pair("balanced_slice_velocity", norms, alignment)
    return norms.pow(integer("depth", depth, 0)) * alignment


def _pair(verb: str, norms: Tensor, alignment: Tensor) -> tuple[Tensor, Tensor]:
    alike(verb, norms, alignment, "norms", "alignment")
    return widened(norms), widened(alignment)
