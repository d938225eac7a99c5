"""Directions: each of two ranks runs one direction of the recurrent layer.

Policy. Each holds the recurrent layer's weights of its direction, and all other layers, which both
compute alike. The two exchange the states to add them up, and the gradients by the layer's input.
"""

from __future__ import annotations

from majelpy import ops
from majelpy.array import Array
from majelpy.nn.batch import Batch
from majelpy.nn.share import Share, States
from majelpy.nn.ways.neighbours import Neighbours


class DirectionShare(Share):
    """One direction.

    Parameters
    ----------
    parts : int
        Of the recipe; at least 2.
    neighbours : Neighbours
        Two ranks.
    """

    def __init__(self, parts: int, neighbours: Neighbours):
        super().__init__(parts)
        self._neighbours, self._direction = neighbours, neighbours.index

    def directions(self, count: int) -> tuple[int, int]:
        return (0, 1) if count == 1 else (self._direction, self._direction + 1)

    def _sum(self, mine: Array) -> Array:
        """What both directions have, the forward one's first."""
        other = 1 - self._direction
        (theirs,) = self._neighbours.exchange([(other, mine)], [(other, mine.shape)])
        both = [mine, theirs.to_device(mine.place)]
        return ops.add(*(both if self._direction == 0 else both[::-1]))

    def recur(self, x: Array, batch: Batch, weight: Array, directions: int) -> States:
        if directions == 1:  # both ranks compute it
            return super().recur(x, batch, weight, directions)
        h = ops.rnn_forward(x, batch.offsets, weight, parts=self.parts, first=self._direction)
        return States(h, h)

    def recur_back(
        self, dy: Array, batch: Batch, weight: Array, states: States, directions: int
    ) -> Array:
        if directions == 1:
            return super().recur_back(dy, batch, weight, states, directions)
        return ops.rnn_backward(
            *(dy, batch.offsets, weight, states.own), parts=self.parts, first=self._direction
        )

    def previous(self, states: States, batch: Batch, directions: int) -> Array:
        if directions == 1:
            return super().previous(states, batch, directions)
        return ops.rnn_previous(states.whole, batch.offsets, 1, first=self._direction)

    def sum_directions(self, h: Array, directions: int) -> Array:
        return h if directions == 1 else self._sum(h)

    def direction_gradient(self, d: Array, weight: Array, units: int, directions: int) -> Array:
        mine = self.unit_gradient(d, weight, units)
        return mine if directions == 1 else self._sum(mine)
