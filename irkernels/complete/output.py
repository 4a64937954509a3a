"""Writing a completed array."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from irkernels.complete.run import Completed
from irkernels.io import DataError, write_tns
from irkernels.io.array import from_dense


def stem(source: str) -> str:
    """What output files are named after: the file's name without its ending, or the data set's."""
    name = Path(source.split(":")[-1]).name
    return name.removesuffix(".gz").rsplit(".", 1)[0] or "array"


def check_output(path: Path) -> None:
    """Refuse, before anything is fitted, what `write` cannot write."""
    if _kind(path) not in (".npy", ".npz", ".tns"):
        raise DataError(f"--out {path}: expected a name that ends in .npy, .npz, .tns or .tns.gz")
    _check_folder("--out", path)


def check_picture(path: Path) -> None:
    if path.suffix not in (".png", ".pdf", ".svg"):
        raise DataError(f"--picture {path}: expected a name that ends in .png, .pdf or .svg")
    _check_folder("--picture", path)


def write(done: Completed, path: Path) -> list[Path]:
    """Write the completed array, and an image also as .png beside it; the paths written.

    .npy holds the completed array; .npz holds it as `completed`, the model's values everywhere as `prediction`, the
    held-out entries as `heldout` (bool), and the labels of axis k, where it has any, as `labels_k`. .tns (or .tns.gz)
    lists every entry of the completed array with its coordinates from 1.
    """
    completed = done.completed()
    if _kind(path) == ".npy":
        np.save(path, completed)
    elif _kind(path) == ".tns":
        source = f"{done.array.source} completed by {done.model}, depth {done.best.depth}"
        write_tns(from_dense(completed, source), path, [source])
    else:
        arrays: dict[str, Any] = {
            f"labels_{k}": np.array(names) for k, names in enumerate(done.array.labels or ()) if names is not None
        }
        arrays |= {"completed": completed, "prediction": done.prediction(), "heldout": done.heldout_mask()}
        np.savez_compressed(path, **arrays)
    if not done.array.image:
        return [path]
    from PIL import Image

    picture = path.with_name(path.name.removesuffix(".gz")).with_suffix(".png")
    Image.fromarray(completed.round().astype(np.uint8)).save(picture)
    return [path, picture]


def _kind(path: Path) -> str:
    return path.suffix if path.suffix in (".npy", ".npz") else Path(path.name.removesuffix(".gz")).suffix


def _check_folder(option: str, path: Path) -> None:
    if not path.parent.is_dir():
        raise DataError(f"{option} {path}: the folder {path.parent} does not exist")
