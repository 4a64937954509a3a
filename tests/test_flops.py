"""torch's counter of floating-point operations sees what plans do: as much as torch's own products, or less."""

from __future__ import annotations

import torch
from torch.utils.flop_counter import FlopCounterMode

import irkernels as irk

A, B, C = (torch.randn(3, 4, requires_grad=True), torch.randn(4, 5, requires_grad=True), torch.randn(5, 6))


def counted(function):
    with FlopCounterMode(display=False) as counter:
        function().sum().backward()
    return counter.get_total_flops()


def test_a_product_counts_as_torch_counts_it():
    assert counted(lambda: irk.einsum("ij,jk->ik", A, B)) == counted(lambda: A @ B) == 3 * 2 * 3 * 4 * 5
    assert 0 < counted(lambda: irk.multi_dot([A, B, C])) <= counted(lambda: torch.linalg.multi_dot([A, B, C]))


def test_entries_count_by_their_number():
    """Beside the multiply-adds of an entry, those that lay the second factor's columns side by side."""
    count, a, b = 40, torch.randn(50, 16, requires_grad=True), torch.randn(16, 50, requires_grad=True)
    observed = irk.Observed(torch.arange(count).unsqueeze(1).repeat(1, 2), torch.zeros(count), (50, 50))
    for verb in (
        lambda: irk.entries("ij,jk->ik", a, b, at=observed),
        lambda: irk.completion_loss("ij,jk->ik", a, b, observed=observed),
    ):
        assert counted(verb) == 3 * 2 * (count * 16 + b.numel())
