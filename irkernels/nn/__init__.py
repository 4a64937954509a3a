"""Modules: the end-to-end product of any equation, and the families built on it."""

from irkernels.nn.product import Product

# the families import Product, so they come second
from irkernels.families.chain import MatrixChain  # isort: skip

__all__ = ["MatrixChain", "Product"]
