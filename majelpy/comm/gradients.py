"""The sum of gradients: the one name that a trainer needs of this package.

Policy. A rank's leaves go into `slots` on its place, its backward pass tells what is final
(`pushed`), and `reduce` returns the sum of all ranks on that place. Behind it stand the reducer
(majelpy.comm.reduce) and one of three ways to it: slots that are the reducer's own, slots on a GPU
that are copied to the host (majelpy.comm.staging), and slots on a GPU that MPI sends from
(majelpy.comm.direct). None of these changes a bit.
"""

from __future__ import annotations

import numpy as np

from majelpy.array import Array
from majelpy.comm.direct import place_of_sums, slots_for
from majelpy.comm.reduce import Ranges, TreeReducer
from majelpy.comm.world import World
from majelpy.memory import Place


class GradientSum:
    """Sums the leaf gradients of all ranks. All ranks make, use and close it together.

    Parameters
    ----------
    world, leaves, size, bucket_bytes, shared_memory, overlap, ranges, rounded
        See `TreeReducer`.
    place : Place
        Where this rank computes; others may have others.

    Attributes
    ----------
    slots : Array, shape (depth, size), float32
        Where this rank's leaves go (majelpy/ops/leaves.py); zeros at the start.
    merges : numpy.ndarray, shape (number of its leaves,), int32
        How often slots are added after each leaf.

    Raises
    ------
    WorldError, ShapeError
        As `TreeReducer` says.
    """

    def __init__(
        self,
        world: World,
        leaves: int,
        size: int,
        *,
        place: Place,
        bucket_bytes: int,
        shared_memory: bool,
        overlap: bool,
        ranges: Ranges | None = None,
        rounded: int = 0,
    ):
        self._reducer = TreeReducer(
            world,
            leaves,
            size,
            bucket_bytes=bucket_bytes,
            shared_memory=shared_memory,
            overlap=overlap,
            ranges=ranges,
            place=place_of_sums(world, place),
            rounded=rounded,
        )
        self._way = slots_for(self._reducer, place)
        self.slots: Array = self._way.slots
        self.merges: np.ndarray = self._reducer.merges

    @property
    def seconds(self) -> tuple[float, float]:
        """Of the last sum: what it took after the backward pass, and in all."""
        return self._reducer.exposed_seconds, self._reducer.exchange_seconds

    @property
    def nbytes(self) -> int:
        """Bytes of this rank's part of the host's memory: its slots, and on one rank the sum."""
        return self._reducer.touched[0].nbytes

    def pushed(self, first: int, last: int) -> None:
        """Let the columns ``first`` up to ``last`` begin their way: they are final for this step.

        Raises
        ------
        WorldError
            As `TreeReducer.pushed` says.
        """
        self._way.pushed(first, last)

    def reduce(self) -> Array:
        """Return the sum of all leaf vectors, shape (size,), on the place; do not write to it.

        It is valid until slots are written again. All ranks call it together.

        Notes
        -----
        Order: the tree of `majelpy.tree` over all leaves, element by element.
        """
        return self._way.reduce()

    def close(self) -> None:
        """Give the memory back; neither slots nor a sum may be used after."""
        del self.slots
        self._way.close()
        self._reducer.close()
