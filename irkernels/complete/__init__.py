"""Completing an incomplete array by deep matrix chains, with classical completions beside them."""

from irkernels.complete.run import Completed, Options, complete

__all__ = ["Completed", "Options", "complete"]
