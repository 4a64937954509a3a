"""The same bits: of two runs, of any thread count, beside any other trials, from any strides, on every CPU target."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor

import irkernels as irk
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


def test_threads_of_python_that_race() -> None:
    """First calls and repeated ones, eight at a time: the bits of the serial calls."""
    products = [each for each in PRODUCTS if each.elements < 5_000]
    operands = {each.name: each.operands(seed=8) for each in products}

    def work(first: int) -> list[tuple[Product, dict[str, Tensor]]]:
        order = products[first:] + products[:first]
        return [(each, every_result(each, operands[each.name])) for each in order]

    with ThreadPoolExecutor(8) as pool:
        raced = list(pool.map(work, range(0, 64, 8)))
    for results in raced:
        assert len(results) == len(products)
    serial = dict(zip((each.name for each in products), (result for _, result in work(0)), strict=True))
    for product, result in (each for results in raced for each in results):
        assert_same_bits(result, serial[product.name], f"raced, {product}")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork")
def test_a_forked_child_computes_the_same() -> None:
    """After a parallel call in the parent: the child must neither hang nor differ."""
    trials = [torch.randn(64, 30, 30) for _ in range(3)]

    def run() -> bytes:
        return bits(irk.einsum("...ij,...jk,...kl->...il", *trials))

    expected = run()
    child = os.fork()
    if child == 0:
        os._exit(0 if run() == expected else 1)
    for _ in range(600):
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            assert os.waitstatus_to_exitcode(status) == 0
            return
        time.sleep(0.1)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    pytest.fail("the forked child hangs")


@each_product
def test_threads(product: Product, threads: Callable) -> None:
    for dtype in DTYPES:
        operands = product.operands(dtype=dtype)
        with irk.deterministic():
            threads(1)
            alone = every_result(product, operands)
            for count in (2, 3):
                threads(count)
                assert_same_bits(every_result(product, operands), alone, f"{count} threads, {product}, {dtype}")


@each_product
def test_strides(product: Product) -> None:
    for dtype in DTYPES:
        for how in STRIDES:
            operands = product.with_strides(how).operands(dtype=dtype)
            plain = [operand.clone(memory_format=torch.contiguous_format) for operand in operands]
            with irk.deterministic():
                expected = every_result(product, plain)
                assert_same_bits(every_result(product, operands), expected, f"{how} operands of {product}, {dtype}")


@pytest.mark.parametrize(
    "product", [each for each in FAMILIES if each.trials is None and each.elements < 5_000], ids=lambda each: each.name
)
def test_a_trial_alone_is_the_trial_among_others(product: Product) -> None:
    for dtype in DTYPES[:2]:
        many = product.with_trials(TRIALS[-1]).operands(dtype=dtype)
        with irk.deterministic():
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


def test_every_target_and_thread_count() -> None:
    targets = irk.build_info()["targets_available"]
    assert targets
    expected = fingerprint_of(targets[0], threads=1)
    assert len(expected) > 3 * len(PRODUCTS)
    assert expected.pop("target") == targets[0]
    for target, threads in [(targets[0], 2)] + [(target, 1) for target in targets[1:]]:
        found = fingerprint_of(target, threads)
        assert found["target"] == target
        untold = expected.keys() - found.keys()  # the emulated threads have no training of their own
        assert target == "simt" or not untold, f"{target} does not tell {untold}"
        assert all(name.startswith("trajectory") for name in untold), f"{target} does not tell {untold}"
        differing = [name for name, digest in expected.items() if found.get(name, digest) != digest]
        assert not differing, f"{target} with {threads} threads differs from {targets[0]} with 1 in {differing}"
