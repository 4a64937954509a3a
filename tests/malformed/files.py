"""Valid files, as calls whose one argument is the content."""

from __future__ import annotations

import gzip
import io
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import irkernels as irk
import irkernels.io
from malformed.verbs import Made

TNS = b"# shape: 2 4 3\n1 1 1 0.5\n2 4 3 -1.25e-3\n1 2 2 7\n"
CSV = b"user,item,rating\n1,2,3.5\n2,1,4\n3,3,nan\n"
LABELLED = 'name;place;value\n"a";x;1\nb;y;2\nü;x;3\n'.encode()
MOVIELENS = b"1\t2\t3\t881250949\n2\t1\t4\t881250950\n"


def read(name: str, content: Any) -> Any:
    """irk.io.read of a file of this name and content."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(content)
        return irk.io.read(path)


def npy() -> bytes:
    file = io.BytesIO()
    np.save(file, np.array([[1.0, np.nan, 3.0], [4.0, 5.0, 6.0]]))
    return file.getvalue()


def npz() -> bytes:
    file = io.BytesIO()
    np.savez(file, array=np.arange(6.0).reshape(2, 3), mask=np.zeros((2, 3)))
    return file.getvalue()


FILES: dict[str, Callable[[], Made]] = {
    "numbers.tns": lambda: (partial(read, "numbers.tns"), [TNS], {}),
    "numbers.tns.gz": lambda: (partial(read, "numbers.tns.gz"), [gzip.compress(TNS)], {}),
    "numbers.csv": lambda: (partial(read, "numbers.csv"), [CSV], {}),
    "labels.csv": lambda: (partial(read, "labels.csv"), [LABELLED], {}),
    "numbers.tsv": lambda: (partial(read, "numbers.tsv"), [CSV.replace(b",", b"\t")], {}),
    "u.data": lambda: (partial(read, "u.data"), [MOVIELENS], {}),
    "numbers.npy": lambda: (partial(read, "numbers.npy"), [npy()], {}),
    "numbers.npz": lambda: (partial(read, "numbers.npz"), [npz()], {}),
    "read": lambda: (irk.io.read, ["nowhere.tns"], {"mask": None, "value": None}),
}
