"""Other packages computing with irkernels, their callers unchanged: `enable()` and `disable()` of each module.

    irkernels.integrations.tensorly.enable()               # from here on
    with irkernels.integrations.opt_einsum.enable(): ...   # or within a block
"""

from irkernels.integrations import opt_einsum, tensorly

__all__ = ["opt_einsum", "tensorly"]
