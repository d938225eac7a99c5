"""A world that is only said to be there: for what distributed arrays decide without messages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from majelpy.distributed import WorldMesh


@dataclass(frozen=True)
class SaidWorld:
    """Ranks without messages, seen from one of them; asked what they ask for, all say the same."""

    size: int
    rank: int = 0
    hosts: tuple[tuple[int, ...], ...] = ()

    def all_gather(self, value: Any) -> list[Any]:
        return [value] * self.size

    def wait(self, requests: Any) -> None:
        assert not list(requests), "a said world has no messages"

    def agree(self, error: Exception | None) -> None:
        if error is not None:
            raise error


def said_mesh(rank: int = 0, hosts: int = 1, **axes: int) -> WorldMesh:
    """Return a mesh of said ranks, on so many hosts of equal size."""
    size = 1
    for count in axes.values():
        size *= count
    per = size // hosts
    groups = tuple(tuple(range(h * per, (h + 1) * per)) for h in range(hosts))
    return WorldMesh(SaidWorld(size, rank, groups), axes)  # type: ignore[arg-type]
