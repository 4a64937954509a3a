"""W as a linear map of inputs: prediction[n, out] = sum over in of X[n, in] W[out, in], as torch.nn.functional.linear.

Reference: irkernels/reference/measured.py
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from irkernels.measurements import Measurements


class Regression(Measurements):
    """Y = X W^T: a deep linear network W on data, one row for each of n samples.

    X: [n, in], Y: [n, out] or [trials, n, out] for W [out, in].  Of a W of higher order the last axes are the input's,
    as many as X has behind n: X [n, *in], Y [n, *out] or [trials, n, *out], W [*out, *in] (X [n] or Y [n] where there
    is no such axis).  Both copied.  Raises what Measurements raises.
    """

    __slots__ = ()
    kind, names = "regression", ("X", "Y")

    def __init__(self, X: Any, Y: Any) -> None:
        super().__init__((X,), ("X",), Y)
        if self.count not in self.Y.shape[:2]:
            raise ValueError(
                f"regression: Y must be [{self.count}, ...] or [trials, {self.count}, ...], one row for each of X, got"
                f" {list(self.Y.shape)}"
            )

    @property
    def X(self) -> Tensor:
        """[n, *in]."""
        return self._constants[0]

    @property
    def Y(self) -> Tensor:
        """[n, *out] or [trials, n, *out]."""
        return self._y

    @property
    def _inputs(self) -> int:
        return self.X.dim() - 1

    def measured_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        out = len(shape) - self._inputs
        if out < 0 or tuple(self.X.shape[1:]) != shape[out:]:
            raise ValueError(
                f"X must be [n, *in], where in are the last axes of the product of {shape}, got {list(self.X.shape)}"
            )
        return (self.count, *shape[:out])

    def _terms(self, output: str, row: str) -> tuple[tuple[str, ...], str]:
        out = len(output) - self._inputs
        return (row + output[out:],), row + output[:out]
