"""What a rank does in a reduction, bucket by bucket: all of it is known beforehand.

::

    leaves     0  1 | 2   3  4 | 5   6  7        8 leaves on 4 ranks, of 2 hosts
    ranks        0  |  1     2 |  3              stacks: 01 | 23 | 45 | 67
    hosts      -----A-----  -----B-----          after step 1: A has 0123, B has 4567

               bucket 0            bucket 1
    vector   [ c0 c1 c2 c3 ] [ c0 c1 c2 c3 ] ..  chunk c of a bucket is owned by rank c

On each host one rank *handles* chunk c: its owner, on the owner's host; elsewhere the rank
at local position c modulo their number. When the slots of all ranks of the host are written:

1. A handler on another host than the owner's adds, for its chunk, the nodes of its host's
   ranks into the host's maximal subtrees, reading the others' slots in shared memory,
   and sends these to the owner. (Nodes that nothing is added to are sent from the slots.)
2. The owner adds those and the nodes of its own host's ranks to the root, straight into
   the result, and sends that to the chunk's handlers on the other hosts.
3. They receive it straight into their host's result, which its ranks share.

Bytes: with H hosts, of which host h has n_h maximal subtrees, and a vector of S bytes, a
host with an even share of the ranks sends n_h S (H-1)/H and S (H-1)/H. Where leaves
divide as powers of two n_h is 1, which makes 2 S (H-1)/H, a ring allreduce's count and
the least possible. Columns that the tree rounds are packed in messages
(`majelpy.comm.packed`) and count half. One host sends nothing. A host with parts of several
leaves whose other parts are elsewhere has a subtree for each of them, so parts of a leaf
belong on one host.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import count

import numpy as np

from majelpy import ops, tree
from majelpy.comm import bucket, packed
from majelpy.comm.device_memory import row
from majelpy.comm.tags import Tag
from majelpy.comm.world import Hosts
from majelpy.memory import CPU, Place

LANE_TAGS = ((Tag.FIRST_NODES, Tag.FIRST_RESULT), (Tag.SECOND_NODES, Tag.SECOND_RESULT))
"""Of nodes and results, by lane: two lanes may overtake one another."""

LANES = len(LANE_TAGS)
"""Buckets that are on their way at a time, each with buffers of its own."""


@dataclass(frozen=True)
class Sum:
    """Arguments of `ops.tree_sum`: rows to add, merges after each, rows to write, and so on."""

    rows: Sequence[np.ndarray]
    merges: Sequence[int]
    out: Sequence[np.ndarray]
    place: Place
    rounded: bool

    def __call__(self) -> None:
        ops.tree_sum(self.rows, self.merges, self.out, place=self.place, rounded=self.rounded)


@dataclass(frozen=True)
class Message:
    """Data from or to a rank."""

    data: np.ndarray
    rank: int
    tag: Tag


Work = list[Callable[[], None]]
"""Sums, and packing before or unpacking after a message."""


@dataclass
class Step:
    """What a rank does for one bucket, in this order."""

    result_receives: list[Message] = field(default_factory=list)
    node_receives: list[Message] = field(default_factory=list)
    node_work: Work = field(default_factory=list)
    node_sends: list[Message] = field(default_factory=list)
    root_work: Work = field(default_factory=list)
    root_sends: list[Message] = field(default_factory=list)
    result_work: Work = field(default_factory=list)


@dataclass(frozen=True)
class Scheduler:
    """Says the steps of one rank.

    Attributes
    ----------
    rank
        Which.
    hosts
        All ranks, by the memory that they share.
    leaves
        Leaves of the tree.
    nodes
        What each rank has in its slots, by rank.
    rows
        Those slots of this host's ranks, in ascending order of their nodes.
    result
        The sum, shared by this host's ranks.
    place
        Where all of these lie, and the buffers of messages.
    rounded
        So many columns, from the first, hold values and sums that are rounded to bfloat16.
    """

    rank: int
    hosts: Hosts
    leaves: int
    nodes: Sequence[Sequence[tree.Node]]
    rows: Sequence[np.ndarray]
    result: np.ndarray
    place: Place
    rounded: int

    def steps(self, buckets: Sequence[bucket.Bucket]) -> list[Step]:
        """Return the steps, one a bucket."""
        owners = [rank for ranks in self.hosts for rank in ranks]
        home = next(h for h, ranks in enumerate(self.hosts) if self.rank in ranks)
        rank_nodes = [sorted(n for r in ranks for n in self.nodes[r]) for ranks in self.hosts]
        stacks = [tree.node_stack(self.leaves, nodes) for nodes in rank_nodes]
        # The owner adds the other hosts' subtrees and the single nodes of its own host.
        sources = [
            (node, host)
            for host in range(len(self.hosts))
            for node in (rank_nodes[host] if host == home else stacks[host].nodes)
        ]
        sources.sort()
        root_merges = tree.node_merges(self.leaves, [node for node, _ in sources])

        found = []
        width = max(bucket.largest_chunk(b.start, b.stop, len(owners)) for b in buckets)
        stages: tuple[list[np.ndarray], ...] = tuple([] for _ in range(2 * LANES))
        for number, (start, stop, _) in enumerate(buckets):
            step = Step()
            lane = number % LANES
            node_tag, result_tag = LANE_TAGS[lane]
            free = _buffers(stages[lane], lambda: row(width, self.place))
            halves = _buffers(stages[LANES + lane], lambda: np.empty(width, np.uint16))
            for position, owner, low, high in self._pieces(start, stop, owners):
                if self._handler(home, position, owner) != self.rank:
                    continue
                rounded = high <= self.rounded
                mine = [vector[low:high] for vector in self.rows]
                target = self.result[low:high]
                # NumPy packs on the host alone; between GPUs the same values go in 32 bits.
                carriers = halves if rounded and self.place == CPU else None
                if owner != self.rank:
                    out = mine
                    if any(stacks[home].merges):
                        out = [next(free)[: high - low] for _ in stacks[home].nodes]
                        step.node_work.append(
                            Sum(mine, stacks[home].merges, out, self.place, rounded)
                        )
                    for node in out:
                        carrier = _carrier(node, carriers, step.node_work, packed.pack)
                        step.node_sends.append(Message(carrier, owner, node_tag))
                    carrier = _carrier(target, carriers, step.result_work, packed.unpack)
                    step.result_receives.append(Message(carrier, owner, result_tag))
                    continue
                local, rows = iter(mine), []
                for _, host in sources:
                    if host == home:
                        rows.append(next(local))
                        continue
                    rows.append(next(free)[: high - low])
                    handler = self._handler(host, position, owner)
                    carrier = _carrier(rows[-1], carriers, step.root_work, packed.unpack)
                    step.node_receives.append(Message(carrier, handler, node_tag))
                step.root_work.append(Sum(rows, root_merges, [target], self.place, rounded))
                others = [host for host in range(len(self.hosts)) if host != home]
                if others:
                    carrier = _carrier(target, carriers, step.root_work, packed.pack)
                    step.root_sends += [
                        Message(carrier, self._handler(host, position, owner), result_tag)
                        for host in others
                    ]
            found.append(step)
        return found

    def _pieces(
        self, start: int, stop: int, owners: Sequence[int]
    ) -> Iterator[tuple[int, int, int, int]]:
        """Yield position, owner and columns of each chunk, cut where rounded columns end."""
        for position, owner in enumerate(owners):
            low, high = bucket.chunk(start, stop, len(owners), position)
            cut = min(max(low, self.rounded), high)
            for first, last in ((low, cut), (cut, high)):
                if first < last:
                    yield position, owner, first, last

    def _handler(self, host: int, position: int, owner: int) -> int:
        """Return the rank of `host` that works on the chunk that is owned at `position`."""
        ranks = self.hosts[host]
        return owner if owner in ranks else ranks[position % len(ranks)]


def _carrier(
    values: np.ndarray,
    carriers: Iterator[np.ndarray] | None,
    work: Work,
    move: Callable[[np.ndarray, np.ndarray], None],
) -> np.ndarray:
    """Return what messages carry for `values`: these, or a carrier, which `work` is to move."""
    if carriers is None:
        return values
    carrier = next(carriers)[: len(values)]
    work.append(partial(move, values, carrier))
    return carrier


def _buffers(stage: list[np.ndarray], make: Callable[[], np.ndarray]) -> Iterator[np.ndarray]:
    """Yield the buffers of a stage one after the other, and new ones when they run out."""
    for i in count():
        if i == len(stage):
            stage.append(make())
        yield stage[i]
