"""Exchange of arrays among the few ranks that compute one model together.

Policy. Whole, contiguous arrays go to named ranks and come from them, all at once; both sides know
the shapes. Arrays on a GPU go by way of the host. Empty arrays are not sent.
"""

from __future__ import annotations

from collections.abc import Sequence

from majelpy.array import Array, empty
from majelpy.comm.tags import Tag
from majelpy.comm.world import World
from majelpy.memory import CPU


class Neighbours:
    """Ranks of one model, seen from one of them.

    Parameters
    ----------
    world : World
        Of these ranks alone.

    Attributes
    ----------
    index, count : int
        This rank's place among them, and their number.
    sent_bytes : int
        Bytes that this rank has sent so far.
    """

    def __init__(self, world: World):
        self._world = world
        self.index, self.count = world.rank, world.size
        self.sent_bytes = 0

    def exchange(
        self,
        sent: Sequence[tuple[int, Array]],
        shapes: Sequence[tuple[int, tuple[int, ...]]],
    ) -> list[Array]:
        """Send float32 arrays, and return, on the CPU, those that come.

        Parameters
        ----------
        sent : sequence of (neighbour, array)
        shapes : sequence of (neighbour, shape)
            What comes, in the order in which that neighbour sends it.
        """
        found = [empty(shape) for _, shape in shapes]
        requests = [
            self._world.receive(x.numpy(), rank, Tag.NEIGHBOURS)
            for (rank, _), x in zip(shapes, found, strict=True)
            if x.size
        ]
        hosted = [(rank, x.to_device(CPU)) for rank, x in sent if x.size]
        for rank, x in hosted:
            self.sent_bytes += 4 * x.size
            requests.append(self._world.send(x.numpy(), rank, Tag.NEIGHBOURS))
        self._world.wait(requests)
        return found

    def others(self) -> list[int]:
        """The other ranks' places, ascending."""
        return [i for i in range(self.count) if i != self.index]
