"""Valid calls of curvature, dynamics, spectrum and measures."""

from __future__ import annotations

from collections.abc import Callable

import torch

import irkernels as irk
from malformed.verbs import Made, chain, draw, observed

c, d, m, s = irk.curvature, irk.dynamics, irk.measures, irk.spectrum


def labels() -> torch.Tensor:
    return torch.tensor([0, 1, 0, 1])


def network() -> list[torch.Tensor]:
    return [draw(2, 3), draw(3, 4)]


DIAGNOSTICS: dict[str, Callable[[], Made]] = {
    "hvp": lambda: (c.hvp, chain(),
        {"tangents": [draw(2, 3), draw(3, 4)], "target": draw(2, 4), "loss": "mse", "delta": 1.0}),
    "hessian": lambda: (c.hessian, chain(), {"observed": observed(), "wrt": [0, 1]}),
    "sharpness": lambda: (c.sharpness, chain(), {"target": draw(2, 4), "tolerance": 1e-3, "iterations": 5}),
    "tangent_kernel": lambda: (c.tangent_kernel, chain(), {"wrt": [0], "per_layer": True}),
    "alignment": lambda: (c.alignment, [torch.eye(4), draw(4)], {"centred": True}),
    "balanced_velocity": lambda: (d.balanced_velocity, [draw(2, 3), draw(2, 3), 2], {"tolerance": None}),
    "singular_value_velocity": lambda: (d.singular_value_velocity, [draw(2, 3), draw(2, 3), 2], {}),
    "end_to_end_velocity": lambda: (d.end_to_end_velocity, [network(), draw(2, 4)], {"equation": "ij,jk->ik"}),
    "hadamard_velocity": lambda: (d.hadamard_velocity, [[draw(3), draw(3)], draw(3)], {}),
    "balanced_hadamard_velocity": lambda: (d.balanced_hadamard_velocity, [draw(3), draw(3), 2], {}),
    "balanced_component_velocity": lambda: (d.balanced_component_velocity, [draw(3).abs(), draw(3), 2], {}),
    "balanced_vector_norm_velocity": lambda: (d.balanced_vector_norm_velocity, [draw(3).abs(), draw(3), 3, 2], {}),
    "component_velocity": lambda: (d.component_velocity, [[draw(2, 2), draw(3, 2)], draw(2, 3)], {"chains": "column"}),
    "local_component_velocity": lambda: (
        d.local_component_velocity,
        [[draw(2, 2), draw(3, 2), draw(2)], draw(2, 3)],
        {"tree": (0, 1)},
    ),
    "slice_velocity": lambda: (d.slice_velocity, [draw(2, 2), [draw(3, 2), draw(4, 2)], draw(3, 4)], {}),
    "balancedness": lambda: (d.balancedness, [network()], {"equation": None}),
    "conserved_quantities": lambda: (d.conserved_quantities, [network()], {"equation": "ij,jk->ik"}),
    "integrate": lambda: (
        d.integrate, [lambda x: -x, draw(3).double(), [0.0, 0.1]], {"rtol": 1e-3, "atol": 1e-3, "evaluations": 1000}
    ),
    "svd": lambda: (s.svd, [draw(2, 3)], {}),
    "effective_rank": lambda: (s.effective_rank, [draw(2, 3)], {}),
    "nuclear_norm": lambda: (s.nuclear_norm, [draw(2, 3)], {}),
    "schatten": lambda: (s.schatten, [draw(2, 3), 2.0], {}),
    "stable_rank": lambda: (s.stable_rank, [draw(2, 3)], {}),
    "matricisation": lambda: (s.matricisation, [draw(2, 3, 4), [0, 2]], {"order": 3}),
    "matricisation_rank": lambda: (s.matricisation_rank, [draw(2, 3, 4), 1], {"order": 3, "tolerance": 1e-3}),
    "multilinear_effective_rank": lambda: (s.multilinear_effective_rank, [draw(2, 3, 4)], {"order": 3}),
    "hierarchical_rank": lambda: (s.hierarchical_rank, [draw(2, 3, 4)], {"tree": ((0, 1), 2), "order": None}),
    "cp_rank": lambda: (s.cp_rank, [draw(2, 3), 2], {"tolerance": 1e-3, "sweeps": 5, "restarts": 1, "seed": 0}),
    "penalised_gradients": lambda: (s.penalised_gradients, [network(), 0.1], {"gradient": draw(2, 4)}),
    "path_norm": lambda: (m.path_norm, [network()], {"p": 2}),
    "norm_product": lambda: (m.norm_product, [network()], {"p": 2, "q": 2, "schatten": False}),
    "spectral_complexity": lambda: (m.spectral_complexity, [network(), "spectral"], {"margin": 1.0}),
    "margin": lambda: (m.margin, [draw(4, 3), labels()], {"quantile": 0.1}),
    "geometric_complexity": lambda: (m.geometric_complexity, [network(), draw(5, 4)], {"biases": [draw(2), None]}),
    "segment_slopes": lambda: (m.segment_slopes, [network(), draw(4), draw(4)], {"biases": None}),
    "early_stopping_penalty": lambda: (m.early_stopping_penalty, [draw(5, 3), 0.01, 3], {}),
    "gradient_flow_norm_ratio": lambda: (m.gradient_flow_norm_ratio, [draw(5, 3), draw(5), torch.tensor([0.1, 1.0])],
        {}),
    "invariance_penalty": lambda: (m.invariance_penalty, [draw(2, 4, 3)], {}),
    "confidence_penalty": lambda: (m.confidence_penalty, [draw(4, 3)], {}),
    "selectivity": lambda: (m.selectivity, [draw(4, 5), labels(), torch.tensor([0, 0, 1, 1])], {"eps": 1e-7}),
    "silhouette": lambda: (m.silhouette, [draw(4, 5), torch.tensor([0, 0, 1, 1]), torch.tensor([0, 1, 2, 3])], {}),
}
