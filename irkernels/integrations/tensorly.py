"""TensorLy's PyTorch backend with its einsum and tensor algebra computed here: decompositions speed up unchanged.

    import tensorly, irkernels
    tensorly.set_backend("pytorch")
    irkernels.integrations.tensorly.enable()
    weights, factors = tensorly.decomposition.parafac(tensor, rank=20)
    irkernels.integrations.tensorly.disable()
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from irkernels import tensors
from irkernels.functional import einsum
from irkernels.integrations.switch import Enabled, Replacement, Switch, first_ours

FUNCTIONS = {  # of tensorly.tenalg
    "khatri_rao": tensors.khatri_rao,
    "mode_dot": tensors.mode_dot,
    "multi_mode_dot": tensors.multi_mode_dot,
    "unfolding_dot_khatri_rao": tensors.unfolding_dot_khatri_rao,
    "_tt_matrix_to_tensor": tensors.tt_matrix_to_tensor,
}


def enable() -> Enabled:
    """Makes irkernels compute TensorLy's einsum, mode products, Khatri-Rao products and MTTKRP, for tensors of torch.

    For the whole process, in both tensor algebra backends ("core" and "einsum"), and, as in TensorLy, in every thread
    whose backend is PyTorch: arrays of other backends, complex and integer tensors and calls that irkernels refuses are
    computed as before.  A second call changes nothing.  In a `with` statement it holds for the block.

    Raises ImportError (TensorLy is not installed) and RuntimeError (this thread's backend is not "pytorch").
    """
    return _switch.enable()


def disable() -> None:
    """Puts back what enable() found."""
    _switch.disable()


def _replacements() -> Iterator[Replacement]:
    tensorly = _pytorch_tensorly()
    from tensorly.tenalg.core_tenalg import CoreTenalgBackend
    from tensorly.tenalg.einsum_tenalg import EinsumTenalgBackend

    numbers = tensorly.backend
    yield type(numbers.current_backend()), "einsum", _hook(einsum, numbers.current_backend().einsum)
    yield from _looked_up_at_calls(numbers, "einsum")
    for name, ours in FUNCTIONS.items():
        for algebra in (CoreTenalgBackend, EinsumTenalgBackend):
            yield algebra, name, _hook(ours, getattr(algebra, name))
        yield from _looked_up_at_calls(tensorly.tenalg, name)


def _hook(ours: Any, original: Any) -> staticmethod[..., Any]:
    return staticmethod(first_ours(ours, original))


def _looked_up_at_calls(manager: Any, name: str) -> Iterator[Replacement]:
    """Under TensorLy's static dispatch a function is bound already: for ours it becomes a dynamic one."""
    bound = getattr(manager, name)
    if not hasattr(bound, "__wrapped__"):
        yield type(manager), name, staticmethod(manager.dispatch_backend_method(name, bound))


def _pytorch_tensorly() -> Any:
    try:
        import tensorly
    except ImportError as error:
        raise ImportError(
            "irkernels.integrations.tensorly needs TensorLy, which is not installed (pip install tensorly)"
        ) from error
    if (backend := tensorly.get_backend()) != "pytorch":
        raise RuntimeError(
            f"TensorLy's backend is {backend!r}; irkernels computes for 'pytorch'"
            " (call tensorly.set_backend('pytorch') first)"
        )
    return tensorly


_switch = Switch(_replacements)
