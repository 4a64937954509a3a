"""The same bits: of two runs, of any thread count, beside any other trials, from any strides, on every CPU target."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from irkernels.testing import FAMILIES, PRODUCTS, STRIDES, Product
from irkernels.testing.fingerprint import bits, every_result

DTYPES = (torch.float64, torch.float32, torch.bfloat16)
TRIALS = (1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33)
each_product = pytest.mark.parametrize("product", PRODUCTS, ids=lambda product: product.name)


def assert_same_bits(found: dict[str, Tensor], expected: dict[str, Tensor], what: str) -> None:
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        other = found[name]
        assert other.shape == tensor.shape and other.dtype == tensor.dtype, f"{name}: {what}"
        if bits(other) != bits(tensor):
            worst = (other.double() - tensor.double()).abs().max().item()
            raise AssertionError(f"{name} differs by {worst:.1e}: {what}")


@each_product
def test_two_runs_of_the_default_mode(product: Product) -> None:
    for dtype in DTYPES:
        operands = product.operands(dtype=dtype)
        first = every_result(product, operands)
        assert_same_bits(every_result(product, operands), first, f"second run of {product}, {dtype}")


@each_product
def test_threads(product: Product, public: Callable, threads: Callable) -> None:
    deterministic = public("deterministic")
    for dtype in DTYPES:
        operands = product.operands(dtype=dtype)
        with deterministic():
            threads(1)
            alone = every_result(product, operands)
            for count in (2, 3):
                threads(count)
                assert_same_bits(every_result(product, operands), alone, f"{count} threads, {product}, {dtype}")


@each_product
def test_strides(product: Product, public: Callable) -> None:
    deterministic = public("deterministic")
    for dtype in DTYPES:
        for how in STRIDES:
            operands = product.with_strides(how).operands(dtype=dtype)
            plain = [operand.clone(memory_format=torch.contiguous_format) for operand in operands]
            with deterministic():
                expected = every_result(product, plain)
                assert_same_bits(every_result(product, operands), expected, f"{how} operands of {product}, {dtype}")


@pytest.mark.parametrize(
    "product", [each for each in FAMILIES if each.trials is None and each.elements < 5_000], ids=lambda each: each.name
)
def test_a_trial_alone_is_the_trial_among_others(product: Product, public: Callable) -> None:
    deterministic = public("deterministic")
    for dtype in DTYPES[:2]:
        many = product.with_trials(TRIALS[-1]).operands(dtype=dtype)
        with deterministic():
            alone = [
                every_result(product, [each[trial] if p in product.trained else each for p, each in enumerate(many)])
                for trial in range(TRIALS[-1])
            ]
            for trials in TRIALS:
                case = product.with_trials(trials)
                for first in {0, TRIALS[-1] - trials}:
                    some = slice(first, first + trials)
                    operands = [each[some] if p in product.trained else each for p, each in enumerate(many)]
                    together = every_result(case, operands)
                    for trial in range(trials):
                        own = {name: result[trial] for name, result in together.items()}
                        where = f"trial {trial} of {trials} of {product}, {dtype}"
                        assert_same_bits(own, alone[first + trial], where)


def fingerprint_of(target: str, threads: int) -> dict[str, str]:
    environment = os.environ | {"IRKERNELS_TARGET": target}
    command = [sys.executable, "-m", "irkernels.testing.fingerprint", str(threads)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, f"target {target}: {done.stderr[-2000:]}"
    return json.loads(done.stdout)


def test_every_target_and_thread_count(public: Callable) -> None:
    public("deterministic"), public("fit"), public("nn.Product"), public("optim.GroupRMSprop")
    targets = list(public("build_info")()["targets_available"])
    assert targets
    expected = fingerprint_of(targets[0], threads=1)
    assert len(expected) > 3 * len(PRODUCTS)
    for target, threads in [(targets[0], 2)] + [(target, 1) for target in targets[1:]]:
        found = fingerprint_of(target, threads)
        differing = [name for name, digest in expected.items() if found[name] != digest]
        assert not differing, f"{target} with {threads} threads differs from {targets[0]} with 1 in {differing}"
