"""torch.jit.trace records the verbs as operators: a traced product is one of its new inputs, gradients too."""

from __future__ import annotations

import pytest
import torch

import irkernels as irk

OBSERVED = irk.Observed(torch.tensor([[0, 1], [2, 3]]), torch.ones(2), (3, 5))
VERBS = {
    "einsum": lambda a, b: irk.einsum("ij,jk->ik", a, b) + a.sum(),
    "multi_dot": lambda a, b: irk.multi_dot([a, b]),
    "entries": lambda a, b: irk.entries("ij,jk->ik", a, b, at=OBSERVED),
    "completion_loss": lambda a, b: irk.completion_loss("ij,jk->ik", a, b, observed=OBSERVED),
    "gradients": lambda a, b: irk.gradients("ij,jk->ik", a, b, cotangent=a @ b)[0],
}


@pytest.mark.parametrize("recording", [False, True])
@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.filterwarnings("ignore")
def test_a_traced_verb_is_of_its_inputs(verb, recording):
    first, second = ([torch.randn(3, 4), torch.randn(4, 5)] for _ in range(2))
    for tensor in (*first, *second):
        tensor.requires_grad_(recording)
    found, expected = torch.jit.trace(VERBS[verb], tuple(first))(*second), VERBS[verb](*second)
    torch.testing.assert_close(found, expected)
    if recording:
        torch.testing.assert_close(
            torch.autograd.grad(found.sum(), second), torch.autograd.grad(expected.sum(), second)
        )
