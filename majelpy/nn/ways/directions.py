"""Directions: each of two ranks runs one direction of the recurrent layer.

Policy. Each holds the recurrent layer's weights of its direction, and all other layers, which both
compute alike. The two exchange the states to add them up, and the gradients by the layer's input.
"""

from __future__ import annotations

from majelpy.array import Array
from majelpy.nn.share import Share
from majelpy.nn.ways.neighbours import Neighbours, add_other


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
        # Both ranks compute a layer of one direction.
        return (0, 1) if count == 1 else (self._direction, self._direction + 1)

    def sum_directions(self, h: Array, directions: int) -> Array:
        return h if directions == 1 else add_other(self._neighbours, h)

    def direction_gradient(
        self, d: Array, weight: Array, units: int, directions: int, gates: int
    ) -> Array:
        mine = self.gates_gradient(d, weight, units, gates)
        return mine if directions == 1 else add_other(self._neighbours, mine)
