"""How placements of operands give those of a result.

Policy. Each operand says which axis of the result (or which joined axis) each of its axes is; a
mesh axis shards of the result what it shards of the first operand that it shards at all. An
operand that holds more than it needs is sliced, which is free; where a rank lacks something,
the operation is refused with the `redistribute` that helps. Nothing moves unasked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from majelpy.array import Array, empty
from majelpy.distributed.placement import (
    Layout,
    Placement,
    Replicate,
    Shard,
    inside,
    layout,
    within,
)
from majelpy.errors import PlacementError, WorldError

if TYPE_CHECKING:
    from majelpy.distributed.array import DistArray

Labels = Sequence[int | None]
"""For each axis of an operand its label, None where it is repeated along the result's."""

Cut = tuple[int, int | None]
"""The label of the axis that a mesh axis divides, and in how many parts."""


def one_mesh(operation: str, *operands: DistArray) -> None:
    """Refuse operands on several meshes, and partial ones."""
    for number, x in enumerate(operands, 1):
        if x.mesh != operands[0].mesh:
            raise WorldError(
                f"{operation}: operands on {operands[0].mesh} and {x.mesh}; needs one mesh"
            )
        if x.layout.partial is not None:
            helpful = [Replicate() if p == x.layout.partial else p for p in x.placements]
            raise PlacementError(
                f"{operation}: operand {number} is {x.layout.partial}, whose parts are not joined "
                f"yet; needs x.redistribute({helpful}) or a Shard first"
            )


def cuts(operation: str, layouts: Sequence[Layout], labels: Sequence[Labels]) -> list[Cut | None]:
    """Return for each mesh axis what it divides, None if nothing."""
    found: list[Cut | None] = [None] * layouts[0].mesh.ndim
    for number, (one, names) in enumerate(zip(layouts, labels, strict=True), 1):
        for i, placement in enumerate(one.placements):
            if not isinstance(placement, Shard):
                continue
            label = names[placement.axis]
            if label is None:
                raise PlacementError(
                    f"{operation}: operand {number} is {one}, and its axis {placement.axis} is "
                    "used whole by every rank; needs Replicate() for it: redistribute first"
                )
            if found[i] is None:
                found[i] = (label, placement.parts)
    return found


def needed(one: Layout, names: Labels, wanted: Sequence[Cut | None]) -> tuple[Placement, ...]:
    """Return the placements in which an operand has just what the result needs."""
    return tuple(
        Replicate() if cut is None or cut[0] not in names else Shard(names.index(cut[0]), cut[1])
        for cut in wanted
    )


def sliced(
    operation: str, number: int, x: DistArray, names: Labels, wanted: Sequence[Cut | None]
) -> Array:
    """Return what this rank needs of an operand.

    Raises
    ------
    PlacementError
        If a rank, this one or another, does not hold what it needs.
    """
    target = layout(operation, x.shape, x.mesh, needed(x.layout, names, wanted))
    for rank in range(x.mesh.world.size):
        if not inside(target.box(rank), x.layout.box(rank)):
            raise PlacementError(
                f"{operation}: operand {number} is {x.layout}, and needs "
                f"x.redistribute({list(target.placements)}) first"
            )
    me = x.mesh.world.rank
    need, held = target.box(me), x.layout.box(me)
    if need == held:
        return x.local
    if 0 in target.local_shape(me):  # nothing, whatever is held
        return empty(target.local_shape(me), x.dtype, x.place)
    return x.local[within(need, held)]


def placements_of(
    wanted: Sequence[Cut | None], others: Mapping[int, Placement]
) -> tuple[Placement, ...]:
    """Return the result's placements; `others` stand for labels that are none of its axes."""
    return tuple(Replicate() if cut is None else others.get(cut[0], Shard(*cut)) for cut in wanted)
