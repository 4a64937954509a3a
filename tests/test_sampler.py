"""The draws of mini-batches: natively and in the reference the same, epochs without repetition, no order preferred."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

from irkernels import _native
from irkernels.reference.sampler import batch_indices

SEED = 11


@pytest.mark.parametrize("count, size", [(1, 1), (2, 1), (3, 2), (10, 3), (10, 10), (1000, 128), (65_537, 4000)])
@pytest.mark.parametrize("seed", [0, 5, 2**63 - 1])
def test_native_and_reference_draw_the_same(count, size, seed):
    for first in (0, 17, 10**12):
        drawn = torch.empty(6, size, dtype=torch.int64)
        _native.draw_batches(drawn, 6, size, count, seed, first)
        assert torch.equal(drawn, torch.stack([batch_indices(count, size, seed, first + step) for step in range(6)]))


@pytest.mark.parametrize("count, size", [(7, 7), (10, 3), (1000, 128), (4096, 64)])
def test_an_epoch_repeats_nothing_and_the_next_one_differs(count, size):
    each = count // size
    epochs = [torch.cat([batch_indices(count, size, SEED, e * each + s) for s in range(each)]) for e in range(3)]
    for epoch in epochs:
        assert len(epoch.unique()) == each * size and epoch.min() >= 0 and epoch.max() < count
    assert not torch.equal(epochs[0], epochs[1]) and not torch.equal(epochs[1], epochs[2])


@pytest.mark.parametrize("count", [2, 3, 4, 5])
def test_permutations_are_about_equally_likely(count):
    drawn = torch.empty(3000, count, dtype=torch.int64)
    _native.draw_batches(drawn, 3000, count, count, SEED, 0)
    seen = Counter(map(tuple, drawn.tolist()))
    orders = torch.tensor(1.0).mul(count + 1).lgamma().exp().round().item()
    expected = 3000 / orders
    statistic = sum((times - expected) ** 2 / expected for times in seen.values()) + (orders - len(seen)) * expected
    assert statistic < orders - 1 + 6 * (2 * orders) ** 0.5  # six standard deviations; the draws are fixed by the seed


def test_every_observation_meets_every_other():
    count, size, steps = 40, 10, 2000
    drawn = torch.empty(steps, size, dtype=torch.int64)
    _native.draw_batches(drawn, steps, size, count, SEED, 0)
    member = torch.zeros(steps, count).scatter_(1, drawn, 1.0)
    together = member.t() @ member
    pairs = together[~torch.eye(count, dtype=torch.bool)]
    expected = steps * size * (size - 1) / (count * (count - 1))
    assert (pairs - expected).abs().max() < 6 * expected**0.5
