"""`DistArray`: one array over the ranks of a mesh.

Policy. Every rank holds one local `Array`: its box, behind an axis of nodes where the array is
partial (majelpy.distributed.placement). Nothing moves unless `redistribute`, `gather` or a function
that says so is called; all ranks call these together and alike. The value never depends on ranks.
"""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np

from majelpy.array import Array
from majelpy.distributed.exchange import exchange
from majelpy.distributed.mesh import WorldMesh
from majelpy.distributed.operators import Operators
from majelpy.distributed.placement import (
    Box,
    Layout,
    Placement,
    Placements,
    Replicate,
    Shard,
)
from majelpy.distributed.route import Route, carries, collection, need_of, redistribution
from majelpy.errors import PlacementError, RangeError, ShapeError
from majelpy.memory import CPU, Place
from majelpy.memory.dtypes import FLOATS, INTEGERS, iinfo, name_of
from majelpy.standard.creation import full


class DistArray(Operators):
    """An array over a mesh; make one with `distribute`, `from_local`, `zeros`, `load`.

    Attributes
    ----------
    layout : Layout
        Global shape, mesh and placements.
    local : Array
        What this rank holds, of shape ``layout.local_shape(rank)``.
    """

    __slots__ = ("layout", "local")
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, layout: Layout, local: Array) -> None:
        expected = layout.local_shape(layout.mesh.world.rank)
        if local.shape != expected:
            raise ShapeError(f"dist: the local array is {local.shape}; {layout} needs {expected}")
        self.layout = layout
        self.local = local

    @property
    def shape(self) -> tuple[int, ...]:
        """Global shape."""
        return self.layout.shape

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def dtype(self) -> np.dtype:
        """Type of the elements."""
        return self.local.dtype

    @property
    def mesh(self) -> WorldMesh:
        """The ranks."""
        return self.layout.mesh

    @property
    def placements(self) -> tuple[Placement, ...]:
        """One for each mesh axis."""
        return self.layout.placements

    @property
    def place(self) -> Place:
        """Where this rank's local array lies."""
        return self.local.place

    def to_local(self) -> Array:
        """Return what this rank holds, without copying; of a partial array its stack of nodes."""
        return self.local

    def route(self, placements: Placements) -> Route:
        """Return the route of `redistribute`, to be printed; nothing moves."""
        return redistribution(self.layout, self.layout.like(placements), self.dtype.itemsize)

    def redistribute(self, placements: Placements) -> DistArray:
        """Return the array with other placements, moving only what must move.

        Raises
        ------
        PlacementError
            If the placements do not fit.
        WorldError
            If a rank asks for something else than rank 0.

        Notes
        -----
        Order: the nodes of a partial array are joined along the tree of its parts.
        """
        source, target = self.layout, self.layout.like(placements)
        world, me = self.mesh.world, self.mesh.world.rank
        self.mesh.agreed("redistribute", f"{name_of(self.dtype)} {source} -> {target}")
        if source == target:
            return self
        carried = carries(source, target)
        found = exchange(
            world,
            redistribution(source, target, self.dtype.itemsize),
            self.local,
            source.box(me),
            need_of(source, target, me),
            nodes=len(target.nodes(me)) if carried and target.partial else None,
            resolve=source if source.partial and not carried else None,
        )
        if target.partial and not carried:
            found = _with_neutral(target, found, self.dtype, self.place)
        assert found is not None
        return DistArray(target, found)

    def gather(self, root: int | None = None) -> Array | None:
        """Return the whole array, on every rank or on `root` alone (None elsewhere)."""
        if root is None:
            return self.redistribute([Replicate()] * self.mesh.ndim).local
        return self.collect(tuple((0, size) for size in self.shape), root)

    def collect(self, box: Box, root: int) -> Array | None:
        """Return the elements of a box on one rank, None on the others."""
        world = self.mesh.world
        if not 0 <= root < world.size:
            raise RangeError(f"gather: root {root}; needs 0 to {world.size - 1}")
        self.mesh.agreed("gather", f"{box} of {name_of(self.dtype)} {self.layout} on rank {root}")
        return exchange(
            world,
            collection(self.layout, self.dtype.itemsize, box, root),
            self.local,
            self.layout.box(world.rank),
            box if world.rank == root else None,
            resolve=self.layout if self.layout.partial else None,
        )

    def to_device(self, device: Place | str) -> DistArray:
        """Return the array with this rank's part on that place."""
        return DistArray(self.layout, self.local.to_device(device))

    def __getitem__(self, key: Any) -> DistArray:
        """Integers, slices and Ellipsis along axes that no mesh axis shards; nothing moves.

        Raises
        ------
        PlacementError
            If a sharded axis is indexed by something else than ``:``.
        """
        parts = _one_an_axis(key, self.shape)
        shape: list[int] = []
        moved: dict[int, int] = {}
        for axis, (part, size) in enumerate(zip(parts, self.shape, strict=True)):
            if part != slice(None) and self.layout.shards(axis)[0]:
                raise PlacementError(
                    f"index: axis {axis} is sharded in {self.layout}; needs ':' there, or "
                    "redistribute first"
                )
            if isinstance(part, slice):
                moved[axis] = len(shape)
                shape.append(len(range(*part.indices(size))))
        placements = tuple(
            Shard(moved[p.axis], p.parts) if isinstance(p, Shard) else p for p in self.placements
        )
        lead = () if self.layout.partial is None else (slice(None),)
        return DistArray(Layout(tuple(shape), self.mesh, placements), self.local[(*lead, *parts)])

    def __repr__(self) -> str:
        return (
            f"DistArray(shape={self.shape}, dtype={name_of(self.dtype)}, {self.mesh}, "
            f"{list(self.placements)}, local {self.local.shape} on {self.place})"
        )


def _one_an_axis(key: Any, shape: tuple[int, ...]) -> list[Any]:
    """The key with a slice or an integer for each axis."""
    parts = list(key) if isinstance(key, tuple) else [key]
    for part in parts:
        if not isinstance(part, slice) and part is not Ellipsis and not hasattr(part, "__index__"):
            raise PlacementError(f"index: {part!r}; needs integers, slices and Ellipsis")
    dots = [i for i, part in enumerate(parts) if part is Ellipsis]
    missing = len(shape) - len(parts) + len(dots)
    if missing < 0 or len(dots) > 1:
        raise RangeError(f"index: {len(parts)} indices for shape {shape}; needs one an axis")
    at = dots[0] if dots else len(parts)
    parts[at : at + len(dots)] = [slice(None)] * missing
    for axis, (part, size) in enumerate(zip(parts, shape, strict=True)):
        if not isinstance(part, slice) and not -size <= operator.index(part) < size:
            raise RangeError(f"index: {part} on axis {axis} of shape {shape}; out of range")
    return parts


def _with_neutral(target: Layout, value: Array | None, dtype: np.dtype, place: Place) -> Array:
    """Return this rank's nodes of a partial array whose first part is the value."""
    assert target.partial is not None
    shape = target.local_shape(target.mesh.world.rank)
    operation = target.partial.operation
    if dtype not in (*FLOATS, *INTEGERS):
        raise PlacementError(f"redistribute: {name_of(dtype)} to {target.partial}; needs a number")
    new = full(shape, _neutral(operation, dtype), dtype=dtype)
    if value is not None:
        new[0] = value.to_device(CPU)
    return new.to_device(place)


def _neutral(operation: str, dtype: np.dtype) -> float | int:
    """What changes no bit of the other operand: -0.0 of a sum, since -0.0 + 0.0 is 0.0."""
    if operation in ("sum", "prod"):
        whole = 0 if operation == "sum" else 1
        return whole if dtype in INTEGERS else (-0.0 if operation == "sum" else 1.0)
    lowest = operation == "max"
    if dtype in FLOATS:
        return -math.inf if lowest else math.inf
    limits = iinfo(dtype)
    return limits.min if lowest else limits.max
