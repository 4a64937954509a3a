"""Real data sets that the wheel of a dependency ships: nothing is downloaded."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from irkernels.io.array import DataError, IncompleteArray, from_dense
from irkernels.io.dense import read_image


def read_named(name: str) -> IncompleteArray:
    """One of NAMED.

    tensorly:kinetic       fluorescence, 64 samples x 12 emission x 10 excitation x 60 times, 0.4 % missing (Bro et al.)
    tensorly:il2           responses to IL-2, 13 ligands x 4 times x 12 doses x 8 cells, 3.8 % missing
    tensorly:covid19       serology, 438 samples x 6 antigens x 11 receptors
    tensorly:indian-pines  hyperspectral image, 145 x 145 x 200 bands
    sklearn:china          photograph, 427 x 640 x 3
    """
    if name not in NAMED:
        raise DataError(f"no data set {name!r}; the named ones are {', '.join(NAMED)}")
    return NAMED[name](name)


def _kinetic(name: str) -> IncompleteArray:
    data = _tensorly().load_kinetic()
    return from_dense(np.asarray(data["tensor"]), name, np.asarray(data["missing_values_position"]))


def _tensorly_array(loader: str) -> Callable[[str], IncompleteArray]:
    return lambda name: from_dense(np.asarray(getattr(_tensorly(), loader)()["tensor"]), name)


def _sklearn_image(file: str) -> Callable[[str], IncompleteArray]:
    def read(name: str) -> IncompleteArray:
        # Found without importing scikit-learn, which would load a second OpenMP runtime beside torch's.
        package = importlib.util.find_spec("sklearn")
        if package is None or not package.submodule_search_locations:
            raise ImportError(f'{name} needs scikit-learn: pip install "irkernels[data]"')
        path = Path(package.submodule_search_locations[0]) / "datasets" / "images" / file
        if not path.is_file():
            raise DataError(f"{name}: the installed scikit-learn does not ship datasets/images/{file}")
        image = read_image(path)
        return IncompleteArray(image.at, image.values, image.shape, name, image=True)

    return read


def _tensorly() -> Any:
    try:
        import tensorly.datasets
    except ImportError:
        raise ImportError('tensorly\'s data sets need tensorly: pip install "irkernels[data]"') from None
    return tensorly.datasets


NAMED: dict[str, Callable[[str], IncompleteArray]] = {
    "tensorly:kinetic": _kinetic,
    "tensorly:il2": _tensorly_array("load_IL2data"),
    "tensorly:covid19": _tensorly_array("load_covid19_serology"),
    "tensorly:indian-pines": _tensorly_array("load_indian_pines"),
    "sklearn:china": _sklearn_image("china.jpg"),
}
