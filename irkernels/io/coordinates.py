"""Coordinate lists in text: FROSTT's .tns, tables (.csv, .tsv) and MovieLens ratings (u.data, .inter)."""

from __future__ import annotations

import csv
import gzip
import math
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from irkernels.io.array import DataError, IncompleteArray, from_coordinates

_Line = tuple[int, list[str]]  # line number in the file from 1, its fields
_MISSING = {"", "nan", "na", "n/a", "null", "none"}


def read_tns(path: Path) -> IncompleteArray:
    """FROSTT coordinates: `i j k ... value` with blanks between, positions from 1; `#` begins a comment.

    Each extent is its largest position, or what a comment `# shape: n m ...` says (write.py).
    """
    lines: list[_Line] = []
    stated: _Line | None = None
    for number, text in _text_lines(path):
        entry, _, comment = text.partition("#")
        if fields := entry.split():
            lines.append((number, fields))
        elif stated is None and (words := comment.split())[:1] == ["shape:"]:
            stated = number, words[1:]
    _check_width(path, lines, least=3)
    at = np.array([[_position(path, number, fields, k) for k in range(len(fields) - 1)] for number, fields in lines])
    shape = tuple(at.max(axis=0))
    if stated is not None:
        shape = _stated_shape(path, *stated, shape)
    return from_coordinates(at - 1, _values(path, lines, -1), shape, str(path))


def read_table(path: Path, value: str | None = None) -> IncompleteArray:
    """Coordinate columns and one value column, with or without a header.

    A first line whose value column is not a number is a header. The value column is the last one, or `value`: a name
    from the header, or a number from 1. An empty or NaN value is a missing entry. Whole-number columns are positions,
    counted from 0 if any of them holds a 0, else from 1; any other column, and one whose numbers leave nine tenths of
    their range unused, holds labels, whose positions are their sorted order.
    """
    lines = list(_table_lines(path))
    _check_width(path, lines, least=3)
    width = len(lines[0][1])
    at_value = _value_column(path, lines[0], value, width)
    header = not _is_value(lines[0][1][at_value])
    body = lines[1:] if header else lines
    if not body:
        raise DataError(f"{path}: nothing but a header: {lines[0][1]}")
    columns = [k for k in range(width) if k != at_value]
    whole = {k: all(_is_whole(fields[k]) for _, fields in body) for k in columns}
    base = 0 if any(int(fields[k]) == 0 for k in columns if whole[k] for _, fields in body) else 1
    coded = [_positions_or_labels(path, body, k, whole[k], base) for k in columns]
    at = np.stack([positions for positions, _, _ in coded], axis=1)
    shape = tuple(extent for _, extent, _ in coded)
    return from_coordinates(
        at, _values(path, body, at_value), shape, str(path), tuple(labels for _, _, labels in coded)
    )


def read_movielens(path: Path) -> IncompleteArray:
    """MovieLens-100k ratings from the user's own copy: GroupLens' `u.data` or RecBole's `.inter` (users x items)."""
    lines = [(number, text.split("\t")) for number, text in _text_lines(path) if text.strip()]
    _check_width(path, lines, least=3)
    if path.suffix == ".inter":
        names = [name.split(":")[0] for name in lines[0][1]]
        wanted = ["user_id", "item_id", "rating"]
        if not set(wanted) <= set(names):
            raise DataError(f"{path}, line 1: expected the columns {', '.join(wanted)}, got {lines[0][1]}")
        columns, lines = [names.index(name) for name in wanted], lines[1:]
        if not lines:
            raise DataError(f"{path}: nothing but a header")
    else:
        columns = [0, 1, 2]
    picked = [(number, [fields[k] for k in columns]) for number, fields in lines]
    at = np.array([[_position(path, number, fields, k) for k in range(2)] for number, fields in picked])
    return from_coordinates(at - 1, _values(path, picked, 2), tuple(at.max(axis=0)), str(path))


def _text_lines(path: Path) -> Iterator[tuple[int, str]]:
    opened = gzip.open if path.suffix == ".gz" else open
    try:
        with opened(path, "rt", encoding="utf-8-sig", newline="") as file:
            for number, text in enumerate(file, start=1):
                yield number, text.rstrip("\r\n")
    except (UnicodeDecodeError, gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"{path}: not readable as text ({error})") from None


def _table_lines(path: Path) -> Iterator[_Line]:
    name = path.name.removesuffix(".gz")
    texts = list(_text_lines(path))
    first = next((text for _, text in texts if text.strip()), "")
    delimiter = "\t" if name.endswith(".tsv") else (";" if ";" in first and "," not in first else ",")
    reader = csv.reader((text + "\n" for _, text in texts), delimiter=delimiter, strict=True)
    try:
        for fields in reader:
            if any(field.strip() for field in fields):
                yield reader.line_num, [field.strip() for field in fields]
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: {error}") from None


def _check_width(path: Path, lines: list[_Line], least: int) -> None:
    if not lines:
        raise DataError(f"{path}: the file is empty")
    number, fields = lines[0]
    if len(fields) < least:
        raise DataError(
            f"{path}, line {number}: expected at least two coordinates and a value, got {' '.join(fields)!r}"
        )
    for other, row in lines:
        if len(row) != len(fields):
            raise DataError(
                f"{path}, line {other}: expected {len(fields)} columns as in line {number}, "
                f"got {len(row)}: {' '.join(row)!r}"
            )


def _position(path: Path, number: int, fields: list[str], column: int) -> int:
    text = fields[column]
    try:
        position = int(text)
    except ValueError:
        raise DataError(
            f"{path}, line {number}, column {column + 1}: expected a whole number from 1, "
            f"got {text!r} in {' '.join(fields)!r}"
        ) from None
    if not 1 <= position < 2**63:
        bound = "start at 1" if position < 1 else "end below 2^63"
        raise DataError(
            f"{path}, line {number}, column {column + 1}: positions {bound}, got {text} in {' '.join(fields)!r}"
        )
    return position


def _stated_shape(path: Path, number: int, words: list[str], least: tuple[int, ...]) -> tuple[int, ...]:
    shape = tuple(int(word) for word in words if _is_whole(word))
    if len(shape) != len(words) or len(shape) != len(least) or any(n < m for n, m in zip(shape, least)):
        raise DataError(
            f"{path}, line {number}: the shape {' '.join(words)!r} does not hold the positions, whose largest are "
            f"{' '.join(map(str, least))}"
        )
    return shape


def _values(path: Path, lines: list[_Line], column: int) -> np.ndarray:
    values = np.empty(len(lines))
    for k, (number, fields) in enumerate(lines):
        text = fields[column]
        try:
            values[k] = math.nan if text.lower() in _MISSING else float(text)
        except ValueError:
            raise DataError(
                f"{path}, line {number}: expected a number as the value, got {text!r} in {' '.join(fields)!r}"
            ) from None
        if math.isinf(values[k]):
            raise DataError(f"{path}, line {number}: the value is infinite: {' '.join(fields)!r}")
    return values


def _value_column(path: Path, first: _Line, value: str | None, width: int) -> int:
    number, fields = first
    if value is None:
        return width - 1
    if value in fields:
        return fields.index(value)
    if _is_whole(value) and 1 <= int(value) <= width:
        return int(value) - 1
    raise DataError(f"{path}, line {number}: no column {value!r}; the columns are {fields} (or 1 to {width})")


def _positions_or_labels(
    path: Path, body: list[_Line], column: int, whole: bool, base: int
) -> tuple[np.ndarray, int, tuple[str, ...] | None]:
    """Positions [nnz], extent and labels (None for plain positions) of one coordinate column."""
    texts = [fields[column] for _, fields in body]
    for (number, fields), text in zip(body, texts, strict=True):
        if not text:
            raise DataError(
                f"{path}, line {number}, column {column + 1}: the coordinate is empty: {' '.join(fields)!r}"
            )
    if whole and all(len(text) < 19 for text in texts):  # beyond, they are names
        numbers = np.array([int(text) for text in texts])
        if numbers.max() - base + 1 <= 10 * len(np.unique(numbers)):
            return numbers - base, int(numbers.max()) - base + 1, None
    names = sorted(set(texts), key=_label_order)
    place = {name: k for k, name in enumerate(names)}
    return np.array([place[text] for text in texts]), len(names), tuple(names)


def _label_order(text: str) -> tuple[int, float, str]:
    try:
        return 0, float(text), text
    except ValueError:
        return 1, 0.0, text


def _is_value(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return text.lower() in _MISSING
    return True


def _is_whole(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 18
