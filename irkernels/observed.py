"""Where a product is looked at: checked coordinates, their sort orders, and observed values."""

from __future__ import annotations

import operator
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.fx import _pytree as _graph_pytree
from torch.utils import _pytree

_INTEGERS = (torch.int8, torch.int16, torch.int32, torch.int64, torch.uint8, torch.uint16, torch.uint32, torch.uint64)
_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_INT32_LIMIT = 2**31


class Sorted(NamedTuple):
    """The entries in lexicographic order of some columns; a group is a run of entries equal in those columns."""

    perm: Tensor  # [nnz], position in the caller's order
    starts: Tensor  # [groups + 1], first entry of each group, then nnz
    columns: Tensor  # [order, nnz], Coordinates.columns in sorted order


class Coordinates:
    """Checked coordinates of entries of a product, one column for each letter of the output, in output order.

    at: integer tensor [nnz, order], duplicates allowed, nnz may be 0; copied.  shape: extents of the output letters.
    Raises TypeError (not integer), ValueError (not [nnz, order]), IndexError (negative, or not below the extent).
    """

    __slots__ = ("_at", "_columns", "_orders", "_parts", "_shape")

    def __init__(self, at: Any, shape: Iterable[int]) -> None:
        self._shape = _checked_shape(shape)
        self._at = _checked_at(at, self._shape)
        self._columns: Tensor | None = None
        self._orders: dict[tuple[int, ...], Sorted] = {}
        self._parts: tuple[Tensor, tuple[int, ...], dict[tuple[int, ...], Sorted]] | None = None

    @property
    def at(self) -> Tensor:
        """int64 [nnz, order], in the caller's order."""
        return self._at

    @property
    def shape(self) -> tuple[int, ...]:
        return self._shape

    @property
    def nnz(self) -> int:
        return self._at.shape[0]

    @property
    def device(self) -> torch.device:
        return self._at.device

    @property
    def hidden(self) -> bool:
        """Whether a transform of torch.func holds `at`, as vmap does of coordinates that it batches."""
        return torch._C._functorch.is_functorch_wrapped_tensor(self._at)

    @property
    def columns(self) -> Tensor:
        """[order, nnz] contiguous; int32 where every extent and nnz are below 2**31, else int64."""
        if self._columns is None:
            narrow = max((self.nnz, *self._shape)) < _INT32_LIMIT
            self._columns = self._at.to(torch.int32 if narrow else torch.int64).t().contiguous()
            self._parts = self._columns, self._shape, self._orders
        return self._columns

    @property
    def parts(self) -> tuple[Tensor, tuple[int, ...], dict[tuple[int, ...], Sorted]] | None:
        """What a native call reads: (columns, shape, the orders sorted so far).

        None until somebody has asked for columns: a transform in force must not be the one that makes them.
        """
        return self._parts

    def sorted_by(self, columns: tuple[int, ...]) -> Sorted:
        """The stable lexicographic order by these columns (the first is the most significant), computed once.

        `()` is the caller's order as one group (no group where there is no entry).
        """
        key = tuple(columns)
        for column in key:
            if not isinstance(column, int) or not 0 <= column < len(self._shape):
                raise IndexError(f"sorted_by: column {column} is not one of the {len(self._shape)} of {self._shape}")
        if key not in self._orders:
            self._orders[key] = self._sort(key)
        return self._orders[key]

    def _sort(self, key: tuple[int, ...]) -> Sorted:
        columns = self.columns
        perm = torch.arange(self.nnz, dtype=torch.int64, device=self.device)
        # one stable sort a column, least significant first: a flattened index could pass 2**63
        for column in reversed(key):
            perm = perm[torch.sort(columns[column][perm], stable=True).indices]
        ordered = columns[:, perm]
        keys = ordered[list(key)]
        starts_group = torch.ones(self.nnz, dtype=torch.bool, device=self.device)
        starts_group[1:] = (keys[:, 1:] != keys[:, :-1]).any(0)
        starts = torch.cat((starts_group.nonzero().flatten(), perm.new_tensor([self.nnz])))
        return Sorted(perm.to(columns.dtype), starts.to(columns.dtype), ordered.contiguous())

    def to(self, device: torch.device | str) -> Coordinates:
        """These coordinates on a device; self where they are there already."""
        moved = _without_grad_levels(self._at.to(device))
        return self if moved is self._at else unchecked_coordinates(moved, self._shape)

    def __len__(self) -> int:
        return self.nnz

    def __repr__(self) -> str:
        return f"Coordinates(nnz={self.nnz}, shape={self._shape}, device={self.device})"

    def __reduce__(self) -> tuple[Any, ...]:
        return Coordinates, (self._at, self._shape)


class Observed:
    """Observed entries of a product: each listed entry counts once, duplicates included; results keep this order.

    at: integer tensor [nnz, order] (or Coordinates), nnz >= 1.   values: [nnz] or [..., nnz] (one row a trial), finite,
    of the factors' dtype (float16, bfloat16, float32, float64).   shape: the extents of the product.   weights: None
    (all 1), or [nnz] or [..., nnz], finite and not negative, 0 where a trial has not observed the entry.  Copied.

    Raises what Coordinates raises, TypeError for values of another dtype, ValueError for no entries, NaN or infinite
    values, values that require grad (`entries` is the differentiable route), and unfit weights.
    """

    __slots__ = ("_coordinates", "_values", "_weights")

    def __init__(self, at: Any, values: Any, shape: Iterable[int], weights: Any = None) -> None:
        shape = _checked_shape(shape)
        if isinstance(at, Coordinates) and at.shape != shape:
            raise ValueError(f"observed: the coordinates were checked for shape {at.shape}, but shape is {shape}")
        self._coordinates = at if isinstance(at, Coordinates) else Coordinates(at, shape)
        if self.nnz == 0:
            raise ValueError("observed: no observed entries; at least one is needed")
        self._values = _checked_values(values, self._coordinates)
        self._weights = None if weights is None else _checked_weights(weights, self._values)

    @classmethod
    def from_dense(cls, dense: Any, mask: Any = None) -> Observed:
        """The entries of a dense tensor where mask (bool, same shape) is true; without one, those that are not NaN."""
        dense = _tensor("observed: dense", dense)
        mask = ~torch.isnan(dense) if mask is None else _tensor("observed: mask", mask).to(dense.device)
        if mask.dtype != torch.bool or mask.shape != dense.shape:
            raise ValueError(
                f"observed: mask must be bool of shape {tuple(dense.shape)}, got {mask.dtype} of {tuple(mask.shape)}"
            )
        return cls(mask.nonzero(), dense[mask], dense.shape)

    @property
    def coordinates(self) -> Coordinates:
        return self._coordinates

    @property
    def at(self) -> Tensor:
        """int64 [nnz, order]."""
        return self._coordinates.at

    @property
    def values(self) -> Tensor:
        """[nnz] or [..., nnz]."""
        return self._values

    @property
    def weights(self) -> Tensor | None:
        """[nnz] or [..., nnz] in the values' dtype, or None: every entry counts once."""
        return self._weights

    @property
    def shape(self) -> tuple[int, ...]:
        return self._coordinates.shape

    @property
    def nnz(self) -> int:
        return self._coordinates.nnz

    @property
    def dtype(self) -> torch.dtype:
        return self._values.dtype

    @property
    def device(self) -> torch.device:
        return self._values.device

    def to(self, *args: Any, **kwargs: Any) -> Observed:
        """These observations in another dtype or on another device; takes what torch.Tensor.to takes."""
        values = self._values.to(*args, **kwargs)
        if values is self._values:
            return self
        weights = None if self._weights is None else self._weights.to(values.device)
        return Observed(self._coordinates.to(values.device), values, self.shape, weights)

    def __len__(self) -> int:
        return self.nnz

    def __repr__(self) -> str:
        weighted = "" if self._weights is None else f", weights={tuple(self._weights.shape)}"
        values = f"values={tuple(self._values.shape)}{weighted}"
        return f"Observed(nnz={self.nnz}, shape={self.shape}, {values}, dtype={self.dtype}, device={self.device})"

    def __reduce__(self) -> tuple[Any, ...]:
        return Observed, (self.at, self._values, self.shape, self._weights)


def _checked_shape(shape: Iterable[int]) -> tuple[int, ...]:
    extents = tuple(operator.index(extent) for extent in shape)
    if any(extent < 0 for extent in extents):
        raise ValueError(f"coordinates: extents must be >= 0, got shape {extents}")
    return extents


def _tensor(name: str, given: Any) -> Tensor:
    try:
        found = given if isinstance(given, Tensor) else torch.as_tensor(given)
    except (RuntimeError, TypeError, ValueError):
        raise TypeError(f"{name} must be a tensor or what torch.as_tensor takes, got {type(given).__name__}") from None
    if found.layout != torch.strided:
        raise TypeError(f"{name} is {found.layout}; supported is torch.strided (convert it with .to_dense())")
    if was_freed(found):
        raise ValueError(f"{name} has elements, but no memory (its storage was resized to nothing)")
    return found


def was_freed(tensor: Tensor) -> bool:
    """Whether a plain tensor's storage was resized to nothing, as sharding wrappers do between steps.

    torch's own operations read it all the same, and the process ends.
    """
    if type(tensor) not in (Tensor, torch.nn.Parameter) or torch.compiler.is_compiling():
        return False  # subclasses and tracers keep their numbers elsewhere
    if tensor.layout != torch.strided or tensor.is_meta or torch._C._functorch.is_functorch_wrapped_tensor(tensor):
        return False
    return tensor.numel() > 0 and tensor.untyped_storage().nbytes() == 0


def _checked_at(given: Any, shape: tuple[int, ...]) -> Tensor:
    at = _tensor("coordinates: at", given).detach()
    if at.dtype not in _INTEGERS:
        raise TypeError(f"coordinates: at must be an integer tensor [nnz, {len(shape)}], got dtype {at.dtype}")
    if at.dim() != 2 or at.shape[1] != len(shape):
        raise ValueError(
            f"coordinates: at must be [nnz, {len(shape)}], one column for each axis of {shape}, got {list(at.shape)}"
        )
    if at.device.type == "meta":
        raise ValueError("coordinates: at is on meta, where there are no numbers to check")
    at = at.to(torch.int64, copy=True, memory_format=torch.contiguous_format)
    outside = (at < 0) | (at >= at.new_tensor(shape))
    if outside.any():
        entry, column = outside.nonzero()[0].tolist()
        where, found = tuple(at[entry].tolist()), at[entry, column].item()
        raise IndexError(
            f"coordinates: column {column} of entry {entry} is {found}, at {where}, but must be in [0, {shape[column]})"
        )
    checked: Tensor = _without_grad_levels(at)
    return checked


def _without_grad_levels(tensor: Any) -> Any:
    """What torch.func.grad and jvp have wrapped, as they do with all that is made inside; integers have none."""
    while isinstance(tensor, Tensor) and torch._C._functorch.is_gradtrackingtensor(tensor):
        tensor = torch._C._functorch.get_unwrapped(tensor)
    return tensor


def unchecked_coordinates(at: Tensor, shape: tuple[int, ...]) -> Coordinates:
    made = object.__new__(Coordinates)
    made._shape, made._at, made._columns, made._orders, made._parts = shape, at, None, {}, None
    return made


def _checked_values(given: Any, coordinates: Coordinates) -> Tensor:
    values = _tensor("observed: values", given)
    if values.dtype not in _FLOATS:
        raise TypeError(
            f"observed: values must be float16, bfloat16, float32 or float64 (the factors' dtype), got {values.dtype}"
        )
    if values.requires_grad:
        raise ValueError("observed: values must not require grad; `entries` is the differentiable route")
    if values.dim() == 0 or values.shape[-1] != coordinates.nnz:
        raise ValueError(
            f"observed: values must be [..., {coordinates.nnz}], one for each coordinate, got {list(values.shape)}"
        )
    if values.device != coordinates.device:
        raise ValueError(f"observed: values are on {values.device}, but the coordinates are on {coordinates.device}")
    if values.device.type == "meta":
        raise ValueError("observed: values are on meta, where there are no numbers to check")
    finite = torch.isfinite(values)
    if not finite.all():
        bad = (~finite).nonzero()[0].tolist()
        raise ValueError(f"observed: value {bad[-1]} is {values[tuple(bad)].item()}; observed values must be finite")
    return values.clone(memory_format=torch.contiguous_format)


def _checked_weights(given: Any, values: Tensor) -> Tensor:
    weights = _tensor("observed: weights", given).detach()
    if weights.is_complex():
        raise TypeError(f"observed: weights must be real, got {weights.dtype}")
    if weights.device != values.device:
        raise ValueError(f"observed: weights are on {weights.device}, but the values are on {values.device}")
    if weights.dim() == 0 or weights.shape[-1] != values.shape[-1]:
        raise ValueError(
            f"observed: weights must be [..., {values.shape[-1]}], one for each coordinate, got {list(weights.shape)}"
        )
    weights = weights.to(values.dtype, copy=True, memory_format=torch.contiguous_format)
    unfit = ~(torch.isfinite(weights) & (weights >= 0))
    if unfit.any():
        bad = unfit.nonzero()[0].tolist()
        raise ValueError(
            f"observed: weight {bad[-1]} is {weights[tuple(bad)].item()}; weights must be finite and not negative"
        )
    empty = ~(weights > 0).any(-1)
    if empty.any():
        trial = tuple(empty.nonzero()[0].tolist())
        raise ValueError(f"observed: all weights{f' of trial {trial}' if trial else ''} are zero: nothing is observed")
    return weights


@dataclass(frozen=True)
class _Context:
    """What of an Observed is not a leaf; carries the sorted coordinates past a round trip that keeps `at`."""

    shape: tuple[int, ...]
    coordinates: Coordinates | None  # None: read from an exported program

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Context) and self.shape == other.shape

    def __hash__(self) -> int:
        return hash(self.shape)


def _flatten(observed: Observed) -> tuple[list[Tensor], _Context]:
    weights = [] if observed.weights is None else [observed.weights]
    return [observed.at, observed.values, *weights], _Context(observed.shape, observed.coordinates)


def _flatten_with_keys(observed: Observed) -> tuple[list[tuple[Any, Any]], _Context]:
    leaves, context = _flatten(observed)
    return [(_pytree.GetAttrKey(name), leaf) for name, leaf in zip(("at", "values", "weights"), leaves)], context


def unchecked_observed(coordinates: Coordinates, values: Any, weights: Any) -> Observed:
    """Observations whose parts were checked before, or hold no numbers yet (tracers)."""
    made = object.__new__(Observed)
    made._coordinates, made._values, made._weights = coordinates, values, weights
    return made


def _unflatten(leaves: Iterable[Any], context: _Context) -> Observed:
    # leaves may be anything here (tracers, dimensions), so nothing is checked
    at, values, *weights = leaves
    coordinates = None if torch.compiler.is_compiling() else context.coordinates
    if coordinates is None or _without_grad_levels(at) is not coordinates.at:
        coordinates = unchecked_coordinates(at, context.shape)
    return unchecked_observed(coordinates, values, weights[0] if weights else None)


_pytree.register_pytree_node(
    Observed,
    _flatten,
    _unflatten,
    serialized_type_name="irkernels.Observed",
    to_dumpable_context=lambda context: list(context.shape),
    from_dumpable_context=lambda shape: _Context(tuple(shape), None),
    flatten_with_keys_fn=_flatten_with_keys,
)
_graph_pytree.register_pytree_flatten_spec(Observed, lambda observed, _: _flatten(observed)[0])  # for exported programs
torch.serialization.add_safe_globals([Coordinates, Observed])  # read back through their checking constructors
