"""Which processor a rank computes on, and how much of its memory it takes.

Policy. `choose` is local and says at once if there is no such GPU; `take_pool` is where the ranks
that share a GPU, or the memory of a host, divide it: 90% of what was free, unless the launch says
how much. On a CPU that is no more than a range of addresses; only what is used costs memory.
"""

from __future__ import annotations

from collections.abc import Callable

from majelpy.array import kernels
from majelpy.comm.world import World
from majelpy.gpu import device as gpu
from majelpy.memory import CPU, Place, parse_place
from majelpy.memory.free_memory import free_bytes
from majelpy.memory.pool import Pool, set_pool


def choose(text: str, local_rank: int = 0) -> Place:
    """Return the place of ``--place``, started; ``gpu`` takes turns among the ranks of a host.

    Raises
    ------
    MajelError
        If the text is no place, or there is no such GPU, or the kernels cannot be had.
    """
    place = parse_place(text)
    if text == "gpu":
        place = Place("gpu", local_rank % gpu.count())
    if place != CPU:
        kernels.device(place)
    return place


def take_pool(
    place: Place,
    world: World,
    nbytes: int | None = None,
    report: Callable[[str], object] | None = None,
) -> Pool:
    """Let new arrays on the place use a pool of that size; all ranks call it together.

    Parameters
    ----------
    nbytes : int, optional
        By default a share of 90% of the free memory of the GPU or, on a CPU, of the host.
    report : callable, optional
        As of `Pool`.
    """
    mine = (world.host, free_bytes())
    if place != CPU:
        on = kernels.device(place)
        mine = (on.identity, on.free_bytes)
    # Everyone has looked before anyone takes.
    free = [bytes_ for identity, bytes_ in world.all_gather(mine) if identity == mine[0]]
    if nbytes is None:
        nbytes = min(free) * 9 // 10 // len(free)
    new = Pool(nbytes, place, report=report)
    set_pool(new)
    return new
