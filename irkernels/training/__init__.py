"""`irk.fit`: the step loop around an engine, what it records, when it stops, and how it is saved."""

from irkernels.training.checkpoint import CheckpointError
from irkernels.training.loop import fit
from irkernels.training.progress import Progress
from irkernels.training.quantities import Determinant, Entry, Loss, Quantity, Running
from irkernels.training.stopping import Stop
from irkernels.training.trajectory import Trajectory

__all__ = [
    "CheckpointError", "Determinant", "Entry", "Loss", "Progress", "Quantity", "Running", "Stop", "Trajectory", "fit",
]  # fmt: skip
