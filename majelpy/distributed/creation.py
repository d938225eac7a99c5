"""Making of distributed arrays.

Policy. All ranks call these together and alike. A ``device`` says where this rank's part lies; it
may differ from rank to rank.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from majelpy.array import Array, asarray, empty
from majelpy.array import zeros as local_zeros
from majelpy.distributed.array import DistArray
from majelpy.distributed.exchange import exchange
from majelpy.distributed.mesh import WorldMesh
from majelpy.distributed.placement import Layout, Partial, Placements, layout, within
from majelpy.distributed.route import scattering
from majelpy.errors import PlacementError, RangeError, ShapeError, WorldError
from majelpy.memory import CPU, Place, parse_place
from majelpy.memory.dtypes import dtype_of, name_of
from majelpy.standard import creation

Device = Place | str | None


def full(
    shape: Sequence[int],
    value: bool | int | float,
    mesh: WorldMesh,
    placements: Placements,
    *,
    dtype: Any = None,
    device: Device = None,
) -> DistArray:
    """Return an array of one value; nothing moves.

    Raises
    ------
    PlacementError
        If the placements do not fit, or if one is partial.
    """
    made = partial(creation.full, fill_value=value, dtype=dtype)
    return _made("full", made, shape, mesh, placements, device)


def zeros(
    shape: Sequence[int],
    mesh: WorldMesh,
    placements: Placements,
    *,
    dtype: Any = None,
    device: Device = None,
) -> DistArray:
    """Return an array of zeros, float32 if not said otherwise; see `full`."""
    return _made("zeros", partial(local_zeros, dtype=dtype), shape, mesh, placements, device)


def ones(
    shape: Sequence[int],
    mesh: WorldMesh,
    placements: Placements,
    *,
    dtype: Any = None,
    device: Device = None,
) -> DistArray:
    """Return an array of ones, float32 if not said otherwise; see `full`."""
    return _made("ones", partial(creation.ones, dtype=dtype), shape, mesh, placements, device)


def _made(
    operation: str,
    make: Callable[[tuple[int, ...]], Array],
    shape: Sequence[int],
    mesh: WorldMesh,
    placements: Placements,
    device: Device,
) -> DistArray:
    target = whole(operation, layout(operation, shape, mesh, placements))
    local = make(target.local_shape(mesh.world.rank))
    return DistArray(target, local.to_device(place_of(device)))


def from_local(
    local: Any, shape: Sequence[int], mesh: WorldMesh, placements: Placements
) -> DistArray:
    """Return the array of that global shape of which each rank brings what it holds.

    Parameters
    ----------
    local
        This rank's box of ``layout(...).local_shape(rank)``; of a partial array its stack of nodes.
        Ranks that replicate must bring the same; that is not checked.

    Raises
    ------
    ShapeError
        If a rank brings another shape than it should; one of them says so, all others raise
        `majelpy.comm.world.RankFailed`.
    WorldError
        If the ranks bring several types, or ask for several layouts.
    """
    here = local if isinstance(local, Array) else asarray(local)
    target = layout("from_local", shape, mesh, placements)
    mesh.agreed("from_local", f"{name_of(here.dtype)} {target}")
    expected = target.local_shape(mesh.world.rank)
    error = ShapeError(
        f"from_local: the local array is {here.shape}; {target} needs {expected} on rank "
        f"{mesh.world.rank}"
    )
    mesh.world.agree(None if here.shape == expected else error)
    return DistArray(target, here)


def distribute(
    array: Any,
    mesh: WorldMesh,
    placements: Placements,
    *,
    root: int | None = None,
    device: Device = None,
) -> DistArray:
    """Return an array that every rank has whole, or that `root` alone has, as a distributed one.

    Parameters
    ----------
    array
        The whole array; with `root` the other ranks may bring None.
    root : int, optional
        The rank that sends each rank its part. If None nothing moves: each takes its own.

    Raises
    ------
    PlacementError
        If the placements do not fit, or if one is partial.
    RangeError
        If there is no such rank.
    """
    world, place = mesh.world, place_of(device)
    if root is not None and not 0 <= root < world.size:
        raise RangeError(f"distribute: root {root}; needs 0 to {world.size - 1}")
    here = array if isinstance(array, Array) or array is None else asarray(array)
    giver = world.rank if root is None else root
    known = None if here is None else (here.shape, name_of(here.dtype))
    facts = known if root is None else world.broadcast(known, root)
    if facts is None:
        raise WorldError("distribute: no array; needs one on each rank, or on the root rank")
    shape, dtype = facts[0], dtype_of("distribute", facts[1])
    target = whole("distribute", layout("distribute", shape, mesh, placements))
    mesh.agreed("distribute", f"{facts[1]} {target} from rank {root}")
    box = target.box(world.rank)
    if root is None and here is not None:
        return DistArray(target, _own(here, within(box, tuple((0, n) for n in shape)), place))
    local = here if here is not None and world.rank == giver else empty((0,) * len(shape), dtype)
    origin = tuple((0, size) for size in shape) if world.rank == giver else None
    route = scattering(target, dtype.itemsize, giver)
    found = exchange(world, route, local.to_device(CPU), origin, box)
    assert found is not None
    return DistArray(target, found.to_device(place))


def _own(whole: Array, key: tuple[slice, ...], place: Place) -> Array:
    """Part of an array in memory of its own, so that it neither follows nor keeps the whole."""
    return whole[key].copy().to_device(place)


def whole(operation: str, target: Layout) -> Layout:
    """Return a layout, refused if something in it is partial."""
    if isinstance(target.partial, Partial):
        raise PlacementError(
            f"{operation}: {target.partial}; needs Shard or Replicate (from_local takes nodes)"
        )
    return target


def place_of(device: Device) -> Place:
    """Return the place that a ``device`` argument means; the CPU for None."""
    if device is None:
        return CPU
    return parse_place(device) if isinstance(device, str) else device
