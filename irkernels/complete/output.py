"""Writing a completed array."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from irkernels.complete.run import Completed
from irkernels.io import DataError


def stem(source: str) -> str:
    """What output files are named after: the file's name without its ending, or the data set's."""
    name = Path(source.split(":")[-1]).name
    return name.removesuffix(".gz").rsplit(".", 1)[0] or "array"


def check_output(path: Path) -> None:
    """Refuse, before anything is fitted, what `write` cannot write."""
    if path.suffix not in (".npy", ".npz"):
        raise DataError(f"--out {path}: expected a name that ends in .npy or .npz")
    _check_folder("--out", path)


def check_picture(path: Path) -> None:
    if path.suffix not in (".png", ".pdf", ".svg"):
        raise DataError(f"--picture {path}: expected a name that ends in .png, .pdf or .svg")
    _check_folder("--picture", path)


def write(done: Completed, path: Path) -> list[Path]:
    """Write the completed array, and an image also as .png beside it; the paths written.

    .npy holds the completed array; .npz holds it as `completed`, the chain's values everywhere as `prediction`, the
    held-out entries as `heldout` (bool), and the labels of axis k, where it has any, as `labels_k`.
    """
    completed = done.completed()
    if path.suffix == ".npy":
        np.save(path, completed)
    else:
        labels = {
            f"labels_{k}": np.array(names) for k, names in enumerate(done.array.labels or ()) if names is not None
        }
        np.savez_compressed(
            path, completed=completed, prediction=done.prediction(), heldout=done.heldout_mask(), **labels
        )
    if not done.array.image:
        return [path]
    from PIL import Image

    picture = path.with_suffix(".png")
    Image.fromarray(completed.round().astype(np.uint8)).save(picture)
    return [path, picture]


def _check_folder(option: str, path: Path) -> None:
    if not path.parent.is_dir():
        raise DataError(f"{option} {path}: the folder {path.parent} does not exist")
