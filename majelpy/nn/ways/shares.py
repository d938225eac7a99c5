"""What each rank of a model computes, by the way that they go (majelpy/mesh.py)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from majelpy.array import Array
from majelpy.errors import WorldError
from majelpy.nn.share import Share
from majelpy.nn.ways.directions import DirectionShare
from majelpy.nn.ways.hidden import HiddenShare
from majelpy.nn.ways.neighbours import Neighbours
from majelpy.nn.ways.time import TimeShare

SHARES: Mapping[str, type[TimeShare] | type[DirectionShare] | type[HiddenShare]] = {
    "time": TimeShare,
    "directions": DirectionShare,
    "hidden": HiddenShare,
}
"""One a way; a way without a name is `Share`, all of the model."""


def share_of(way: str, parts: int, neighbours: Neighbours) -> Share:
    """Return the share of the rank that these are the neighbours of."""
    return SHARES[way](parts, neighbours) if way else Share(parts)


@dataclass(frozen=True)
class Shapes:
    """A rank's place among its neighbours, for the shapes of its share; nothing is exchanged."""

    index: int
    count: int

    def exchange(self, sent: object, shapes: object) -> list[Array]:
        raise WorldError("exchange: this share is only asked for its shapes")

    def others(self) -> list[int]:
        return [i for i in range(self.count) if i != self.index]
