"""The sum of all leaf vectors, by the one tree of `majelpy.comm.tree`, over any world.

::

    leaves     0  1 | 2   3  4 | 5   6  7        8 leaves on 4 ranks, of 2 hosts
    ranks        0  |  1     2 |  3              stacks: 01 | 23 | 45 | 67
    hosts      -----A-----  -----B-----          after step 2: A has 0123, B has 4567

               bucket 0            bucket 1
    vector   [ c0 c1 c2 c3 ] [ c0 c1 c2 c3 ] ..  chunk c of a bucket is owned by rank c

Each rank adds its leaves into its stack of slots while it computes them. `reduce` then
adds the ranks' slots, chunk by chunk, so that all ranks add at the same time. On each
host one rank *handles* chunk c: its owner, on the owner's host; elsewhere the rank at
local position c modulo their number.

1. The host's ranks wait for one another: all slots are written, the last result is read.
2. A handler on another host than the owner's adds, for its chunk, the nodes of its host's
   ranks into the host's maximal subtrees, reading the others' slots in shared memory,
   and sends these to the owner. (Nodes that nothing is added to are sent from the slots.)
3. The owner adds those and the nodes of its own host's ranks to the root, straight into
   the result, and sends that to the chunk's handlers on the other hosts.
4. They receive it straight into their host's result, which its ranks share. The ranks
   wait for one another again: the result is whole.

The messages of step 2 of the next bucket fly while the owner adds in step 3.

Bytes: with H hosts, of which host h has n_h maximal subtrees, and a vector of S bytes, a
host with an even share of the ranks sends n_h S (H-1)/H and S (H-1)/H. Where leaves
divide as powers of two n_h is 1, which makes 2 S (H-1)/H, a ring allreduce's count and
the least possible. One host sends nothing, and one rank does not even copy.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import numpy as np

from majelpy import ops
from majelpy.comm import bucket, tree
from majelpy.comm.world import World
from majelpy.errors import WorldError

_NODE_TAG, _RESULT_TAG = 1, 2


@dataclass(frozen=True)
class _Sum:
    """Arguments of `ops.tree_sum`: rows to add, merges after each, rows to write."""

    rows: Sequence[np.ndarray]
    merges: Sequence[int]
    out: Sequence[np.ndarray]

    def __call__(self) -> None:
        ops.tree_sum(self.rows, self.merges, self.out)


@dataclass(frozen=True)
class _Message:
    data: np.ndarray
    rank: int
    tag: int


@dataclass
class _Step:
    """What this rank does for one bucket, in this order."""

    result_receives: list[_Message] = field(default_factory=list)
    node_sums: list[_Sum] = field(default_factory=list)
    node_sends: list[_Message] = field(default_factory=list)
    node_receives: list[_Message] = field(default_factory=list)
    root_sums: list[_Sum] = field(default_factory=list)
    root_sends: list[_Message] = field(default_factory=list)


class TreeReducer:
    """Adds the leaf vectors of all ranks. All ranks make, use and close it together.

    Parameters
    ----------
    world
        The ranks.
    leaves
        Number of leaf vectors, K, at least the number of ranks.
    size
        Floats in a vector.
    bucket_bytes
        Bytes of a bucket, the unit of messages between hosts.
    shared_memory
        Whether ranks of a host read one another's slots; if not, each counts as a host.

    Attributes
    ----------
    slots : numpy.ndarray, shape (depth, size), float32
        This rank's stack: its i-th leaf goes to the top, and then the top two slots are
        added ``merges[i]`` times. Written again only after the result was read.
    merges : numpy.ndarray, shape (last - first,), int32
    nodes : int
        The slots that hold something in the end: this rank's maximal subtrees.
    touched : list of numpy.ndarray of bytes
        Memory that this rank reads and writes outside of `reduce`.
    ranks
        How many add together.
    first, last
        This rank's leaves are ``first <= leaf < last``.
    sent_bytes
        Bytes that this rank has sent in messages so far.

    Raises
    ------
    WorldError
        There are more ranks than leaves, or no shared memory is to be had.
    ShapeError
        `size` or `bucket_bytes` is too small.
    """

    def __init__(
        self,
        world: World,
        leaves: int,
        size: int,
        *,
        bucket_bytes: int,
        shared_memory: bool = True,
    ) -> None:
        if world.size > leaves:
            raise WorldError(
                f"train: {world.size} ranks for {leaves} leaves; start at most {leaves} ranks "
                "or raise leaves in the recipe"
            )
        buckets = bucket.buckets(size, bucket_bytes)
        self._world = world
        self._leaves = leaves
        self._hosts = world.hosts if shared_memory else tuple((r,) for r in range(world.size))
        if len(self._hosts) == 1:
            buckets = [(0, size)]  # no messages, so nothing is gained by more than one
        # Leaves follow hosts, then ranks, so that a host has a contiguous range too.
        self._order = [rank for ranks in self._hosts for rank in ranks]
        self._home = next(h for h, ranks in enumerate(self._hosts) if world.rank in ranks)
        self.sent_bytes = 0

        self.first, self.last = self._range(world.rank)
        self.merges = np.array(tree.merges(leaves, self.first, self.last), np.int32)
        self.nodes = len(self.merges) - int(self.merges.sum())
        self.ranks = world.size
        self._map_memory(size)
        self._steps = [] if world.size == 1 else self._plan(buckets)

    def reduce(self) -> np.ndarray:
        """Return the sum of all leaf vectors, shape (size,), float32; the same on all ranks.

        The array is read-only, for the ranks of a host share it, and is valid until the
        next `reduce`, or in a world of one rank until its slots are written.

        Notes
        -----
        Order: the tree of `majelpy.comm.tree` over all leaves, element by element; neither
        ranks, hosts nor buckets enter.
        """
        if self._world.size > 1:
            self._memory.fence()
            self._exchange()
            self._memory.fence()
        return self._result

    def close(self) -> None:
        """Give the memory back; neither slots nor a result may be used after."""
        self._steps = []
        self.slots = self._result = np.empty((0, 0), np.float32)
        self.touched.clear()
        self._memory.close()

    def _range(self, rank: int) -> tree.Node:
        return tree.leaf_range(self._leaves, self._world.size, self._order.index(rank))

    def _map_memory(self, size: int) -> None:
        """Lay out each rank's segment: its slots; on a host's first rank then the result."""
        ranks = self._hosts[self._home]
        depths = [tree.depth(self._leaves, *self._range(rank)) for rank in ranks]
        result_rows = 1 if self._world.size > 1 else 0
        local = ranks.index(self._world.rank)
        rows = depths[local] + (result_rows if local == 0 else 0)
        self._memory = self._world.share(self._hosts, rows * size * bucket.FLOAT_BYTES)

        def view(segment: int, first: int, last: int) -> np.ndarray:
            data = np.frombuffer(self._memory.segments[segment], np.float32, last * size)
            return data[first * size :].reshape(-1, size)

        stacks = [view(i, 0, height) for i, height in enumerate(depths)]
        self.slots = stacks[local]
        self._target = view(0, depths[0], depths[0] + 1)[0] if result_rows else self.slots[0]
        self._result = self._target.view()
        self._result.flags.writeable = False
        self.touched: list[np.ndarray] = [np.frombuffer(self._memory.segments[local], np.uint8)]
        if local > 0:
            self.touched.append(self._result.view(np.uint8))
        # The host's stacks one upon the other: the nodes of its ranks, in leaf order.
        self._rows = [
            stack[i]
            for rank, stack in zip(ranks, stacks, strict=True)
            for i in range(len(tree.nodes(self._leaves, *self._range(rank))))
        ]

    def _plan(self, buckets: Sequence[tuple[int, int]]) -> list[_Step]:
        """Return this rank's steps: all that `reduce` does is known beforehand."""
        rank_nodes = [
            [node for rank in ranks for node in tree.nodes(self._leaves, *self._range(rank))]
            for ranks in self._hosts
        ]
        host_nodes = [tree.nodes(self._leaves, nodes[0][0], nodes[-1][1]) for nodes in rank_nodes]
        home_merges = tree.node_merges(self._leaves, rank_nodes[self._home])
        # The owner adds the other hosts' subtrees and the single nodes of its own host.
        root_nodes = [
            node
            for host in range(len(self._hosts))
            for node in (rank_nodes if host == self._home else host_nodes)[host]
        ]
        root_merges = tree.node_merges(self._leaves, root_nodes)

        steps = []
        width = bucket.largest_chunk(*buckets[0], self._world.size)
        # Two sets of buffers, by turns, since two buckets are on their way at a time.
        stages: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
        for number, (start, stop) in enumerate(buckets):
            step = _Step()
            free = _buffers(stages[number % 2], width)
            for position, owner in enumerate(self._order):
                low, high = bucket.chunk(start, stop, self._world.size, position)
                if low == high or self._handler(self._home, position) != self._world.rank:
                    continue
                mine = [row[low:high] for row in self._rows]
                target = self._target[low:high]
                if owner != self._world.rank:
                    nodes = mine
                    if any(home_merges):
                        nodes = [next(free)[: high - low] for _ in host_nodes[self._home]]
                        step.node_sums.append(_Sum(mine, home_merges, nodes))
                    step.node_sends += [_Message(node, owner, _NODE_TAG) for node in nodes]
                    step.result_receives.append(_Message(target, owner, _RESULT_TAG))
                    continue
                rows = []
                for host in range(len(self._hosts)):
                    if host == self._home:
                        rows += mine
                        continue
                    handler = self._handler(host, position)
                    nodes = [next(free)[: high - low] for _ in host_nodes[host]]
                    step.node_receives += [_Message(n, handler, _NODE_TAG) for n in nodes]
                    step.root_sends.append(_Message(target, handler, _RESULT_TAG))
                    rows += nodes
                step.root_sums.append(_Sum(rows, root_merges, [target]))
            steps.append(step)
        return steps

    def _handler(self, host: int, position: int) -> int:
        """Return the rank of `host` that works on the chunk owned at `position`."""
        owner, ranks = self._order[position], self._hosts[host]
        return owner if owner in ranks else ranks[position % len(ranks)]

    def _exchange(self) -> None:
        pending = [self._send_nodes(step) for step in self._steps[:1]]
        for number, step in enumerate(self._steps):
            pending += [self._send_nodes(after) for after in self._steps[number + 1 : number + 2]]
            node_receives, others = pending.pop(0)
            self._world.wait(node_receives)
            for add in step.root_sums:
                add()
            self._world.wait(others + self._send(step.root_sends))

    def _send_nodes(self, step: _Step) -> tuple[list[Any], list[Any]]:
        """Begin a step; return the requests for nodes to come, and all others."""
        node_receives = self._receive(step.node_receives)
        others = self._receive(step.result_receives)
        for add in step.node_sums:
            add()
        return node_receives, others + self._send(step.node_sends)

    def _send(self, messages: Sequence[_Message]) -> list[Any]:
        self.sent_bytes += sum(message.data.nbytes for message in messages)
        return [self._world.send(m.data, m.rank, m.tag) for m in messages]

    def _receive(self, messages: Sequence[_Message]) -> list[Any]:
        return [self._world.receive(m.data, m.rank, m.tag) for m in messages]


def _buffers(stage: list[np.ndarray], width: int) -> Iterator[np.ndarray]:
    """Yield the buffers of a stage one after the other, and new ones when they run out."""
    for i in count():
        if i == len(stage):
            stage.append(np.empty(width, np.float32))
        yield stage[i]
