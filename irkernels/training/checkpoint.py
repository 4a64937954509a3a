"""Checkpoints: written whole or not at all, loaded without running code, checked before anything is taken."""

from __future__ import annotations

import contextlib
import glob
import hashlib
import io
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

_VERSION = 2
_SEAL = b"irkernels sealed"  # ends a file, followed by the hash of all that comes before it
_HASH_BYTES = 32
_SUFFIX = ".unfinished"  # of the temporary file


class CheckpointError(ValueError):
    """A file that is not what it should be: damaged, or of another kind or version."""


def write(path: str | os.PathLike[str], kind: str, body: dict[str, Any]) -> None:
    """body under path, atomically: whoever reads sees the old file or the new one, also after a crash."""
    path = Path(path)
    handle, temporary = tempfile.mkstemp(prefix=_prefix(path), suffix=_SUFFIX, dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            sealed = _Sealed(file)
            torch.save({"format": f"irkernels.{kind}", "version": _VERSION, "body": body}, sealed)  # type: ignore[arg-type]
            sealed.close()
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())  # mkstemp's own mode would hide the file from everyone else
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    _sync_folder(path.parent)


def read(path: str | os.PathLike[str], kind: str) -> dict[str, Any]:
    """What `write` was given. Raises OSError (no such file) and CheckpointError (not such a file, or damaged).

    Nothing of a file is interpreted before its hash has been found right, and no code in it is ever run.
    """
    content = Path(path).read_bytes()
    end = len(content) - len(_SEAL) - _HASH_BYTES
    payload = memoryview(content)[: max(end, 0)]
    if end < 0 or content[end:-_HASH_BYTES] != _SEAL or _hash(payload).digest() != content[-_HASH_BYTES:]:
        raise CheckpointError(f"{os.fspath(path)!r} is damaged or not written by irkernels")
    try:
        found = torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)
        kind_found, version = found["format"], found["version"]
        body: dict[str, Any] = found["body"]
    except Exception as error:  # sealed by somebody, but not by write()
        raise CheckpointError(f"{os.fspath(path)!r} was not written by irkernels: {error!r:.200}") from error
    if kind_found != f"irkernels.{kind}" or version != _VERSION:
        raise CheckpointError(
            f"{os.fspath(path)!r} is a {kind_found} of version {version},"
            f" expected irkernels.{kind} of version {_VERSION}"
        )
    return body


def clear_unfinished(path: str | os.PathLike[str]) -> None:
    """Removes what runs killed while writing this file have left beside it."""
    path = Path(path)
    for left in path.parent.glob(f"{glob.escape(_prefix(path))}*{_SUFFIX}"):
        with contextlib.suppress(OSError):
            left.unlink()


class _Sealed:
    """A file that ends with the hash of what was written to it; torch.load and zip readers look past that."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._hash = file, _hash()

    def write(self, data: Any) -> int:
        self._hash.update(data)
        return self._file.write(data)

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        self._file.write(_SEAL + self._hash.digest())


def _hash(data: Any = b"") -> Any:
    return hashlib.blake2b(data, digest_size=_HASH_BYTES)


def _prefix(path: Path) -> str:
    return f".{path.name}."


def same_settings(path: str | os.PathLike[str], saved: dict[str, Any], now: dict[str, Any]) -> None:
    """Raises ValueError naming the first setting in which the run to be continued differs."""
    for name, value in now.items():
        if name not in saved or saved[name] != value:
            raise ValueError(
                f"resume: {os.fspath(path)!r} was written with {name} {saved.get(name)}, but now it is {value};"
                " for another run from these parameters, call fit without resume"
            )


Digest = Callable[[Any], str]


def no_digest(body: Any) -> str:
    """Of a run that no other is compared with: reading all its tensors would take longer than a few steps."""
    return "-"


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
    odd = torch.arange(bits.numel(), dtype=torch.int64, device=bits.device) * 2 + 1  # odd weights lose no bit
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
