"""irkernels: end-to-end products of factors, all their gradients, sampled entries and native training."""

from importlib.metadata import PackageNotFoundError, version

try:
    import torch as _torch  # noqa: F401
except ModuleNotFoundError as error:
    if error.name != "torch":
        raise
    raise ModuleNotFoundError(
        "irkernels computes on tensors of torch, which is not installed: `pip install torch`", name="torch"
    ) from None

from irkernels import curvature, dynamics, integrations, measures, nn, optim, reference, spectrum
from irkernels._blas import deterministic
from irkernels.functional import completion_loss, einsum, entries, gradients, multi_dot
from irkernels.info import build_info, explain
from irkernels.logscaled import log_einsum, log_entries
from irkernels.observed import Coordinates, Observed
from irkernels.pairwise import tensordot, transpose
from irkernels.regression import Regression
from irkernels.sensing import RankOneSensing, Sensing
from irkernels.tensors import (
    cp_to_tensor,
    ht_to_tensor,
    khatri_rao,
    mode_dot,
    multi_mode_dot,
    tr_to_tensor,
    tt_matrix_to_tensor,
    tt_to_tensor,
    tucker_to_tensor,
    unfolding_dot_khatri_rao,
)
from irkernels.training import (
    CheckpointError,
    Determinant,
    Entry,
    Loss,
    Progress,
    Quantity,
    Running,
    Stop,
    Trajectory,
    fit,
)

try:
    __version__ = version("irkernels")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0+source"

__all__ = [
    "CheckpointError", "Coordinates", "Determinant", "Entry", "Loss", "Observed", "Progress", "Quantity",
    "RankOneSensing", "Regression", "Running", "Sensing", "Stop", "Trajectory", "build_info", "completion_loss",
    "cp_to_tensor", "curvature", "deterministic", "dynamics", "einsum", "entries", "explain", "fit", "gradients",
    "ht_to_tensor", "integrations", "khatri_rao", "log_einsum", "log_entries", "measures", "mode_dot", "multi_dot",
    "multi_mode_dot", "nn", "optim", "reference", "spectrum", "tensordot", "tr_to_tensor", "transpose",
    "tt_matrix_to_tensor", "tt_to_tensor", "tucker_to_tensor", "unfolding_dot_khatri_rao",
]
