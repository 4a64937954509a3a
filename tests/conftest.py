"""Shared fixtures: both implementations of the verbs, the thread count, the seed."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from types import ModuleType

import pytest
import torch

import irkernels as irk
from irkernels import _native


@pytest.fixture(autouse=True)
def seeded() -> None:
    """The same draws whichever tests run."""
    torch.manual_seed(0)


@pytest.fixture(params=["irkernels", "irkernels.reference"])
def verbs(request: pytest.FixtureRequest) -> ModuleType:
    """The package's verbs, and the same verbs in plain torch."""
    return irk if request.param == "irkernels" else irk.reference


@pytest.fixture
def threads() -> Callable[[int], None]:
    """Sets torch's thread count; what it was is restored."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.fixture
def blas_that_pays() -> Iterator[None]:
    """Large steps go to torch's matmul whatever the machine."""
    before = _native.set_blas_pays([True] * 4)
    yield
    _native.set_blas_pays(before)


@pytest.fixture
def listening() -> Iterator[None]:
    """A shell's background job ignores Ctrl-C, and so would fit."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
