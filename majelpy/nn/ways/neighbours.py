"""What a way needs of the ranks that compute the model together; majelpy.comm.neighbours has it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from majelpy import ops
from majelpy.array import Array


class Neighbours(Protocol):
    """See majelpy.comm.neighbours.Neighbours."""

    @property
    def index(self) -> int: ...

    @property
    def count(self) -> int: ...

    def exchange(
        self, sent: Sequence[tuple[int, Array]], shapes: Sequence[tuple[int, tuple[int, ...]]]
    ) -> list[Array]: ...

    def others(self) -> list[int]: ...


def add_other(neighbours: Neighbours, mine: Array) -> Array:
    """Return the sum of what two ranks have, the first one's first."""
    other = 1 - neighbours.index
    (theirs,) = neighbours.exchange([(other, mine)], [(other, mine.shape)])
    both = [mine, theirs.to_device(mine.place)]
    return ops.add(*(both if neighbours.index == 0 else both[::-1]))
