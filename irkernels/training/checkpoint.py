"""Checkpoints: written whole or not at all, loaded without running code, checked before anything is taken."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

_VERSION = 1


class CheckpointError(ValueError):
    """A file that is not what it should be: damaged, or of another kind or version."""


def write(path: str | os.PathLike, kind: str, body: dict[str, Any]) -> None:
    """body under path, atomically: whoever reads sees the old file or the new one, also after a crash."""
    path = Path(path)
    content = {"format": f"irkernels.{kind}", "version": _VERSION, "digest": digest(body), "body": body}
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            torch.save(content, file)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())  # mkstemp's own mode would hide the file from everyone else
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    _sync_folder(path.parent)


def read(path: str | os.PathLike, kind: str) -> dict[str, Any]:
    """What `write` was given. Raises OSError (no such file) and CheckpointError (not such a file, or damaged)."""
    with open(path, "rb") as file:
        try:
            content = torch.load(file, map_location="cpu", weights_only=True)
            found, version, expected = content["format"], content["version"], content["digest"]
            actual = digest(content["body"])
        except Exception as error:  # a damaged file fails in as many ways as it has bytes
            raise CheckpointError(
                f"{os.fspath(path)!r} is damaged or not written by irkernels: {error!r:.200}"
            ) from error
    if found != f"irkernels.{kind}" or version != _VERSION:
        raise CheckpointError(
            f"{os.fspath(path)!r} is a {found} of version {version}, expected irkernels.{kind} of version {_VERSION}"
        )
    if actual != expected:
        raise CheckpointError(f"{os.fspath(path)!r} is damaged: its contents do not have the digest written with them")
    return content["body"]


def same_settings(path: str | os.PathLike, saved: dict[str, Any], now: dict[str, Any]) -> None:
    """Raises ValueError naming the first setting in which the run to be continued differs."""
    for name, value in now.items():
        if name not in saved or saved[name] != value:
            raise ValueError(
                f"resume: {os.fspath(path)!r} was written with {name} {saved.get(name)}, but now it is {value};"
                " for another run from these parameters, call fit without resume"
            )


def digest(body: Any) -> str:
    """A hash of nested dicts, lists, numbers, strings and tensors."""
    hashed = hashlib.blake2b(digest_size=16)
    _feed(hashed, body)
    return hashed.hexdigest()


def _feed(hashed: Any, value: Any) -> None:
    if isinstance(value, Tensor):
        hashed.update(f"tensor {value.dtype} {tuple(value.shape)} {_sum_of_bits(value)}".encode())
    elif isinstance(value, dict):
        hashed.update(f"dict {len(value)}".encode())
        for key, each in value.items():
            hashed.update(f"{key!r}:".encode())
            _feed(hashed, each)
    elif isinstance(value, (list, tuple)):
        hashed.update(f"list {len(value)}".encode())
        for each in value:
            _feed(hashed, each)
    else:
        hashed.update(f"{type(value).__name__} {value!r};".encode())


def _sum_of_bits(tensor: Tensor) -> tuple[int, int]:
    """Two exact sums, plain and weighted by position, of a tensor's bits; integers wrap, so the order is free."""
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    integers = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[flat.element_size()]
    bits = flat.view(integers).to(torch.int64)
    odd = torch.arange(bits.numel(), dtype=torch.int64) * 2 + 1  # odd weights lose no bit
    return int(bits.sum()), int((bits * odd).sum())


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current


def _sync_folder(folder: Path) -> None:
    # the rename itself is on disk only once the folder is; not every system lets a folder be opened
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
