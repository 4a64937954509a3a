"""Reading incomplete arrays: coordinate lists, dense arrays, images and named real data sets."""

from irkernels.io.array import DataError, IncompleteArray
from irkernels.io.read import read

__all__ = ["DataError", "IncompleteArray", "read"]
