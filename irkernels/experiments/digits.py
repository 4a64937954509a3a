"""Binarised images of digits as coordinates of a tensor: one mode of size 2 for each pixel."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

_PIECES = {"train": "train", "test": "t10k"}
_SPLIT = 1500  # of scikit-learn's 1,797 digits


def images(source: str, part: str) -> tuple[Tensor, Tensor]:
    """Pixels [count, order], 0 or 1, and labels [count], of part "train" or "test".

    source: "digits" for scikit-learn's 1,797 images of 8 x 8, or a folder with MNIST's or Fashion-MNIST's four files as
    they are distributed, train-images-idx3-ubyte to t10k-labels-idx1-ubyte, with or without .gz.
    Raises FileNotFoundError naming what is missing, ValueError for other files, ImportError without scikit-learn.
    """
    if source == "digits":
        from sklearn.datasets import load_digits

        given = load_digits()
        half = slice(_SPLIT) if part == "train" else slice(_SPLIT, None)
        return torch.from_numpy(given.data[half] >= 8).long(), torch.from_numpy(given.target[half]).long()
    pixels = _idx(Path(source), f"{_PIECES[part]}-images-idx3-ubyte", 3)
    labels = _idx(Path(source), f"{_PIECES[part]}-labels-idx1-ubyte", 1)
    if len(pixels) != len(labels):
        raise ValueError(f"{source}: {len(pixels)} images, but {len(labels)} labels")
    return torch.from_numpy(pixels.reshape(len(pixels), -1) >= 128).long(), torch.from_numpy(labels).long()


def _idx(folder: Path, name: str, axes: int) -> np.ndarray:
    """An array of bytes in IDX form: 0, 0, 8, the number of axes, each extent in four bytes, the values."""
    for path, opened in ((folder / name, open), (folder / f"{name}.gz", gzip.open)):
        if path.exists():
            with opened(path, "rb") as file:
                content = file.read()
            break
    else:
        raise FileNotFoundError(
            f"{folder / name}: no such file (nor .gz); --data names a folder with MNIST's four files"
        )
    head = 4 + 4 * axes
    extents = np.frombuffer(content[4:head], ">u4").astype(int)
    if content[:4] != bytes([0, 0, 8, axes]) or len(content) != head + int(np.prod(extents)):
        raise ValueError(f"{path}: not an IDX file of bytes with {axes} axes")
    return np.frombuffer(content[head:], np.uint8).reshape(extents).copy()
