"""DTensor operands: each verb on the parts that a rank holds, with what moves between ranks said to torch beforehand.

A product is linear in the slices of each of its letters, so that a mesh dimension may share out any one letter:

    operand with the letter      Shard on its axis, and so is its gradient
    operand without it           Replicate; its gradient is Partial, a sum over the slices
    output                       Shard on its axis, or Partial where the letter is summed

Along each mesh dimension it is, of the letters that some operand is sharded on, the one that moves the fewest elements;
or none, which gathers. The parts are ordinary tensors and go through the verbs as any others do.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import prod
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import Parameter

from irkernels.reference.equation import ELLIPSIS, Equation, Term, read_equation

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh
    from torch.distributed.tensor import Placement

Letter = str | int  # an axis behind `...` is its distance from the right, negative


def among(operands: Iterable[Any]) -> bool:
    """Whether any operand is a DTensor."""
    return any(type(operand) not in (Tensor, Parameter) and _is_sharded(operand) for operand in operands)


def product(equation: str, operands: tuple[Any, ...], verb: Callable[..., Tensor]) -> Tensor:
    """The product, sharded as its operands are or a sum over ranks; verb: that of the parts."""
    read, letters = _read(equation, operands)
    output = _letters(read.output, len(read.dense))
    shared = _Shared.of(operands, letters, output)
    return shared.whole(verb(equation, *shared.parts), output, read.output_shape)


def entries(equation: str, operands: tuple[Any, ...], at: Any, verb: Callable[..., Tensor]) -> Tensor:
    """All entries on each rank: listed letters are gathered, those of `...` and summed ones may be shared out."""
    read, letters = _read(equation, operands)
    if _is_sharded(at):
        raise TypeError("at is a DTensor; coordinates are given whole to every rank (at.full_tensor())")
    output = _letters((ELLIPSIS,), len(read.dense))
    shared = _Shared.of(operands, letters, output, gathered=read.letters)
    found = verb(equation, *shared.parts, at=at)
    return shared.whole(found, output, (*read.dense, found.shape[-1]))


def gradients(
    equation: str, operands: tuple[Any, ...], cotangent: Any, verb: Callable[..., tuple[Tensor, ...]]
) -> tuple[Tensor, ...]:
    """All gradients: of an operand that has the shared letter sharded as it is, of another a sum over ranks."""
    read, letters = _read(equation, operands)
    if not _is_sharded(cotangent):
        raise TypeError(
            f"the cotangent is a {type(cotangent).__name__}, the operands are DTensors (it must be one too:"
            " torch.distributed.tensor.distribute_tensor)"
        )
    letters = (*letters, _letters(read.output, len(read.dense)))
    shared = _Shared.of((*operands, cotangent), letters)
    *parts, cotangent_part = shared.parts
    found = verb(equation, *parts, cotangent=cotangent_part)
    return tuple(map(shared.whole, found, letters, (operand.shape for operand in operands)))


def completion_loss(equation: str, operands: tuple[Any, ...], observed: Any, verb: Callable[..., Tensor]) -> Tensor:
    """The loss on each rank: trials behind `...` may be shared out where their data are the same, and no letter."""
    read, letters = _read(equation, operands)
    output = _letters((ELLIPSIS,), len(read.dense))
    alike = observed.values.dim() == 1 and (observed.weights is None or observed.weights.dim() == 1)
    gathered = {name for names in letters for name in names if not (alike and name in output)}
    shared = _Shared.of(operands, letters, output, gathered)
    return shared.whole(verb(equation, *shared.parts, observed=observed), output, read.dense)


@dataclass(frozen=True)
class _Shared:
    """The operands' parts on this rank, and the letter that each mesh dimension shares out (None: it has all)."""

    mesh: DeviceMesh
    chosen: tuple[Letter | None, ...]
    extents: Mapping[Letter, int]
    parts: tuple[Tensor, ...]

    @staticmethod
    def of(
        operands: Sequence[Any],
        letters: Sequence[Sequence[Letter]],
        output: Sequence[Letter] = (),
        gathered: Collection[Letter] = (),
    ) -> _Shared:
        from torch.distributed.tensor import Partial, Replicate

        mesh = _mesh(operands)
        extents: dict[Letter, int] = {}
        for operand, names in zip(operands, letters):
            for name, extent in zip(names, operand.shape):
                extents[name] = max(extent, extents.get(name, 0))
        axes = [_axes(names, operand.shape, extents) for operand, names in zip(operands, letters)]
        repeated = {name for names in letters for name in names if names.count(name) > 1}

        def offers(dim: int) -> Iterator[Letter | None]:
            """The letters that operands are sharded on, and none."""
            for operand, names in zip(operands, axes):
                for name, axis in names.items():
                    if operand.placements[dim].is_shard(axis) and name not in repeated and name not in gathered:
                        yield name
            yield None

        def moved(dim: int, letter: Letter | None) -> int:
            """Elements that change ranks: operands that are placed otherwise, and an output that is to be summed."""
            placed = [
                (operand, operand.placements[dim], _placement(letter, names, Replicate))
                for operand, names in zip(operands, axes)
            ]
            summed = letter is not None and letter not in output
            sizes: list[int] = [
                operand.numel() for operand, now, then in placed if now != then and not now.is_replicate()
            ]
            return sum(sizes, prod(extents[name] for name in output) if summed else 0)

        chosen = tuple(min(offers(dim), key=partial(moved, dim)) for dim in range(mesh.ndim))
        parts = tuple(
            operand.redistribute(mesh, [_placement(letter, names, Replicate) for letter in chosen]).to_local(
                grad_placements=[_placement(letter, names, Partial) for letter in chosen]
            )
            for operand, names in zip(operands, axes)
        )
        return _Shared(mesh, chosen, extents, parts)

    def whole(self, part: Tensor, letters: Sequence[Letter], shape: Sequence[int]) -> Tensor:
        """A result, of which this rank holds a part: the letters of its leading axes, its shape."""
        from torch.distributed.tensor import DTensor, Partial

        axes = _axes(letters, shape, self.extents)
        placements = [_placement(letter, axes, Partial) for letter in self.chosen]
        strides = torch.empty(tuple(shape), device="meta").stride()
        result = DTensor.from_local(
            part, self.mesh, placements, run_check=False, shape=torch.Size(shape), stride=strides
        )
        if result.requires_grad:
            result.register_hook(_summed)
        return result


def _placement(letter: Letter | None, axes: Mapping[Letter, int], otherwise: type[Placement]) -> Placement:
    """How a tensor lies along a mesh dimension that shares out a letter; otherwise: where it lacks it."""
    from torch.distributed.tensor import Replicate, Shard

    if letter is None:
        return Replicate()
    return Shard(axes[letter]) if letter in axes else otherwise()


def _axes(letters: Sequence[Letter], shape: Sequence[int], extents: Mapping[Letter, int]) -> dict[Letter, int]:
    """Where the letters lie; those that are broadcast lie nowhere."""
    return {name: axis for axis, (name, extent) in enumerate(zip(letters, shape)) if extent == extents[name]}


def _summed(gradient: Any) -> Any:
    """The parts of a sum want its gradient whole, which torch leaves as parts where it comes so."""
    from torch.distributed.tensor import Replicate

    whole = [Replicate() if placement.is_partial() else placement for placement in gradient.placements]
    return gradient.redistribute(gradient.device_mesh, whole)


def _read(equation: str, operands: tuple[Any, ...]) -> tuple[Equation, tuple[list[Letter], ...]]:
    """The equation and each operand's letters; raises TypeError where only some operands are DTensors."""
    for position, operand in enumerate(operands):
        if isinstance(operand, Tensor) and torch._C._functorch.is_functorch_wrapped_tensor(operand):
            raise NotImplementedError(
                f"operand {position} is under a transform of torch.func, others are DTensors; of these the derivatives"
                " are autograd's"
            )
        if isinstance(operand, Tensor) and not _is_sharded(operand):
            raise TypeError(
                f"operand {position} is a plain tensor, others are DTensors (all must be:"
                " torch.distributed.tensor.distribute_tensor, or .full_tensor() of the others)"
            )
    read = read_equation(equation, operands)
    terms = zip(read.terms, operands)
    return read, tuple(_letters(term, operand.dim() - len(term) + (ELLIPSIS in term)) for term, operand in terms)


def _letters(term: Term, spread: int) -> list[Letter]:
    """A name for each axis; spread: how many stand behind `...`."""
    return [name for letter in term for name in (range(-spread, 0) if letter == ELLIPSIS else (letter,))]


def _mesh(operands: Sequence[Any]) -> DeviceMesh:
    mesh: DeviceMesh = operands[0].device_mesh
    for position, operand in enumerate(operands):
        if operand.device_mesh != mesh:
            raise ValueError(
                f"operand {position} is on {operand.device_mesh}, operand 0 is on {mesh} (device meshes must be equal)"
            )
    return mesh


def _is_sharded(tensor: Any) -> bool:
    """Whether it is a DTensor; where nobody has imported their module there is none, and it stays so."""
    module = sys.modules.get("torch.distributed.tensor")
    return module is not None and isinstance(tensor, module.DTensor)
