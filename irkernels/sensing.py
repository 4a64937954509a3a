"""Linear measurements of W by operators, dense or of rank one.

Sensing: prediction_m = <operator_m, W> = sum over i, k, ... of operator[m, i, k, ...] W[i, k, ...]
RankOneSensing: prediction_m = W contracted with one vector for each of its axes, a[m, i] b[m, k] ... W[i, k, ...]
Reference: irkernels/reference/measured.py
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import Tensor

from irkernels.measurements import Measurements


class Sensing(Measurements):
    """y_m = <operator_m, W>.

    operators: [m, *shape of W].  y: [m] or [trials, m].  Both copied.  Raises what Measurements raises.
    """

    __slots__ = ()
    kind, names = "sensing", ("operators", "y")

    def __init__(self, operators: Any, y: Any) -> None:
        super().__init__((operators,), ("operators",), y)
        _check_y(self)

    @property
    def operators(self) -> Tensor:
        """[m, *shape of W]."""
        return self._constants[0]

    @property
    def y(self) -> Tensor:
        """[m] or [trials, m]."""
        return self._y

    def measured_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        if tuple(self.operators.shape[1:]) != shape:
            raise ValueError(
                f"operators must be {[self.count, *shape]} for a product of {shape}, got {list(self.operators.shape)}"
            )
        return (self.count,)

    def _terms(self, output: str, row: str) -> tuple[tuple[str, ...], str]:
        return (row + output,), row


class RankOneSensing(Measurements):
    """y_m = W contracted with the m-th vector of each axis: the operator of measurement m is their outer product.

    vectors: one [m, d_n] for each axis n of W.  y: [m] or [trials, m].  All copied.  Raises what Measurements raises,
    and TypeError for vectors that are no sequence.
    """

    __slots__ = ()
    kind, names = "rank-one sensing", ("vectors", "y")

    def __init__(self, vectors: Iterable[Any], y: Any) -> None:
        if isinstance(vectors, Tensor) or not isinstance(vectors, Iterable):
            raise TypeError(
                "rank-one sensing: vectors must be a sequence of [m, d], one for each axis of W,"
                f" got {type(vectors).__name__}"
            )
        vectors = tuple(vectors)
        if not vectors:
            raise ValueError("rank-one sensing: vectors is empty; one [m, d] is needed for each axis of W")
        super().__init__(vectors, tuple(f"vectors {axis}" for axis in range(len(vectors))), y)
        for axis, each in enumerate(self.vectors):
            if each.dim() != 2:
                raise ValueError(f"rank-one sensing: vectors {axis} must be [m, d], got {list(each.shape)}")
        _check_y(self)

    @property
    def vectors(self) -> tuple[Tensor, ...]:
        """One [m, d_n] for each axis of W."""
        return self._constants

    @property
    def y(self) -> Tensor:
        """[m] or [trials, m]."""
        return self._y

    def measured_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        if len(self.vectors) != len(shape):
            raise ValueError(
                f"vectors are {len(self.vectors)}, but a product of {shape} needs {len(shape)} (one for each axis)"
            )
        for axis, (each, extent) in enumerate(zip(self.vectors, shape)):
            if each.shape[1] != extent:
                raise ValueError(
                    f"vectors {axis} must be {[self.count, extent]} for a product of {shape}, got {list(each.shape)}"
                )
        return (self.count,)

    def _terms(self, output: str, row: str) -> tuple[tuple[str, ...], str]:
        return tuple(row + letter for letter in output), row

    def _arguments(self) -> tuple[Any, Any]:
        return self._constants, self._y


def _check_y(sensing: Sensing | RankOneSensing) -> None:
    if sensing.y.dim() not in (1, 2) or sensing.y.shape[-1] != sensing.count:
        raise ValueError(
            f"{sensing.kind}: y must be [{sensing.count}] or [trials, {sensing.count}], one for each row of"
            f" {sensing.names[0]}, got {list(sensing.y.shape)}"
        )
