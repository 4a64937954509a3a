"""Other packages computing with irkernels, their callers unchanged: `enable()` and `disable()` of each module.

    irkernels.integrations.tensorly.enable()               # from here on
    with irkernels.integrations.opt_einsum.enable(): ...   # or within a block
"""
