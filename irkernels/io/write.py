"""Writing coordinate lists: FROSTT's .tns, compressed where the name ends in .gz."""

from __future__ import annotations

import gzip
from collections.abc import Iterable
from pathlib import Path

from irkernels.io.array import IncompleteArray

_LINES = 10_000  # written at once


def write_tns(array: IncompleteArray, path: str | Path, comments: Iterable[str] = ()) -> None:
    """The known entries as `i j k ... value`, positions from 1; `irkernels.io.read` gives the same array back.

    Values are written with as many digits as float64 needs. The format knows no extents: they stand in a comment
    `# shape: n m ...`, which other readers pass over, and which keeps empty last slices. comments: further lines.
    Labels and notes are not written. Raises OSError.
    """
    path = Path(path)
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "wt", encoding="utf-8", newline="\n") as file:
        for comment in (f"shape: {' '.join(map(str, array.shape))}", *comments):
            file.write(f"# {comment}\n")
        for first in range(0, array.known, _LINES):
            at, values = array.at[first : first + _LINES] + 1, array.values[first : first + _LINES]
            lines = zip(at.tolist(), values.tolist(), strict=True)
            file.writelines(f"{' '.join(map(str, position))} {value!r}\n" for position, value in lines)
