"""The way of a rank's gradients from its place to the sum of all ranks, and back.

Policy. One rank on a GPU keeps its slots there, and their sum is there too. Of several ranks, one
on a GPU copies its maximal subtrees into its slots on the host, which the reducer adds as it does
those of ranks on a CPU, and the result goes up again. What is copied is the columns just pushed, as
soon as their kernels are done, so that the copies of the last layers run beside the kernels of the
first; the reducer is told of them when they have arrived. The host's pages are pinned where the
system allows it. Ranks whose MPI library sends from GPUs need none of this (majelpy.comm.direct).
"""

from __future__ import annotations

from collections import deque
from typing import Any

from majelpy.array import Array, asarray, empty, kernels, zeros
from majelpy.comm.bucket import FLOAT_BYTES
from majelpy.comm.reduce import TreeReducer
from majelpy.memory import CPU, Place


class Staging:
    """Slots on a place, in front of a reducer.

    Parameters
    ----------
    reducer : TreeReducer
    place : Place
        Of this rank; others may have others.

    Attributes
    ----------
    slots : Array, shape (depth, size), float32
        Where this rank's leaves go (majelpy/ops/leaves.py); zeros at the start.
    """

    def __init__(self, reducer: TreeReducer, place: Place):
        self._reducer, self._place = reducer, place
        self._alone = reducer.ranks == 1
        self._pinned: list[int] = []
        self._copies: deque[tuple[Any, int, int]] = deque()  # under way: its mark and columns
        if place == CPU:
            self.slots = asarray(reducer.slots, copy=False)
            return
        self.slots = zeros(reducer.slots.shape, device=place)
        if self._alone:
            return
        self._result = empty(reducer.slots.shape[1], device=place)
        for memory in reducer.touched:
            if kernels.device(place).pin(memory.ctypes.data, memory.nbytes):
                self._pinned.append(memory.ctypes.data)

    def pushed(self, first: int, last: int) -> None:
        """Let the columns ``first`` up to ``last`` begin their way: they are final for this step.

        Raises
        ------
        WorldError
            As `TreeReducer.pushed` says.
        """
        if self._alone:
            return
        if self._place == CPU:
            self._reducer.pushed(first, last)
            return
        size = self.slots.shape[1]
        for node in range(self._reducer.nodes):
            pointer = self.slots.pointer + FLOAT_BYTES * (node * size + first)
            out = self._reducer.slots[node, first:last]
            mark = kernels.device(self._place).copy_out(pointer, out)
        self._copies.append((mark, first, last))
        self._hand_over()

    def reduce(self) -> Array:
        """Return the sum of all leaf vectors, shape (size,), on the place; do not write to it.

        It is valid until slots are written again. All ranks call it together.

        Notes
        -----
        Order: that of `TreeReducer.reduce`.
        """
        if self._place != CPU and self._alone:
            return self.slots[0]
        if self._place != CPU:
            while self._copies:
                self._hand_over()
            kernels.device(self._place).finish_copies()
        total = self._reducer.reduce()
        if self._place == CPU:
            return Array(total, total)  # asarray would copy what is read-only
        # This only begins. The total stays as it is until the next reduction, before which
        # `finish_copies` waits for what comes after this in the place's order.
        on = kernels.device(self._place)
        on.begin_copy(total.ctypes.data, self._result.pointer, total.nbytes)
        return self._result

    def _hand_over(self) -> None:
        """Tell the reducer which columns have arrived, and let it go on."""
        while self._copies and kernels.device(self._place).passed(self._copies[0][0]):
            self._reducer.pushed(*self._copies.popleft()[1:])
        self._reducer.poll()

    def close(self) -> None:
        """Let the host's pages go; call it before the reducer is closed."""
        if self._pinned:
            kernels.device(self._place).synchronize()
        for address in self._pinned:
            kernels.device(self._place).unpin(address)
        self._pinned = []
