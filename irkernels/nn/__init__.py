"""Modules: the end-to-end product of any equation, and the families built on it."""

from irkernels.nn.product import Product

# the families import Product, so they come second
from irkernels.families.chain import MatrixChain  # isort: skip
from irkernels.families.cp import CP  # isort: skip
from irkernels.families.hadamard import HadamardChain  # isort: skip
from irkernels.families.hierarchical import HierarchicalTucker  # isort: skip
from irkernels.families.tensor_train import TensorTrain  # isort: skip
from irkernels.families.tucker import Tucker  # isort: skip

__all__ = ["CP", "HadamardChain", "HierarchicalTucker", "MatrixChain", "Product", "TensorTrain", "Tucker"]
