"""`irk.fit`: the step loop around an engine, what it records, when it stops, and how it is saved."""

from irkernels.training.checkpoint import CheckpointError
from irkernels.training.loop import fit
from irkernels.training.progress import Progress
from irkernels.training.stopping import Stop
from irkernels.training.trajectory import Trajectory

__all__ = ["CheckpointError", "Progress", "Stop", "Trajectory", "fit"]
