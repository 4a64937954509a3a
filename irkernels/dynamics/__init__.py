"""How products move under gradient flow on their factors (matmul order): velocities, growth laws, what is conserved."""

from irkernels.dynamics.balanced import balanced_velocity
from irkernels.dynamics.chain import end_to_end_velocity
from irkernels.dynamics.components import component_alignment, component_velocity, vector_norm_velocity
from irkernels.dynamics.conserved import balancedness, conserved_quantities
from irkernels.dynamics.flow import end_to_end_flow, factor_flow, integrate
from irkernels.dynamics.hadamard import balanced_hadamard_velocity, hadamard_velocity
from irkernels.dynamics.laws import (
    balanced_component_velocity,
    balanced_slice_velocity,
    balanced_vector_norm_velocity,
)
from irkernels.dynamics.local import local_component_alignment, local_component_velocity
from irkernels.dynamics.singular import singular_value_velocity
from irkernels.dynamics.slices import slice_alignment, slice_velocity

__all__ = [
    "balanced_component_velocity", "balanced_hadamard_velocity", "balanced_slice_velocity",
    "balanced_vector_norm_velocity", "balanced_velocity", "balancedness", "component_alignment", "component_velocity",
    "conserved_quantities", "end_to_end_flow", "end_to_end_velocity", "factor_flow", "hadamard_velocity", "integrate",
    "local_component_alignment", "local_component_velocity", "singular_value_velocity", "slice_alignment",
    "slice_velocity", "vector_norm_velocity",
]
