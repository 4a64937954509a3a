"""A seed's call: a valid one, and one to three places of it spoilt."""

from __future__ import annotations

import random

import torch

from malformed import Call
from malformed.diagnostics import DIAGNOSTICS
from malformed.files import FILES
from malformed.models import MODELS
from malformed.unfit import ANYTHING, unfit
from malformed.verbs import FACTORED, VERBS

CALLS = {**VERBS, **VERBS, **FACTORED, **MODELS, **DIAGNOSTICS, **FILES}
_NAMES = (*VERBS, *VERBS, *VERBS, *FACTORED, *MODELS, *DIAGNOSTICS, *FILES, *FILES)  # the verbs and files more often
# Places of how often something is done: a large number there is no mistake, and takes its time.
_OFTEN: tuple[int | str, ...] = ("steps", "depth", "iterations", "sweeps", "restarts", "samples")
_COUNTS = {
    "balanced_velocity": (2,), "singular_value_velocity": (2,), "balanced_hadamard_velocity": (2,),
    "MatrixChain": (2, "trials"),
    "balanced_component_velocity": (2,), "balanced_vector_norm_velocity": (2, 3), "HadamardChain": (1,),
    "cp_rank": (1, *_OFTEN),
    "early_stopping_penalty": (2,), "tangent_kernel": (), "integrate": (2,),
}  # fmt: skip


def valid(name: str) -> Call:
    torch.manual_seed(0)
    function, arguments, keywords = CALLS[name]()
    return Call(name, function, list(arguments), dict(keywords))


def malformed(seed: int) -> Call:
    rng = random.Random(seed)
    call = valid(rng.choice(_NAMES))
    places = [*range(len(call.arguments)), *call.keywords]
    rng.shuffle(places)
    for place in places[: rng.choice((1, 1, 1, 2, 3))]:
        held = call.keywords if isinstance(place, str) else call.arguments
        changed = unfit(held[place], rng)
        while place in _COUNTS.get(call.name, _OFTEN) and _is_many(changed):
            changed = unfit(held[place], rng)
        held[place] = changed
    if rng.random() < 0.1:
        _change_number(call, rng)
    return call


def _change_number(call: Call, rng: random.Random) -> None:
    """One operand too many, or too few."""
    if not call.name.startswith(("einsum", "entries", "gradients", "completion", "log_", "explain", "hvp")):
        return
    if len(call.arguments) > 1 and rng.random() < 0.5:
        del call.arguments[rng.randrange(1, len(call.arguments))]
    else:
        call.arguments.insert(rng.randint(1, len(call.arguments)), rng.choice(ANYTHING)())


def _is_many(value: object) -> bool:
    return isinstance(value, (int, float)) and value > 10_000
