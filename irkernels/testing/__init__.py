"""The registry of products and what tests and benches draw from it."""

from irkernels.testing.derivatives import assert_equal, copies, differentiable_functions, energy, normal
from irkernels.testing.oracle import (
    absolute_product,
    dense_completion_loss,
    dense_entries,
    factor_gradients,
    worst_ratio,
)
from irkernels.testing.product import Product
from irkernels.testing.random_products import random_product
from irkernels.testing.registry import FAMILIES, PRODUCTS, SHAPES_AND_SYNTAX, SMALL
from irkernels.testing.sampling import sample_coordinates
from irkernels.testing.strides import STRIDES

__all__ = [
    "FAMILIES",
    "PRODUCTS",
    "SHAPES_AND_SYNTAX",
    "SMALL",
    "STRIDES",
    "Product",
    "absolute_product",
    "assert_equal",
    "copies",
    "dense_completion_loss",
    "dense_entries",
    "differentiable_functions",
    "energy",
    "factor_gradients",
    "normal",
    "random_product",
    "sample_coordinates",
    "worst_ratio",
]
