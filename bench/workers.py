"""Processes that prepare cases and take samples when asked.

torch's and JAX's threads would spin in each other's way in one process; a worker that waits on its pipe disturbs
nobody. A worker that dies or takes too long costs a note, never the run.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from bench.peer import Absent, Peer

_PATIENCE = 240.0  # seconds for one answer: compiling on a busy machine


class Failed(Exception):
    """A peer gave no figure; the text says why."""


def _peers() -> dict[str, Peer]:
    from bench.curvature_peers import CURVATURE_PEERS
    from bench.decomposition_peers import DECOMPOSITION_PEERS
    from bench.dynamics_peers import DYNAMICS_PEERS
    from bench.layer_peers import LAYER_PEERS
    from bench.peers import ALL_PEERS
    from bench.tensor_peers import TENSOR_PEERS
    from bench.training_peers import TRAINING_PEERS

    tables = {"operators": ALL_PEERS, "training": TRAINING_PEERS, "tensors": TENSOR_PEERS, "layer": LAYER_PEERS,
              "decompositions": DECOMPOSITION_PEERS, "curvature": CURVATURE_PEERS, "dynamics": DYNAMICS_PEERS}
    return {f"{table}/{peer.name}": peer for table, peers in tables.items() for peer in peers}


@dataclass(frozen=True)
class Question:
    """A method of _Bench, a peer's key, and the arguments that come after the key."""

    what: str
    key: str = ""
    arguments: tuple = ()


class _Bench:
    """What a worker holds: prepared cases and how many calls a sample of each takes."""

    def __init__(self) -> None:
        self.peers, self.cases, self.calls = _peers(), {}, {}

    def prepare(self, key: str, row: Any, dtype: str, mode: str) -> str:
        case = self.peers[key].case(row, dtype, mode)
        case.fresh(0)
        case.run()
        self.cases[key] = case
        return case.note

    def calibrate(self, key: str, seconds: float) -> None:
        from bench.timing import calls_for

        self.calls[key] = calls_for(self.cases[key].run, seconds)

    def sample(self, key: str, seed: int) -> float:
        """Seconds for one unit, on inputs fresh from `seed`, after one warm call."""
        from bench.timing import seconds_per_call

        case = self.cases[key]
        case.fresh(seed)
        case.run()
        return seconds_per_call(case.run, self.calls[key]) / case.units

    def check(self, key: str) -> None:
        """Raises where the last inputs give anything but finite numbers."""
        import numpy as np

        case = self.cases[key]
        if not all(np.isfinite(array).all() for array in case.results(case.run())):
            raise ArithmeticError("its results are not finite")

    def drop(self) -> None:
        self.cases.clear()
        self.calls.clear()


def _serve(connection: Connection, process: str, threads: int) -> None:
    if process == "torch":
        import torch

        torch.set_num_threads(threads)
    bench = _Bench()
    while (question := connection.recv()) is not None:
        try:
            arguments = (question.key, *question.arguments) if question.key else question.arguments
            connection.send(("answer", getattr(bench, question.what)(*arguments)))
        except Absent as reason:
            connection.send(("failed", str(reason)))
        except Exception as error:  # a peer's own failure is reported beside the table
            connection.send(("failed", f"{type(error).__name__}: {error}".splitlines()[0][:160]))


class Worker:
    """One process on `threads` cores; started at the first question and again after it died."""

    def __init__(self, process: str, threads: int) -> None:
        self.process, self.threads = process, threads
        self._running: Any = None
        self._connection: Connection | None = None

    def ask(self, what: str, key: str = "", *arguments: Any) -> Any:
        """The answer.  Raises Failed with the reason where there is none."""
        if self._running is None:
            self._start()
        try:
            self._connection.send(Question(what, key, arguments))
            if not self._connection.poll(_PATIENCE):
                self.stop()
                raise Failed(f"no answer to {what} within {_PATIENCE:.0f} s")
            kind, answer = self._connection.recv()
        except (EOFError, OSError) as error:
            self.stop()
            raise Failed(f"its process ended while asked to {what}") from error
        if kind == "failed":
            raise Failed(answer)
        return answer

    def forget(self) -> None:
        """Drops what was prepared, if the process lives."""
        if self._running is not None:
            try:
                self.ask("drop")
            except Failed:
                self.stop()

    def stop(self) -> None:
        if self._running is None:
            return
        self._running.terminate()
        self._running.join()
        self._connection.close()
        self._running = self._connection = None

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        # torch.compile's own pool of compilers would live on beside the samples
        settings = {"OMP_NUM_THREADS": str(self.threads), "TORCHINDUCTOR_COMPILE_THREADS": "1"}
        with _cores(self.threads), _environment(**settings):
            self._running = context.Process(target=_serve, args=(theirs, self.process, self.threads), daemon=True)
            self._running.start()
        theirs.close()


class _cores:
    """Within it, processes that start are confined to the first `count` cores, where the system can do that."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __enter__(self) -> None:
        if hasattr(os, "sched_setaffinity"):
            self.before = os.sched_getaffinity(0)
            os.sched_setaffinity(0, sorted(self.before)[: self.count])

    def __exit__(self, *_: object) -> None:
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, self.before)


class _environment:
    def __init__(self, **values: str) -> None:
        self.values = values

    def __enter__(self) -> None:
        self.before = {name: os.environ.get(name) for name in self.values}
        os.environ.update(self.values)

    def __exit__(self, *_: object) -> None:
        for name, value in self.before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


class Workers:
    """One worker for each kind of process and number of cores that the peers of a run need."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._workers: dict[tuple[str, int], Worker] = {}

    def of(self, peer: Peer) -> Worker:
        kind = (peer.process, peer.cores or self.threads)
        return self._workers.setdefault(kind, Worker(*kind))

    def all(self) -> Iterable[Worker]:
        return self._workers.values()

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers.values():
            worker.stop()
