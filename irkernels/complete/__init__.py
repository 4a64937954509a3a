"""Completing an incomplete array by a product of factors, with classical completions beside them."""

from irkernels.complete.run import Completed, Options, complete

__all__ = ["Completed", "Options", "complete"]
