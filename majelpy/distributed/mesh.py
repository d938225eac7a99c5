"""`WorldMesh`: the ranks of a world laid out on named axes.

Policy. Ranks stand in row-major order of the axes: the last axis has neighbouring ranks. A mesh
has all ranks of its world, and nothing here sends a message but `agreed`. That of a training, which
needs no world, is another class (majelpy/mesh.py, docs/decisions/0003-two-meshes.md).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from majelpy.comm.world import World
from majelpy.errors import RangeError, WorldError


class WorldMesh:
    """The ranks of a world on named axes; all ranks make it alike.

    Parameters
    ----------
    world
        The ranks.
    axes
        Size of each axis by its name, such as ``{"data": 2, "model": 2}``; the product is the
        size of the world.

    Attributes
    ----------
    world : World
    names : tuple of str
    sizes : tuple of int

    Raises
    ------
    WorldError
        If the sizes do not make the world, or if a name or size cannot be used.
    """

    def __init__(self, world: World, axes: Mapping[str, int]) -> None:
        self.world = world
        self.names = tuple(axes)
        self.sizes = tuple(axes.values())
        for name, size in axes.items():
            if not isinstance(name, str) or not isinstance(size, int) or size < 1:
                raise WorldError(
                    f"mesh: axis {name!r} of size {size!r}; needs a name and 1 or more"
                )
        if math.prod(self.sizes) != world.size:
            raise WorldError(
                f"mesh: {self} has {math.prod(self.sizes)} ranks and the world has {world.size}; "
                "needs axes whose product is the size of the world"
            )

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.sizes)

    def axis(self, name: str) -> int:
        """Return the number of the axis of that name.

        Raises
        ------
        RangeError
            If there is none.
        """
        if name not in self.names:
            raise RangeError(f"mesh: no axis {name!r} in {self}")
        return self.names.index(name)

    def size(self, name: str) -> int:
        """Return the size of an axis."""
        return self.sizes[self.axis(name)]

    def coordinates(self, rank: int | None = None) -> tuple[int, ...]:
        """Return where a rank stands on each axis; this one if None."""
        rest = self.world.rank if rank is None else rank
        if not 0 <= rest < self.world.size:
            raise RangeError(f"mesh: rank {rank}; needs 0 to {self.world.size - 1}")
        found = []
        for size in reversed(self.sizes):
            found.append(rest % size)
            rest //= size
        return tuple(reversed(found))

    def coordinate(self, name: str, rank: int | None = None) -> int:
        """Return where a rank stands on an axis; this one if None."""
        return self.coordinates(rank)[self.axis(name)]

    def rank_at(self, coordinates: Sequence[int]) -> int:
        """Return the rank at these coordinates, one an axis."""
        fits = len(coordinates) == self.ndim
        if not fits or not all(0 <= c < n for c, n in zip(coordinates, self.sizes, strict=True)):
            raise RangeError(f"mesh: no rank at {tuple(coordinates)} of {self}")
        rank = 0
        for coordinate, size in zip(coordinates, self.sizes, strict=True):
            rank = rank * size + coordinate
        return rank

    def ranks_along(self, name: str, rank: int | None = None) -> tuple[int, ...]:
        """Return the ranks that differ from a rank (this one if None) on that axis alone."""
        at, here = self.axis(name), self.coordinates(rank)
        return tuple(self.rank_at((*here[:at], i, *here[at + 1 :])) for i in range(self.sizes[at]))

    def position(self, axes: Sequence[int], rank: int) -> tuple[int, int]:
        """Return where a rank stands on some axes taken for one, and that one's size."""
        here, position, count = self.coordinates(rank), 0, 1
        for axis in axes:
            position = position * self.sizes[axis] + here[axis]
            count *= self.sizes[axis]
        return position, count

    def agreed(self, operation: str, asked: str) -> None:
        """Return if all ranks ask for the same; all call it together.

        Raises
        ------
        WorldError
            On all ranks, if one asks for something else than rank 0.
        """
        texts = self.world.all_gather(asked)
        for rank, text in enumerate(texts):
            if text != texts[0]:
                raise WorldError(
                    f"{operation}: rank {rank} asks for {text} and rank 0 for {texts[0]}; "
                    "needs the same on all ranks"
                )

    def __eq__(self, other: object) -> bool:
        same = isinstance(other, WorldMesh) and self.world is other.world
        return same and (self.names, self.sizes) == (other.names, other.sizes)  # type: ignore[attr-defined]

    def __hash__(self) -> int:
        return hash((id(self.world), self.names, self.sizes))

    def __repr__(self) -> str:
        return f"mesh({', '.join(f'{n}={s}' for n, s in zip(self.names, self.sizes, strict=True))})"
