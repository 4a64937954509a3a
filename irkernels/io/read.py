"""Which reader a file or a name belongs to."""

from __future__ import annotations

from pathlib import Path

from irkernels.io.array import DataError, IncompleteArray
from irkernels.io.coordinates import read_movielens, read_table, read_tns
from irkernels.io.dense import IMAGES, read_image, read_npy, read_npz
from irkernels.io.named import NAMED, read_named


def read(source: str | Path, *, mask: str | Path | None = None, value: str | None = None) -> IncompleteArray:
    """Read an incomplete array from a file or a named data set.

    source  .tns (FROSTT), .csv, .tsv (each also as .gz), .npy, .npz, an image, MovieLens' u.data or .inter, or a name
            of `irkernels.io.named.NAMED`
    mask    for .npy, .npz and images: a .npy or an image that marks missing entries
    value   for .csv and .tsv: the value column, by name or by number from 1 (default: the last)

    Raises DataError (a ValueError) that names file, line and content, FileNotFoundError, or ImportError that names the
    extra to install.
    """
    text, path = str(source), Path(source)
    if text.split(":")[0] in {name.split(":")[0] for name in NAMED} and not path.exists():
        _refuse(text, mask=mask, value=value)
        return read_named(text)
    if path.is_dir():
        raise DataError(f"{text}: is a folder, not a file")
    if not path.exists():
        raise FileNotFoundError(f"{text}: no such file; the named data sets are {', '.join(NAMED)}")
    kind = Path(path.name.lower().removesuffix(".gz")).suffix
    mask = None if mask is None else Path(mask)
    if kind == ".npy" or kind == ".npz" or kind in IMAGES:
        _refuse(text, value=value)
        return {".npy": read_npy, ".npz": read_npz}.get(kind, read_image)(path, mask)
    _refuse(text, mask=mask)
    if kind in (".csv", ".tsv"):
        return read_table(path, value)
    _refuse(text, value=value)
    if path.name == "u.data" or kind == ".inter":
        return read_movielens(path)
    if kind == ".tns":
        return read_tns(path)
    raise DataError(
        f"{text}: unknown kind of file; expected .tns, .csv, .tsv, .npy, .npz, .inter, u.data or an image "
        f"({', '.join(sorted(IMAGES))})"
    )


def _refuse(text: str, **options: object) -> None:
    for name, given in options.items():
        if given is not None:
            raise DataError(f"{text}: --{name} does not apply to this kind of data")
