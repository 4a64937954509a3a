"""Every verb in plain PyTorch, under the same name and signature, written to be read beside the papers."""

from irkernels.reference import curvature, growth, measures, spectra, velocities
from irkernels.reference.chain import multi_dot
from irkernels.reference.chains import column_chains, unfolded_chain
from irkernels.reference.cp import cp, cp_component_norms
from irkernels.reference.einsum import einsum
from irkernels.reference.entries import entries
from irkernels.reference.fit import fit_steps
from irkernels.reference.gradients import gradients
from irkernels.reference.hadamard import hadamard_chain
from irkernels.reference.hierarchical import hierarchical
from irkernels.reference.logscaled import LogScaled, log_einsum, log_entries
from irkernels.reference.losses import completion_loss, observed_loss
from irkernels.reference.measured import rank_one_sensing, regression, sensing
from irkernels.reference.tensor_train import tensor_train
from irkernels.reference.tucker import mode_product, tucker

__all__ = [
    "LogScaled", "column_chains", "completion_loss", "cp", "cp_component_norms", "curvature", "einsum", "entries",
    "fit_steps", "gradients", "growth", "hadamard_chain", "hierarchical", "log_einsum", "log_entries", "measures",
    "mode_product", "multi_dot", "observed_loss", "rank_one_sensing", "regression", "sensing", "spectra",
    "tensor_train", "tucker", "unfolded_chain", "velocities",
]
