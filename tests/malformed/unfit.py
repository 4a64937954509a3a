"""What stands in the place of an argument: something like it that is slightly wrong, or something else altogether."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

import irkernels as irk


class Hostile:
    """Every question it is asked fails."""

    def __getattr__(self, name: str) -> Any:
        raise ValueError(f"hostile: {name}")

    def __len__(self) -> int:
        raise ValueError("hostile: len")

    def __iter__(self) -> Any:
        raise ValueError("hostile: iter")


class Subclass(Tensor):
    pass


ANYTHING: tuple[Callable[[], Any], ...] = (
    lambda: None, object, lambda: "x", lambda: "", lambda: b"ij", lambda: 3, lambda: 0, lambda: -1, lambda: 2**31,
    lambda: 2**63 - 1, lambda: 2**63, lambda: -(2**63), lambda: 10**30, lambda: 1.5, lambda: math.nan, lambda: math.inf,
    lambda: -math.inf, lambda: 1j, lambda: True, list, dict, set, tuple, lambda: [None], lambda: [[]],
    lambda: {0: None},
    lambda: (1, "a"), lambda: lambda *_: 0, lambda: Tensor, lambda: torch.float32, lambda: torch.int8, lambda: Ellipsis,
    lambda: slice(0, 2), lambda: range(2), lambda: iter(()), lambda: (i for i in [1, 2]), Hostile,
    lambda: np.ones((2, 3)), lambda: np.array(["a"]), lambda: np.float64(1.0), lambda: np.array([object()]),
    lambda: torch.tensor(1.0), lambda: torch.ones(0), lambda: torch.ones(2, 3), lambda: torch.ones(2, 4).long(),
    lambda: torch.ones(2, 3, device="meta"), lambda: torch.ones(2, 3).to_sparse(), lambda: torch.ones(1, 1, 1, 1, 1),
    lambda: torch.nn.Parameter(torch.ones(3, 4)), lambda: torch.ones(2, 3).as_subclass(Subclass),
    lambda: torch.ones(1).expand(2**40), lambda: torch.full((2, 3), math.nan), lambda: torch.device("meta"),
    lambda: irk.Observed([[0, 0]], [1.0], (2, 4)), lambda: irk.Coordinates([[1]], (5,)),
    lambda: irk.nn.MatrixChain(2, 4, 2, seed=0), lambda: ZeroDivisionError, lambda: "\ud800", lambda: "\0",
)  # fmt: skip


def unfit(given: Any, rng: random.Random) -> Any:
    """Something else for a value: a third of the time anything at all."""
    near = next((change for kind, change in _NEAR if isinstance(given, kind)), None)
    if near is None or rng.random() < 1 / 3:
        return rng.choice(ANYTHING)()
    return near(given, rng)


def _tensor(given: Tensor, rng: random.Random) -> Any:
    axis = rng.randrange(given.dim()) if given.dim() else None
    changes: list[Callable[[], Any]] = [
        lambda: given.unsqueeze(rng.randint(0, given.dim())), lambda: given.flatten(), lambda: given.sum(),
        lambda: given.double(), lambda: given.half(), lambda: given.long(), lambda: given.bool(),
        lambda: given.to(torch.complex64),
        lambda: given.to("meta"), lambda: given.detach().numpy(), lambda: given.tolist(), lambda: given.new_empty(0),
        lambda: given.detach().to_sparse(), lambda: given.detach().as_subclass(Subclass), lambda: given * math.nan,
        lambda: given * -1, lambda: given + 1, lambda: given.transpose(0, -1) if given.dim() else given,
        lambda: given.expand(7, *given.shape), lambda: _freed(given), lambda: [given],
        lambda: given.flip(0) if given.dim() else given,
        lambda: given.detach().to(torch.uint8), lambda: given.detach().clone().fill_(2**62),
        lambda: torch.complex(given.float(), given.float()).conj().imag, lambda: given.detach().to(torch.float8_e5m2),
    ]  # fmt: skip
    if axis is not None:
        size = given.shape[axis]
        changes += [
            lambda: given.narrow(axis, 0, rng.randint(0, size)), lambda: given.select(axis, 0) if size else given,
            lambda: torch.cat((given, given), axis),
            lambda: torch.cat((given, given.narrow(axis, 0, min(size, 1))), axis),
            lambda: given.narrow(axis, 0,
                min(size, 1)).expand(*[rng.choice((1, size, 3, 2**33)) if a == axis and size else n
                                                                for a, n in enumerate(given.shape)]),
        ]  # fmt: skip
    return rng.choice(changes)()


def _freed(given: Tensor) -> Tensor:
    """The tensor after its memory was given back, as sharding wrappers leave it between steps."""
    copied = given.detach().clone()
    copied.untyped_storage().resize_(0)
    return copied


def _text(given: str, rng: random.Random) -> str:
    """An equation or a name with characters dropped, doubled, swapped or put in."""
    text = list(given)
    for _ in range(rng.randint(1, 3)):
        place = rng.randint(0, len(text))
        kind = rng.randrange(4)
        if kind == 0 and text:
            del text[min(place, len(text) - 1)]
        elif kind == 1:
            text.insert(place, rng.choice("ijklA.,->…µ 0\n\t\0\x01;+\ud800\U0001f600"))
        elif kind == 2:
            text[place:place] = rng.choice(("->", "...", ",", "ii", "\x010+1", "\x01;;", "\x0199999999999"))
        elif text:
            other = rng.randrange(len(text))
            place = min(place, len(text) - 1)
            text[place], text[other] = text[other], text[place]
    return "".join(text)


def _number(given: int | float, rng: random.Random) -> Any:
    return rng.choice(
        (-given, given + 1, given - 1, -1, 0, 1, 2**31, 2**32, 2**62, 2**63 - 1, 2**64, 1e308, 5e-324, math.nan,
            math.inf,
         -math.inf, str(given), [given], None, True, torch.tensor(min(given, 9)), np.float32(min(given, 9)))
    )  # fmt: skip


def _sequence(given: list[Any] | tuple[Any, ...], rng: random.Random) -> Any:
    changed = list(given)
    kind = rng.randrange(7)
    if kind == 0 and changed:
        del changed[rng.randrange(len(changed))]
    elif kind == 1:
        changed.insert(rng.randint(0, len(changed)), rng.choice(ANYTHING)())
    elif kind == 2 and changed:
        changed.append(rng.choice(changed))
    elif kind == 3:
        changed = [changed]
    elif kind == 4 and changed:
        changed *= rng.randint(2, 40)
    elif changed:
        place = rng.randrange(len(changed))
        changed[place] = unfit(changed[place], rng)
    return tuple(changed) if isinstance(given, tuple) else changed


def _mapping(given: dict[Any, Any], rng: random.Random) -> Any:
    changed = dict(given)
    if changed and rng.random() < 0.6:
        key = rng.choice(list(changed))
        changed[key] = unfit(changed[key], rng)
    elif changed and rng.random() < 0.5:
        del changed[rng.choice(list(changed))]
    else:
        changed[rng.choice(("x", 7, -1, None, True))] = rng.choice(ANYTHING)()
    return changed


def _content(given: bytes, rng: random.Random) -> Any:
    """A file's content with bytes changed, cut out, put in, doubled."""
    content = bytearray(given)
    for _ in range(rng.randint(1, 4)):
        place = rng.randint(0, len(content))
        kind = rng.randrange(6)
        if kind == 0:
            content[place : place + 1] = bytes([rng.randrange(256)])
        elif kind == 1:
            del content[place : place + rng.randint(1, 20)]
        elif kind == 2:
            content[place:place] = rng.choice(_PIECES)
        elif kind == 3:
            del content[place:]
        elif kind == 4:
            content[place:place] = content[: rng.randint(0, 60)]
        elif place < len(content):
            content[place] ^= 1 << rng.randrange(8)
    return bytes(content)


_PIECES = (b"\n", b",", b" ", b"-", b"1e999", b"nan", b"99999999999999999999", b"9223372036854775807", b"\0",
    b"\xff\xfe",
           b'"', b"# shape: 9 9\n", b"0", b"-1", b"\r", b"\t", b"inf", b";", b"\xf0\x9f\x98\x80", b"1_0",
           "١".encode())  # fmt: skip

_NEAR: tuple[tuple[Any, Callable[[Any, random.Random], Any]], ...] = (
    (Tensor, _tensor), (str, _text), (bool, lambda given, rng: rng.choice((not given, None, "yes", 2))),
    ((int, float), _number),
    ((list, tuple), _sequence), (dict, _mapping), (bytes, _content),
)  # fmt: skip
