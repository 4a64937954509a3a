"""Measures of complexity of a network, by its factors or by what it computes.

Path norms and Path-SGD, products of layer norms, geometric complexity, slopes on segments, recovered penalties, norms
along gradient flow, intraclass clustering, penalties on functions.

Factors are in matmul order everywhere: the network is x -> F_1 relu(F_2 .. relu(F_N x)), factors[0] its last layer.
"""

from irkernels.measures.clustering import selectivity, silhouette
from irkernels.measures.function_space import confidence_penalty, function_norm, invariance_penalty
from irkernels.measures.geometric import geometric_complexity, input_jacobian, relu_masks
from irkernels.measures.implicit import early_stopping_penalty, gradient_flow_norm_ratio, recover_penalties
from irkernels.measures.layer_norms import group_norm, margin, norm_product, schatten_norm, spectral_complexity
from irkernels.measures.path_norm import path_norm, path_scales
from irkernels.measures.path_sgd import PathSGD
from irkernels.measures.segment import Segment, segment_slopes
from irkernels.measures.sharpness import expected_sharpness

__all__ = [
    "PathSGD",
    "Segment",
    "confidence_penalty",
    "early_stopping_penalty",
    "expected_sharpness",
    "function_norm",
    "geometric_complexity",
    "gradient_flow_norm_ratio",
    "group_norm",
    "input_jacobian",
    "invariance_penalty",
    "margin",
    "norm_product",
    "path_norm",
    "path_scales",
    "recover_penalties",
    "relu_masks",
    "schatten_norm",
    "segment_slopes",
    "selectivity",
    "silhouette",
    "spectral_complexity",
]
