"""python -m malformed FIRST COUNT: answers the calls of these seeds, one line of JSON each finding; see runner.py."""

from __future__ import annotations

import contextlib
import gc
import json
import resource
import sys
import time
import warnings

import torch
from torch import Tensor

from malformed.cases import CALLS, malformed, valid
from malformed.judge import complaint

_MOST_SECONDS = 1.0  # of CPU time, for one call,
_ELEMENT_SECONDS = 1e-8  # and for each element of its result
_ADDRESSES = 8 << 30  # bytes: what no memory holds must fail, not fill the machine
_WARM = 0.5  # share of the calls after which memory must stay


def answer(seed: int) -> tuple[bool, str | None]:
    """Whether the call was refused, and what is wrong with how it ended."""
    call = malformed(seed)
    began, allowed = time.process_time(), _MOST_SECONDS
    try:
        result = call.function(*call.arguments, **call.keywords)
        refused, found = False, None
        if isinstance(result, Tensor):  # repeated operands can make a call large that is not malformed
            allowed += _ELEMENT_SECONDS * result.numel()
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        refused, found = True, complaint(error)
    seconds = time.process_time() - began
    if seconds > allowed:
        found = f"{found or ''} took {seconds:.1f} s"
    return refused, found and f"{call.name}: {found}"


def resident() -> int:
    """MiB."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize() >> 20


def main(first: int, count: int) -> None:
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    for name in CALLS:  # what torch imports at a first call counts as no call's time or memory
        call = valid(name)
        with contextlib.suppress(FileNotFoundError):
            call.function(*call.arguments, **call.keywords)
    resource.setrlimit(resource.RLIMIT_AS, (_ADDRESSES, _ADDRESSES))
    refused, before = 0, 0
    for i in range(count):
        seed = first + i
        print(f"seed {seed}", flush=True)  # the last one printed is the one that killed
        told, found = answer(seed)
        refused += told
        if found:
            print(json.dumps({"seed": seed, "finding": found}), flush=True)
        if i == int(count * _WARM):
            gc.collect()
            before = resident()
    gc.collect()
    print(json.dumps({"calls": count, "refused": refused, "grown_mib": resident() - before}), flush=True)


main(int(sys.argv[1]), int(sys.argv[2]))
