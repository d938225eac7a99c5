r"""Who sends what to whom: pure integers, no messages. `print(route)` shows it.

Policy. A route starts from what each rank holds and what each needs. Only what a rank needs and
does not hold comes to it, each element once, from a rank of its host if one has it, else from the
one that sends least so far, the lowest of equals. Where a partial array is resolved, the ranks
that need the same box share the work: each joins a piece of it and sends the result to the others::

    Partial on 4 ranks -> Replicate          bytes of S: 2 (n-1)/n S a rank, as a ring allreduce
      sums    piece r: its nodes, from all ranks, to rank r, which joins them along the tree
      moves   piece r: from rank r to the others

    Partial -> Shard                         only the sums, (n-1)/n S a rank
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from majelpy import tree
from majelpy.comm.world import Hosts
from majelpy.distributed.placement import Box, Layout, common, sizes_of


@dataclass(frozen=True)
class Move:
    """A box goes from one rank to another, or is copied where they are the same."""

    source: int
    target: int
    box: Box
    nbytes: int


@dataclass(frozen=True)
class Sum:
    """A rank joins the nodes of a box, which it gets by `arrivals`, in order of the parts."""

    owner: int
    box: Box
    arrivals: tuple[Move, ...]


@dataclass(frozen=True)
class Route:
    """What all ranks do to redistribute an array: first the sums, then the moves.

    Attributes
    ----------
    title : str
    hosts : tuple of tuple of int
        Ranks that share a host.
    sums : tuple of Sum
        Empty unless a partial array is resolved.
    moves : tuple of Move
    """

    title: str
    hosts: Hosts
    sums: tuple[Sum, ...]
    moves: tuple[Move, ...]

    @functools.cached_property
    def moves_of(self) -> dict[int, list[Move]]:
        """The moves by the ranks that take part in them, in their order."""
        return _by_rank(self.moves)

    @functools.cached_property
    def arrivals_of(self) -> dict[int, list[Move]]:
        """The arrivals of all sums by the ranks that take part in them, in their order."""
        return _by_rank(move for total in self.sums for move in total.arrivals)

    def steps(self) -> Iterator[Move]:
        """Yield every message and local copy."""
        for joined in self.sums:
            yield from joined.arrivals
        yield from self.moves

    def sent(self, rank: int) -> int:
        """Return the bytes that a rank sends to others."""
        return sum(m.nbytes for m in self.steps() if m.source == rank != m.target)

    def received(self, rank: int) -> int:
        """Return the bytes that a rank gets from others."""
        return sum(m.nbytes for m in self.steps() if m.target == rank != m.source)

    def kept(self, rank: int) -> int:
        """Return the bytes that a rank copies within its own memory."""
        return sum(m.nbytes for m in self.steps() if m.source == rank == m.target)

    @property
    def nbytes(self) -> int:
        """Bytes that go from a rank to another, in all."""
        return sum(m.nbytes for m in self.steps() if m.source != m.target)

    @property
    def between_hosts(self) -> int:
        """Bytes of these that go from a host to another."""
        home = _homes(self.hosts)
        return sum(m.nbytes for m in self.steps() if home[m.source] != home[m.target])

    def __str__(self) -> str:
        rows: list[tuple[str, ...]] = [("rank", "sends B", "receives B", "keeps B")]
        for rank in sorted(_homes(self.hosts)):
            figures = self.sent(rank), self.received(rank), self.kept(rank)
            rows.append((str(rank), *map(str, figures)))
        widths = [max(len(row[i]) for row in rows) for i in range(4)]
        lines = [
            "  ".join(text.rjust(w) for text, w in zip(row, widths, strict=True)) for row in rows
        ]
        total = f"{self.nbytes} B between ranks, of these {self.between_hosts} B between hosts"
        return "\n".join([self.title, *lines, total])


def carries(source: Layout, target: Layout) -> bool:
    """Say whether partial nodes stay as they are: the same mesh axes are partial alike."""
    return (source.partial_axes, source.partial) == (target.partial_axes, target.partial)


def need_of(source: Layout, target: Layout, rank: int) -> Box | None:
    """Return what a rank needs for the target layout, None for nothing.

    Where a value becomes partial, it is the first part; the others are neutral and need nothing.
    """
    parts = target.parts(rank)
    if parts is None or carries(source, target) or parts[0] == 0 < parts[1]:
        return target.box(rank)
    return None


@functools.lru_cache(maxsize=256)
def redistribution(source: Layout, target: Layout, itemsize: int) -> Route:
    """Return the route that brings an array from one layout to another of the same mesh."""
    title = (
        f"redistribute {source.shape} of {itemsize} B elements on {source.mesh}: "
        f"{list(source.placements)} -> {list(target.placements)}"
    )
    needs = [need_of(source, target, rank) for rank in range(source.mesh.world.size)]
    return _route(title, source, needs, itemsize, carries(source, target))


def collection(source: Layout, itemsize: int, box: Box, root: int) -> Route:
    """Return the route that brings a box to one rank."""
    needs = tuple(box if rank == root else None for rank in range(source.mesh.world.size))
    return _route(f"gather {box} on rank {root}", source, needs, itemsize, False)


def scattering(target: Layout, itemsize: int, root: int) -> Route:
    """Return the route that brings to each rank its box of an array that one rank holds whole."""
    ranks = range(target.mesh.world.size)
    whole = tuple((0, size) for size in target.shape)
    helds = tuple(whole if rank == root else None for rank in ranks)
    needs = tuple(target.box(rank) for rank in ranks)
    hosts = target.mesh.world.hosts
    moves = _moves(helds, needs, tuple(() for _ in ranks), [itemsize for _ in ranks], hosts)
    return Route(f"scatter {target.shape} from rank {root}", hosts, (), moves)


def _route(
    title: str, source: Layout, needs: Sequence[Box | None], itemsize: int, carried: bool
) -> Route:
    ranks, hosts = range(source.mesh.world.size), source.mesh.world.hosts
    helds = tuple(source.box(rank) for rank in ranks)
    if source.partial is not None and not carried:
        return Route(title, hosts, *_resolved(source, helds, needs, itemsize))
    # A stack of nodes moves among the ranks that hold the same parts.
    groups = tuple((source.parts(rank),) for rank in ranks)
    stacks = [1 if source.partial is None else len(source.nodes(rank)) for rank in ranks]
    moves = _moves(helds, needs, groups, [itemsize * height for height in stacks], hosts)
    return Route(title, hosts, (), moves)


def _moves(
    helds: Sequence[Box | None],
    needs: Sequence[Box | None],
    groups: Sequence[tuple[tree.Node | None, ...]],
    item: Sequence[int],
    hosts: Hosts,
) -> tuple[Move, ...]:
    """Moves within each group; the boxes that its ranks hold are equal or disjoint."""
    holders: dict[tuple[tree.Node | None, ...], dict[Box, list[int]]] = {}
    for rank, held in enumerate(helds):
        if held is not None:
            holders.setdefault(groups[rank], {}).setdefault(held, []).append(rank)
    choice = _Choice(hosts)
    moves = []
    for rank, need in enumerate(needs):
        if need is None or item[rank] == 0:
            continue
        for held, having in holders.get(groups[rank], {}).items():
            box = common(held, need)
            if box is not None:
                nbytes = math.prod(sizes_of(box)) * item[rank]
                moves.append(Move(choice.source(having, rank, nbytes), rank, box, nbytes))
    return tuple(moves)


def _resolved(
    source: Layout, helds: Sequence[Box], needs: Sequence[Box | None], itemsize: int
) -> tuple[tuple[Sum, ...], tuple[Move, ...]]:
    """Sums at owners, and moves from them; needed boxes are equal or disjoint."""
    cells: dict[Box, dict[tree.Node, list[int]]] = {}
    for rank, held in enumerate(helds):
        parts = source.parts(rank)
        if parts is not None and parts[0] < parts[1]:
            cells.setdefault(held, {}).setdefault(parts, []).append(rank)
    wanted: dict[Box, list[int]] = {}
    for rank, need in enumerate(needs):
        if need is not None:
            wanted.setdefault(need, []).append(rank)
    choice = _Choice(source.mesh.world.hosts)
    sums, moves = [], []
    for held, by_parts in cells.items():
        for need, needing in wanted.items():
            whole = common(held, need)
            for piece, owner in _shared(whole, needing) if whole is not None else ():
                size = math.prod(sizes_of(piece)) * itemsize
                arrivals = []
                for parts in sorted(by_parts):
                    having = by_parts[parts]
                    nbytes = size * len(source.nodes(having[0]))
                    arrivals.append(
                        Move(choice.source(having, owner, nbytes), owner, piece, nbytes)
                    )
                sums.append(Sum(owner, piece, tuple(arrivals)))
                moves += [Move(owner, rank, piece, size) for rank in needing]
    return tuple(sums), tuple(moves)


def _shared(box: Box, ranks: Sequence[int]) -> Iterator[tuple[Box, int]]:
    """Yield a piece of the box for each rank, cut along the first of its longest axes."""
    sizes = sizes_of(box)
    axis = max(range(len(sizes)), key=lambda i: (sizes[i], -i), default=None)
    if axis is None:
        yield box, ranks[0]
        return
    start = box[axis][0]
    for position, rank in enumerate(ranks):
        first, last = tree.leaf_range(sizes[axis], len(ranks), position)
        if first < last:
            yield (*box[:axis], (start + first, start + last), *box[axis + 1 :]), rank


class _Choice:
    """Chooses who sends, so that those who could send the same share the work."""

    def __init__(self, hosts: Hosts) -> None:
        self._home = _homes(hosts)
        self._load = dict.fromkeys(self._home, 0)

    def source(self, holders: Sequence[int], target: int, nbytes: int) -> int:
        """Return the rank that gives to the target: itself, a neighbour, or the idlest."""
        if target in holders:
            return target
        home = self._home[target]
        found = min(holders, key=lambda r: (self._home[r] != home, self._load[r], r))
        self._load[found] += nbytes
        return found


def _by_rank(moves: Iterable[Move]) -> dict[int, list[Move]]:
    found: dict[int, list[Move]] = {}
    for move in moves:
        for rank in {move.source, move.target}:
            found.setdefault(rank, []).append(move)
    return found


def _homes(hosts: Hosts) -> dict[int, int]:
    return {rank: number for number, ranks in enumerate(hosts) for rank in ranks}
