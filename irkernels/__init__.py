"""irkernels: end-to-end products of factors, all their gradients, sampled entries and native training."""

from importlib.metadata import PackageNotFoundError, version

from irkernels import nn, optim, reference, spectrum
from irkernels._launch import deterministic
from irkernels.functional import completion_loss, einsum, entries, gradients, multi_dot
from irkernels.info import build_info, explain
from irkernels.observed import Coordinates, Observed
from irkernels.pairwise import tensordot, transpose
from irkernels.training import CheckpointError, Determinant, Entry, Loss, Progress, Quantity, Running, Stop, Trajectory, fit

try:
    __version__ = version("irkernels")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0+source"

__all__ = [
    "CheckpointError", "Coordinates", "Determinant", "Entry", "Loss", "Observed", "Progress", "Quantity", "Running", "Stop",
    "Trajectory", "build_info", "completion_loss",
    "deterministic", "einsum", "entries", "explain", "fit", "gradients", "multi_dot", "nn", "optim", "reference", "spectrum",
    "tensordot", "transpose",
]
