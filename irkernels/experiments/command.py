"""`irkernels reproduce`: experiments run, judged, drawn and written down."""

from __future__ import annotations

import argparse
import datetime
import inspect
import json
import os
import platform
import time
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

import torch

from irkernels.experiments import EXPERIMENTS, page
from irkernels.experiments.criteria import table
from irkernels.experiments.outcome import Outcome
from irkernels.experiments.parameters import parameters_of
from irkernels.experiments.session import Session, tag_of


def reproduce(options: argparse.Namespace, say: Callable[[str], Any], note: Callable[[str], Any]) -> bool:
    """Whether all experiments asked for pass.  say: progress, written over.  note: a line that stays.

    An interrupted command leaves its checkpoints in the folder; the same command goes on from there.
    """
    try:
        torch.empty(0, device=options.device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:  # torch's own words begin with what is missing
        raise ValueError(f"--device {options.device}: {str(error).splitlines()[0]}") from None
    names = list(EXPERIMENTS) if options.experiment == "all" else [options.experiment]
    if options.experiment == "all" and options.words:
        raise ValueError(
            f"unexpected {' '.join(options.words)}: an experiment's own parameters go with its name, not with all"
        )
    given = {name: getattr(options, name) for name in ("trials", "seed", "steps", "dtype")}
    asked = {name: parameters_of(EXPERIMENTS[name], options.scale, given, options.words) for name in names}
    options.out.mkdir(parents=True, exist_ok=True)
    machine = _machine(options.device)
    summaries, sessions = [], []
    for number, (name, parameters) in enumerate(asked.items(), 1):
        part = f"{number}/{len(asked)} " if len(asked) > 1 else ""
        session = Session(
            device=options.device,
            say=_after(part, say),
            folder=options.out,
            tag=tag_of(name, parameters, options.device),
        )
        sessions.append(session)
        summary, outcome = _one(name, EXPERIMENTS[name], parameters, session, options, machine)
        summaries.append(summary)
        if not options.json:
            print(_told(name, summary, outcome), flush=True)
        elif len(asked) > 1:
            note(f"{part}{name} {'passes' if outcome.passed else 'FAILS'} in {summary['seconds']} s")
    for session in sessions:
        session.clear()
    if options.json:
        print(json.dumps(summaries if options.experiment == "all" else summaries[0], allow_nan=False, default=str))
    return all(summary["pass"] for summary in summaries)


def _one(
    name: str,
    experiment: ModuleType,
    parameters: Mapping[str, Any],
    session: Session,
    options: argparse.Namespace,
    machine: str,
) -> tuple[dict[str, Any], Outcome]:
    start = time.perf_counter()
    outcome = experiment.run(session, **{**parameters, "dtype": getattr(torch, parameters["dtype"])})
    picture = options.out / f"{name}.png"
    experiment.draw(outcome, picture)
    summary = {
        "experiment": name,
        "title": experiment.TITLE,
        "paper": experiment.PAPER,
        "scale": options.scale,
        "criteria": [criterion.summary() for criterion in outcome.criteria],
        "pass": outcome.passed,
        "notes": outcome.notes,
        "parameters": dict(parameters),
        "settings": outcome.table(),
        "goal": outcome.goal,
        "picture": picture.name,
        "seconds": round(time.perf_counter() - start, 3),
        "training seconds": round(outcome.seconds, 3),
        "steps": outcome.updates,
        "steps a second": round(outcome.updates / outcome.seconds, 1),
        "eager": [run.eager.summary() for run in outcome.runs.values()],
        "eager seconds": round(outcome.eager_seconds, 1),
        "speed-up": round(outcome.speed_up, 2),
        "beside eager": outcome.beside_eager,
        "command": " ".join(["irkernels reproduce", name, "--scale", options.scale, *options.words]),
        "date": datetime.date.today().isoformat(),
        "machine": machine,
    }
    page.write(summary, inspect.getdoc(experiment) or "", options.out)
    return summary, outcome


def _after(part: str, say: Callable[[str], Any]) -> Callable[[str], Any]:
    return lambda text: say(part + text)


def _machine(device: str) -> str:
    """What times are of; the load tells a reader whether the machine was quiet."""
    threads = f"{torch.get_num_threads()} of {os.cpu_count()} threads"
    load = f", load average {os.getloadavg()[0]:.1f} before it began" if hasattr(os, "getloadavg") else ""
    return f"{device}, {threads}, {platform.machine()}, torch {torch.__version__}{load}"


def _told(name: str, summary: Mapping[str, Any], outcome: Outcome) -> str:
    verdict = "passes" if outcome.passed else "FAILS"
    lines = [f"{name}: {summary['title']}", table(outcome.criteria), *outcome.notes, outcome.beside_eager]
    return "\n".join([*lines, f"{name} {verdict}; wrote {name}.png, .md and .json in {summary['seconds']:.1f} s"])
