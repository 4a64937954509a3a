"""Every verb in plain PyTorch, under the same name and signature, written to be read beside the papers."""

from irkernels.reference.chain import multi_dot
from irkernels.reference.einsum import einsum
from irkernels.reference.entries import entries
from irkernels.reference.fit import fit_steps
from irkernels.reference.gradients import gradients
from irkernels.reference.losses import completion_loss, observed_loss
from irkernels.reference.measured import rank_one_sensing, regression, sensing

__all__ = [
    "completion_loss", "einsum", "entries", "fit_steps", "gradients", "multi_dot", "observed_loss", "rank_one_sensing",
    "regression", "sensing",
]
