"""What a way needs of the ranks that compute the model together; majelpy.comm.neighbours has it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from majelpy.array import Array


class Neighbours(Protocol):
    """See majelpy.comm.neighbours.Neighbours."""

    index: int
    count: int

    def exchange(
        self, sent: Sequence[tuple[int, Array]], shapes: Sequence[tuple[int, tuple[int, ...]]]
    ) -> list[Array]: ...

    def others(self) -> list[int]: ...
