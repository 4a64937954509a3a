"""python -m malformed.fuzz SECONDS SEED LAST [--keep]: mutates a kept corpus of equations and files, led by coverage.

An input is kept when it reaches a line of the package that none has reached before, or an error of a wording of its
own,
which stands for the native code's branches. Each input is written to the file LAST before it is tried, so that one that
ends the process is not lost. What comes out: one line of JSON with the executions, lines and wordings, and one for
each finding.
--keep writes the corpus back.
"""

from __future__ import annotations

import json
import random
import re
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import torch

import irkernels as irk
from malformed import files, judge, models
from malformed.unfit import _content, _text

CORPUS = Path(__file__).with_name("corpus.jsonl")
_MOST_KEPT = 150  # inputs of the kept corpus
_MOST_BYTES = 2000  # of one input: a file need not be long to be wrong
_MOST_ELEMENTS = 200_000  # of one operand, or of a product


class Fuzzer:
    def __init__(self, seed: int, corpus: list[tuple[str, bytes]]) -> None:
        self.random, self.corpus = random.Random(seed), list(corpus)
        self.lines: set[tuple[str, int]] = set()
        self.wordings: set[str] = set()
        self.findings: dict[str, str] = {}
        self.executions = self.refused = 0

    def run(self, seconds: float, last: Path) -> None:
        """The whole corpus once, then mutants until the time is over."""
        end = time.monotonic() + seconds
        for entry in list(self.corpus):
            self.attempt(entry, last)
        while time.monotonic() < end:
            entry = self.mutant()
            if self.attempt(entry, last):
                self.corpus.append(entry)

    def mutant(self) -> tuple[str, bytes]:
        kind, content = self.random.choice(self.corpus)
        if self.random.random() < 0.1:  # a piece of another input
            other = self.random.choice(self.corpus)[1]
            place, start = self.random.randint(0, len(content)), self.random.randint(0, len(other))
            content = content[:place] + other[start : start + self.random.randint(1, 30)] + content[place:]
        elif kind == "equation":
            content = _text(content.decode("utf-8", "replace"), self.random).encode("utf-8", "replace")
        else:
            content = _content(content, self.random)
        return kind, content[:_MOST_BYTES]

    def attempt(self, entry: tuple[str, bytes], last: Path) -> bool:
        """Whether the input reached something new."""
        last.write_text(json.dumps([entry[0], entry[1].decode("latin-1")]))
        before = len(self.lines), len(self.wordings)
        began = time.process_time()
        sys.settrace(self._trace)
        try:
            KINDS.get(entry[0], _file(entry[0]))(entry[1])
        except Exception as error:
            sys.settrace(None)
            self.refused += 1
            self.wordings.add(f"{type(error).__name__} {re.sub(_OWN, '#', str(error))[:60]}")
            if complaint := judge.complaint(error):
                self.findings.setdefault(complaint, entry[1].decode("latin-1"))
        finally:
            sys.settrace(None)
        if time.process_time() - began > _MOST_SECONDS:
            self.findings.setdefault(f"{entry[0]} took more than {_MOST_SECONDS} s", entry[1].decode("latin-1"))
        self.executions += 1
        return before != (len(self.lines), len(self.wordings))

    def _trace(self, frame: FrameType, event: str, argument: Any) -> Any:
        if not frame.f_code.co_filename.startswith(judge.PACKAGE):
            return None
        self.lines.add((frame.f_code.co_filename, frame.f_lineno))
        return self._trace


# what is the input's, not the wording's
_OWN = re.compile(r"""0x\w+|['"].*['"]|/\S+|\[.*\]|[-\d.]+|[^ -~]""", re.DOTALL)
_MOST_SECONDS = 2.0  # of CPU time: tracing lines slows a call down


def equation(content: bytes) -> None:
    """`equation|2,3|3,4`: the product of operands of these shapes, its gradients, and its plan in words."""
    text, *shapes = content.decode("utf-8", "replace").split("|")
    sizes = [tuple(int(n) for n in shape.split(",") if n.strip("-").isdecimal() and len(n) < 5) for shape in shapes]
    sizes = [tuple(min(n, 9) if n >= 0 else 1 for n in size)[:7] for size in sizes[:12]]
    operands = [torch.ones(size, dtype=torch.float64, requires_grad=True) for size in sizes]
    if sum(operand.numel() for operand in operands) < _MOST_ELEMENTS:
        irk.explain(text, *operands)
        letters = set(text.partition("->")[2])
        if 9 ** len(letters) < _MOST_ELEMENTS:
            irk.einsum(text, *operands).sum().backward()


def _file(name: str) -> Callable[[bytes], Any]:
    return lambda content: files.read(name, content)


KINDS: dict[str, Callable[[bytes], Any]] = {
    "equation": equation,
    "checkpoint": models.resumed,
    "trajectory": models.loaded,
}


def read_corpus() -> list[tuple[str, bytes]]:
    lines = CORPUS.read_text(encoding="utf-8").splitlines()
    return [(kind, content.encode("latin-1")) for kind, content in map(json.loads, lines)]


def write_corpus(entries: list[tuple[str, bytes]]) -> None:
    lines = [json.dumps([kind, content.decode("latin-1")]) for kind, content in entries]
    CORPUS.write_text("\n".join(lines) + "\n", encoding="utf-8")


def main(seconds: float, seed: int, keep: bool, last: Path) -> None:
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    fuzzer = Fuzzer(seed, read_corpus())
    fuzzer.run(seconds, last)
    told = {"executions": fuzzer.executions, "refused": fuzzer.refused, "lines": len(fuzzer.lines)}
    print(json.dumps(told | {"wordings": len(fuzzer.wordings), "corpus": len(fuzzer.corpus)}))
    for finding, content in fuzzer.findings.items():
        print(json.dumps({"finding": finding, "input": content}))
    if keep:
        write_corpus(fuzzer.corpus[:_MOST_KEPT])


if __name__ == "__main__":
    main(float(sys.argv[1]), int(sys.argv[2]), "--keep" in sys.argv, Path(sys.argv[3]))
