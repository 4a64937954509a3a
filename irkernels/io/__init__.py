"""Reading incomplete arrays (coordinate lists, dense arrays, images, named data sets), writing coordinate lists."""

from irkernels.io.array import DataError, IncompleteArray
from irkernels.io.read import read
from irkernels.io.write import write_tns

__all__ = ["DataError", "IncompleteArray", "read", "write_tns"]
