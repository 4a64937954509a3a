"""Curvature of losses of end-to-end products: Hessian-vector products, sharpness, tangent kernels, alignment."""

from irkernels.curvature.hessian import hessian, hvp
from irkernels.curvature.sharpness import sharpness
from irkernels.curvature.tangent_kernel import alignment, tangent_kernel

__all__ = ["alignment", "hessian", "hvp", "sharpness", "tangent_kernel"]
