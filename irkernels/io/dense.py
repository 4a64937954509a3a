"""Dense arrays (.npy, .npz; NaN = missing) and images (transparent or masked = missing)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from irkernels.io.array import DataError, IncompleteArray, from_dense

IMAGES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm", ".ppm"}


def read_npy(path: Path, mask: Path | None = None) -> IncompleteArray:
    """A NumPy array; NaN is missing, and so is what `mask` marks."""
    return from_dense(_load(path), str(path), None if mask is None else read_mask(mask))


def read_npz(path: Path, mask: Path | None = None) -> IncompleteArray:
    """The one array of an archive; an array named `mask` beside it marks missing entries (nonzero, as in numpy.ma)."""
    archive = _load(path)
    names = [name for name in archive.files if name != "mask"]
    if len(names) != 1:
        raise DataError(f"{path}: expected one array (and perhaps one named 'mask'), got {archive.files}")
    missing = _member(path, archive, "mask") if "mask" in archive.files else None
    return from_dense(_member(path, archive, names[0]), str(path), missing if mask is None else read_mask(mask))


def read_image(path: Path, mask: Path | None = None) -> IncompleteArray:
    """Pixels as [rows, columns] or, if coloured, [rows, columns, 3]; alpha 0 is missing, and so is what `mask` marks.

    Images of 16 or 32 bits a pixel come as [rows, columns] with their own numbers.
    """
    picture = _open_image(path)
    if picture.mode[0] in "IF":  # more than 8 bits a pixel: an array of numbers, not a picture to draw as it is
        return from_dense(np.asarray(picture), str(path), None if mask is None else read_mask(mask))
    coloured = not _is_grey(picture)
    alpha = np.asarray(picture.convert("RGBA"))[:, :, 3]
    pixels = np.asarray(picture.convert("RGB" if coloured else "L"))
    missing = alpha == 0
    if mask is not None:
        painted = read_mask(mask)
        if painted.shape != missing.shape:
            raise DataError(f"{mask}: the mask has shape {painted.shape}, the image {missing.shape}")
        missing |= painted != 0
    if coloured:
        missing = np.repeat(missing[:, :, None], 3, axis=2)
    return from_dense(pixels, str(path), missing, image=True)


def read_mask(path: Path) -> np.ndarray:
    """What is missing: nonzero entries of an array, or the painted (not black, not transparent) pixels of an image."""
    if path.suffix.lower() == ".npy":
        return np.asarray(_load(path) != 0)
    rgba = np.asarray(_open_image(path).convert("RGBA"))
    painted: np.ndarray = (rgba[:, :, :3].max(axis=2) > 0) & (rgba[:, :, 3] > 0)
    return painted


def _is_grey(picture: Any) -> bool:
    rgb = np.asarray(picture.convert("RGB"))
    return bool((rgb[:, :, 0] == rgb[:, :, 1]).all() and (rgb[:, :, 1] == rgb[:, :, 2]).all())


def _open_image(path: Path) -> Any:
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError:
        raise ImportError('reading images needs Pillow: pip install "irkernels[data]"') from None
    try:
        picture = Image.open(path)
        picture.load()
    except FileNotFoundError:
        raise
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise DataError(f"{path}: not readable as an image ({error})") from None
    return picture


def _load(path: Path) -> Any:
    try:
        return np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise
    except Exception as error:  # np.load raises a dozen kinds for damaged files
        raise DataError(f"{path}: not readable as a NumPy file ({error})") from None


def _member(path: Path, archive: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    try:
        return archive[name]
    except Exception as error:
        raise DataError(f"{path}: array {name!r} is not readable ({error})") from None
