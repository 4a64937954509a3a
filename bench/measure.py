"""The peers of one row, measured side by side: round by round, each on fresh inputs, in a rotating order."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from bench.peer import Peer
from bench.timing import quartiles
from bench.workers import Failed, Workers


@dataclass(frozen=True)
class Effort:
    """How long a sample takes, how long a row, and how many rounds at least and at most."""

    sample: float
    row: float
    rounds: tuple[int, int]


FULL = Effort(sample=0.01, row=9.0, rounds=(7, 41))
QUICK = Effort(sample=0.002, row=0.7, rounds=(3, 7))


@dataclass
class Measurement:
    """Seconds for one unit, per peer and round; a peer without figures has a note that says why."""

    row: Any
    seconds: dict[str, list[float]] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)

    def quartiles(self, peer: str) -> tuple[float, float, float]:
        return quartiles(self.seconds[peer])

    def median(self, peer: str) -> float:
        return self.quartiles(peer)[1]

    def best(self, peers: list[str]) -> str | None:
        """Of these peers the one with the smallest median."""
        return min((peer for peer in peers if peer in self.seconds), key=self.median, default=None)

    def ratio(self, peer: str, own: str) -> tuple[float, float, float]:
        """Quartiles of the peer's time over ours, round by round: a slow moment of the machine counts for both."""
        return quartiles([theirs / ours for theirs, ours in zip(self.seconds[peer], self.seconds[own])])


def side_by_side(
    workers: Workers, table: str, row: Any, peers: list[Peer], dtype: str, mode: str, effort: Effort
) -> Measurement:
    """Never raises for a peer's failure: it becomes a note of the measurement."""
    done = Measurement(row)
    taking_part: list[Peer] = []
    one_round = 0.0
    for peer in peers:
        worker, key = workers.of(peer), f"{table}/{peer.name}"
        try:
            note = worker.ask("prepare", key, row, dtype, mode)
            worker.ask("calibrate", key, effort.sample)
            start = time.perf_counter()
            worker.ask("sample", key, 0)
            one_round += time.perf_counter() - start
        except Failed as reason:
            done.notes[peer.name] = str(reason)
            continue
        taking_part.append(peer)
        if note:
            done.notes[peer.name] = note
    least, most = effort.rounds
    rounds = max(least, min(most, int(effort.row / max(one_round, 1e-9))))
    for turn in range(rounds):
        order = taking_part[turn % len(taking_part) :] + taking_part[: turn % len(taking_part)] if taking_part else []
        for peer in order:
            _take(workers, table, peer, turn + 1, done)
        taking_part = [peer for peer in taking_part if peer.name in done.seconds]
    for peer in taking_part:
        try:
            workers.of(peer).ask("check", f"{table}/{peer.name}")
        except Failed as reason:
            done.notes[peer.name] = str(reason)
            del done.seconds[peer.name]
    for worker in workers.all():
        worker.forget()
    return done


def _take(workers: Workers, table: str, peer: Peer, seed: int, done: Measurement) -> None:
    try:
        seconds = workers.of(peer).ask("sample", f"{table}/{peer.name}", seed)
        done.seconds.setdefault(peer.name, []).append(seconds)
    except Failed as reason:
        done.notes[peer.name] = str(reason)
        done.seconds.pop(peer.name, None)
