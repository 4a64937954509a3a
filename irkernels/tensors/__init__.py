"""Tensors in factored form, under TensorLy's names and argument forms.

Each function is one equation of irkernels.einsum: planned as a whole, differentiable to any order, batched by
torch.func.vmap.  Operands are float16, bfloat16, float32 or float64 tensors of one dtype and device, any strides; a
result is a new contiguous tensor of that dtype.

Every function raises TypeError (not a tensor, dtype) and ValueError (dimensions, sizes, devices, modes).  A message
counts operands in the order in which the equation takes them: tensor or core, then factors as given, then weights.
"""

from irkernels.tensors.columns import cp_to_tensor, khatri_rao, unfolding_dot_khatri_rao
from irkernels.tensors.modes import mode_dot, multi_mode_dot, tucker_to_tensor
from irkernels.tensors.trains import tr_to_tensor, tt_matrix_to_tensor, tt_to_tensor
from irkernels.tensors.trees import ht_to_tensor

__all__ = [
    "cp_to_tensor", "ht_to_tensor", "khatri_rao", "mode_dot", "multi_mode_dot", "tr_to_tensor", "tt_matrix_to_tensor",
    "tt_to_tensor", "tucker_to_tensor", "unfolding_dot_khatri_rao",
]
