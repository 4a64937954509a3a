"""Small stacks: everything runs in a thread of 256 KB, and nothing recurses along the size of its input.

Each case has a process of its own, which an overflown stack ends. The other threads of own kernels get no more either.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

STACK = 256 * 1024
# Calls `case` of the code before it in a thread with a small stack.
IN_A_SMALL_THREAD = """
import sys, threading, traceback
torch.set_num_threads(2)
failed = []
def guarded():
    try:
        case()
    except BaseException:
        failed.append(traceback.format_exc())
threading.stack_size(int(sys.argv[1]))
thread = threading.Thread(target=guarded)
thread.start()
thread.join()
sys.exit(failed[0] if failed else 0)
"""
REGISTRY = """
import torch, irkernels as irk
from irkernels.testing import PRODUCTS, sample_coordinates
def case():
    ran = 0
    for product in PRODUCTS:
        at = sample_coordinates(product, 5, seed=0)
        for dtype in product.dtypes:
            factors = [operand.detach().clone().requires_grad_() for operand in product.operands(0, dtype)]
            value = irk.einsum(product.equation, *factors)
            value.sum().backward()
            assert all(factor.grad.shape == factor.shape for factor in factors)
            entries = irk.entries(product.equation, *factors, at=at)
            torch.autograd.grad(entries.sum(), factors, create_graph=True, allow_unused=True)
            irk.gradients(product.equation, *factors, cotangent=value.detach())
            ran += 1
    assert ran > 200, ran
"""
LARGE = """
import torch, irkernels as irk
def case():
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        for shapes in (((90, 10, 300), (300, 300), (300, 80)), ((90, 10, 31), (31, 290), (290, 80))):
            factors = [torch.randn(shape, dtype=dtype).transpose(0, -1).requires_grad_() for shape in shapes]
            value = irk.einsum("jti,kj,lk->tli", *factors)  # every operand is packed
            value.sum().backward()
"""
DEEP = """
import functools, torch, irkernels as irk
def case():
    chain = [(torch.eye(3) + 0.1 * torch.randn(3, 3)).double().requires_grad_() for _ in range(128)]
    cotangent = torch.randn(3, 3, dtype=torch.float64)
    value, expected = irk.multi_dot(chain), functools.reduce(torch.matmul, chain)
    close(value, expected)
    gradients = (torch.autograd.grad(product, chain, cotangent) for product in (value, expected))
    for found, wanted in zip(*gradients):
        close(found, wanted)
    for dtype in (torch.float64, torch.bfloat16):
        vectors = [(1 + 0.05 * torch.randn(7)).to(dtype).requires_grad_() for _ in range(1500)]
        value = irk.einsum(",".join("i" * 1500) + "->i", *vectors)
        exact = torch.stack([vector.detach().double() for vector in vectors]).prod(0)
        close(value, exact)
        found = torch.autograd.grad(value.sum(), vectors)
        for position in (0, 1, 700, 1498, 1499):
            close(found[position], exact / vectors[position].detach().double())
    model = irk.nn.MatrixChain(4, 4, depth=51, init="identity", dtype=torch.float64)
    observed = irk.Observed(torch.tensor([[0, 1], [2, 3]]), torch.ones(2, dtype=torch.float64), (4, 4))
    irk.fit(model, observed, torch.optim.SGD(model.parameters(), lr=1e-3), steps=3, progress=False)
def close(found, wanted):
    most = max(torch.finfo(found.dtype).eps, 1e-11)
    assert float((found.detach().double() - wanted.detach().double()).abs().max() / wanted.detach().abs().max()) <= most
"""


@pytest.mark.parametrize("case", (REGISTRY, LARGE, DEEP), ids=("registry", "packed blocks", "deep trees"))
def test_a_stack_of_256_kilobytes_is_enough(case: str) -> None:
    settings = os.environ | {"OMP_STACKSIZE": "256k", "OMP_NUM_THREADS": "2"}
    command = [sys.executable, "-c", case + IN_A_SMALL_THREAD, str(STACK)]
    done = subprocess.run(command, env=settings, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, f"exit status {done.returncode}\n{done.stderr[-3000:]}"


def test_more_operands_than_the_stack_holds_are_refused() -> None:
    code = "import torch, irkernels as irk\nn = 2001\nirk.einsum(','.join('i' * n) + '->i', *[torch.ones(2)] * n)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert done.stderr.strip().endswith("ValueError: a product has at most 2000 operands, got 2001"), done.stderr
