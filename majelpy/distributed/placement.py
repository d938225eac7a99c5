"""Placements, and the `Layout` that says which rank holds which part of an array.

Policy. Pure integers, no messages. Mesh axes that shard the same array axis act as one axis, in
mesh-axis order, and so do those that are `Partial`; ranks get contiguous ranges, as even as they
go (`majelpy.tree.leaf_range`). The value of a partial array does not depend on ranks: it is
the sum of `parts` parts along the tree of `majelpy.tree`, of which each rank holds the maximal
subtrees of its range of parts, in order, as a stack of nodes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from majelpy import tree
from majelpy.distributed.mesh import WorldMesh
from majelpy.errors import PlacementError, RangeError, ShapeError

OPERATIONS = ("sum", "prod", "max", "min")
"""By which the parts of a partial array may be joined."""

Box = tuple[tuple[int, int], ...]
"""A range ``first <= index < last`` for each array axis."""


@dataclass(frozen=True)
class Shard:
    """The ranks along the mesh axis divide an array axis.

    Attributes
    ----------
    axis : int
        Of the array; negative ones count from the end.
    parts : int, optional
        Cut the axis in so many parts first, and give each rank whole parts; None divides elements.
    """

    axis: int
    parts: int | None = None

    def __repr__(self) -> str:
        return f"Shard({self.axis}{'' if self.parts is None else f', parts={self.parts}'})"


@dataclass(frozen=True)
class Replicate:
    """The ranks along the mesh axis hold the same."""


@dataclass(frozen=True)
class Partial:
    """The ranks along the mesh axis hold nodes of a tree of parts that is not yet joined.

    Attributes
    ----------
    parts : int, optional
        Parts of the whole; None means one for each rank, so that the bits depend on the mesh.
    operation : str
        ``"sum"``, ``"prod"``, ``"max"`` or ``"min"``.
    """

    parts: int | None = None
    operation: str = "sum"

    def __repr__(self) -> str:
        texts = [] if self.parts is None else [f"parts={self.parts}"]
        texts += [] if self.operation == "sum" else [f"operation={self.operation!r}"]
        return f"Partial({', '.join(texts)})"


Placement = Shard | Replicate | Partial
Placements = Sequence[Placement] | Mapping[str, Placement]
"""A placement for each mesh axis, or by name, where those not named are `Replicate()`."""


def bound(size: int, parts: int, part: int) -> int:
    """Return where a part of an axis begins, and for ``part == parts`` where the last one ends."""
    return size if part == parts else tree.leaf_range(size, parts, part)[0]


@dataclass(frozen=True)
class Layout:
    """Global shape, mesh and placements; made by `layout`, which checks them."""

    shape: tuple[int, ...]
    mesh: WorldMesh
    placements: tuple[Placement, ...]

    @property
    def partial(self) -> Partial | None:
        """The placement of the partial mesh axes, None if there is none."""
        return next((p for p in self.placements if isinstance(p, Partial)), None)

    @property
    def partial_axes(self) -> tuple[int, ...]:
        """The mesh axes that are partial."""
        return tuple(i for i, p in enumerate(self.placements) if isinstance(p, Partial))

    def shards(self, axis: int) -> tuple[tuple[int, ...], Shard | None]:
        """Return the mesh axes that divide an array axis, and how they do it."""
        found = {
            i: p for i, p in enumerate(self.placements) if isinstance(p, Shard) and p.axis == axis
        }
        return tuple(found), next(iter(found.values()), None)

    def box(self, rank: int) -> Box:
        """Return what a rank holds of each axis."""
        ranges = []
        for axis, size in enumerate(self.shape):
            axes, shard = self.shards(axis)
            position, count = self.mesh.position(axes, rank)
            parts = size if shard is None or shard.parts is None else shard.parts
            first, last = tree.leaf_range(parts, count, position)
            if parts != size:
                first, last = bound(size, parts, first), bound(size, parts, last)
            ranges.append((first, last))
        return tuple(ranges)

    def parts(self, rank: int) -> tree.Node | None:
        """Return the range of parts that a rank holds, None if nothing is partial."""
        if self.partial is None:
            return None
        position, count = self.mesh.position(self.partial_axes, rank)
        return tree.leaf_range(self.partial.parts or 0, count, position)

    def nodes(self, rank: int) -> list[tree.Node]:
        """Return the nodes on a rank's stack; none if nothing is partial."""
        held = self.parts(rank)
        return [] if held is None or self.partial is None else _nodes(self.partial, held)

    def local_shape(self, rank: int) -> tuple[int, ...]:
        """Return the shape of a rank's local array; a partial one has its nodes first."""
        sizes = tuple(last - first for first, last in self.box(rank))
        return sizes if self.partial is None else (len(self.nodes(rank)), *sizes)

    def like(self, placements: Placements) -> Layout:
        """Return the layout of the same array with other placements."""
        return layout("redistribute", self.shape, self.mesh, placements)

    def __repr__(self) -> str:
        return f"{self.shape} on {self.mesh} as {list(self.placements)}"


def layout(operation: str, shape: Sequence[int], mesh: WorldMesh, placements: Placements) -> Layout:
    """Return the checked layout: axes from the front, parts of partial axes filled in.

    Raises
    ------
    PlacementError
        If placements do not fit the mesh or one another.
    RangeError
        If a placement shards an axis that is not there.
    ShapeError
        If a size is negative.
    """
    sizes = tuple(int(size) for size in shape)
    if any(size < 0 for size in sizes):
        raise ShapeError(f"{operation}: shape {sizes}; sizes must not be negative")
    found = []
    for placement in _one_an_axis(operation, mesh, placements):
        if isinstance(placement, Shard):
            if not isinstance(placement.axis, int) or not -len(sizes) <= placement.axis < len(
                sizes
            ):
                raise RangeError(
                    f"{operation}: {placement} of shape {sizes}; there is no such axis"
                )
            placement = replace(placement, axis=placement.axis % len(sizes))
        if isinstance(placement, Partial) and placement.operation not in OPERATIONS:
            raise PlacementError(
                f"{operation}: {placement}; operation needs one of {', '.join(OPERATIONS)}"
            )
        if not isinstance(placement, Replicate) and (
            placement.parts is not None
            and (not isinstance(placement.parts, int) or placement.parts < 1)
        ):
            raise PlacementError(f"{operation}: {placement}; parts must be 1 or more")
        found.append(placement)
    plain = Layout(sizes, mesh, tuple(found))
    count = math.prod(mesh.sizes[i] for i in plain.partial_axes)
    filled = tuple(
        replace(p, parts=count) if isinstance(p, Partial) and p.parts is None else p for p in found
    )
    for one in filled:
        for other in filled:
            clash = (
                isinstance(one, Shard) and isinstance(other, Shard) and one.axis == other.axis
            ) or (isinstance(one, Partial) and isinstance(other, Partial))
            if clash and one != other:
                raise PlacementError(
                    f"{operation}: {one} and {other} cannot be combined; needs equal ones"
                )
    return Layout(sizes, mesh, filled)


def _one_an_axis(operation: str, mesh: WorldMesh, placements: Placements) -> list[Placement]:
    if isinstance(placements, Mapping):
        for name in placements:
            mesh.axis(name)
        placements = [placements.get(name, Replicate()) for name in mesh.names]
    listed = list(placements) if isinstance(placements, Sequence) else [placements]
    if not all(isinstance(p, Shard | Replicate | Partial) for p in listed):
        raise PlacementError(
            f"{operation}: placements {placements!r}; needs Shard, Replicate or Partial an axis"
        )
    if len(listed) != mesh.ndim:
        raise PlacementError(
            f"{operation}: {len(listed)} placements {listed} for {mesh}; needs {mesh.ndim}"
        )
    return listed


def _nodes(partial: Partial, held: tree.Node) -> list[tree.Node]:
    return tree.nodes(partial.parts or 0, *held)


def sizes_of(box: Box) -> tuple[int, ...]:
    """Return the shape of a box."""
    return tuple(last - first for first, last in box)


def common(a: Box, b: Box) -> Box | None:
    """Return what two boxes have in common, None if that is empty."""
    found = tuple(
        (max(first, low), min(last, high)) for (first, last), (low, high) in zip(a, b, strict=True)
    )
    return None if any(first >= last for first, last in found) else found


def inside(box: Box, outer: Box) -> bool:
    """Say whether a box lies in another; an empty one does everywhere."""
    return 0 in sizes_of(box) or common(box, outer) == box


def within(box: Box, origin: Box) -> tuple[Any, ...]:
    """Return the index of a box in the array that holds `origin`, all nodes of a partial one."""
    return (
        ...,
        *(
            slice(first - start, last - start)
            for (first, last), (start, _) in zip(box, origin, strict=True)
        ),
    )
