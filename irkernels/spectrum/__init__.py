"""Spectra of end-to-end matrices and tensors, and the ranks, norms and penalties made of them, batched over trials."""

from irkernels.spectrum.cp_rank import cp_rank
from irkernels.spectrum.decomposition import svd
from irkernels.spectrum.norms import nuclear_norm, schatten
from irkernels.spectrum.ratio import (
    nuclear_to_frobenius,
    nuclear_to_frobenius_slope,
    nuclear_to_frobenius_velocity,
    penalised_gradients,
)
from irkernels.spectrum.unfoldings import (
    hierarchical_rank,
    matricisation,
    matricisation_rank,
    matricisation_singular_values,
    multilinear_effective_rank,
    unfolding_singular_values,
)
from irkernels.spectrum.values import effective_rank, effective_rank_of, singular_values, stable_rank

__all__ = [
    "cp_rank", "effective_rank", "effective_rank_of", "hierarchical_rank", "matricisation", "matricisation_rank",
    "matricisation_singular_values", "multilinear_effective_rank", "nuclear_norm", "nuclear_to_frobenius",
    "nuclear_to_frobenius_slope", "nuclear_to_frobenius_velocity", "penalised_gradients", "schatten",
    "singular_values", "stable_rank", "svd", "unfolding_singular_values",
]
