"""Whether a malformed call was answered as it should: by a result, or by an error of ours that a reader understands."""

from __future__ import annotations

import traceback
from pathlib import Path

import irkernels as irk

PACKAGE = str(Path(irk.__file__).parent)
ALLOWED = (ValueError, TypeError, IndexError, OverflowError, MemoryError, NotImplementedError, OSError)
_LONGEST = 3000  # characters of a message
_CLEAR = ("alloc", "not enough memory", "Storage size calculation overflowed", "device type", "device string",
    "accelerator device", "Found no NVIDIA driver", "Device string", "Device index", "unpacking string")
_UNCLEAR = ("incompatible function arguments", "incompatible constructor", "INTERNAL ASSERT", "Unable to cast", "(): ")


def complaint(error: BaseException) -> str | None:
    """What is wrong with this error as an answer; None where it is a good one."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f"{Path(frames[-1].filename).name}:{frames[-1].lineno} {frames[-1].line}"
    if str(error).startswith("hostile"):
        return None  # the argument's own error
    if not isinstance(error, Exception):
        return f"{type(error).__name__} is no Exception"
    if isinstance(error, RuntimeError) and frames[-1].filename.startswith(PACKAGE) and _raised(frames[-1].line):
        return None
    if isinstance(error, RuntimeError) and any(word in str(error) for word in _CLEAR):
        return None  # torch's own, as clear as ours would be
    own = [frame for frame in frames if not frame.filename.endswith("torch/_tensor.py")]  # subclasses pass through it
    if "torch/optim" in own[-1].filename:
        return None  # torch's optimizers check their own arguments
    if not isinstance(error, ALLOWED):
        return f"{type(error).__name__} at {where}: {error!s:.200}"
    if not str(error) or len(str(error)) > _LONGEST or any(word in str(error) for word in _UNCLEAR):
        return f"unclear {type(error).__name__} at {where}: {error!s:.300}"
    return None


def _raised(line: str | None) -> bool:
    return (line or "").startswith("raise")
