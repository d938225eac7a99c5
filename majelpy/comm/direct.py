"""Gradients that never leave the GPUs: slots, messages and sum in device memory.

Policy. Where all ranks that add together are on GPUs and the MPI library sends from device memory,
each rank counts as a host of its own, messages go from GPU to GPU, and kernels add. MPI knows
nothing of the order of launches, so the host waits: columns are sent when a mark behind the
kernels that wrote them has passed.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from majelpy.array import Array, kernels
from majelpy.comm.device_memory import array_at
from majelpy.comm.reduce import TreeReducer
from majelpy.comm.staging import Staging
from majelpy.comm.world import World
from majelpy.memory import CPU, Place


def place_of_sums(world: World, place: Place) -> Place:
    """Return where a rank of that place adds: there, or on the CPU. All ranks call it together.

    It is the CPU for all, unless each of several ranks is on a GPU and has an MPI library that
    sends from it.
    """
    direct = place != CPU and world.sends_from_gpu()
    return place if all(world.all_gather(direct)) else CPU


def slots_for(reducer: TreeReducer, place: Place) -> Staging | DirectSlots:
    """Return slots on a rank's place, in front of a reducer that adds there or on the CPU."""
    return Staging(reducer, place) if reducer.place == CPU else DirectSlots(reducer)


class DirectSlots:
    """Slots on the GPU on which a reducer adds: what `Staging` is, without copies.

    Parameters
    ----------
    reducer : TreeReducer

    Attributes
    ----------
    slots : Array, shape (depth, size), float32
        Where this rank's leaves go; zeros at the start.
    """

    def __init__(self, reducer: TreeReducer):
        self._reducer, self._device = reducer, kernels.device(reducer.place)
        self.slots = array_at(reducer.slots, reducer.place)
        self._pushes: deque[tuple[Any, int, int]] = deque()  # a mark behind each, and its columns

    def pushed(self, first: int, last: int) -> None:
        """Let the columns ``first`` up to ``last`` begin their way: they are final for this step.

        Raises
        ------
        WorldError
            As `TreeReducer.pushed` says.
        """
        self._pushes.append((self._device.point(), first, last))
        self._hand_over()

    def reduce(self) -> Array:
        """Return the sum of all leaf vectors, shape (size,), on the GPU; do not write to it.

        It is valid until slots are written again. All ranks call it together.

        Notes
        -----
        Order: that of `TreeReducer.reduce`.
        """
        while self._pushes:
            self._hand_over()
        self._device.synchronize()  # also what was written without a push
        return array_at(self._reducer.reduce(), self._reducer.place)

    def _hand_over(self) -> None:
        """Tell the reducer which columns are written, and let it go on."""
        while self._pushes and self._device.passed(self._pushes[0][0]):
            self._reducer.pushed(*self._pushes.popleft()[1:])
        self._reducer.poll()

    def close(self) -> None:
        """Let the memory go; call it before the reducer is closed."""
        del self.slots
