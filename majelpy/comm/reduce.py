"""The sum of all leaf vectors, by the one tree of `majelpy.tree`, over any world.

Each rank adds its leaves into its stack of slots while it computes them. The ranks' slots are
then added chunk by chunk, so that all ranks add at the same time, as `majelpy.comm.schedule`
has it: first within a host, through shared memory, then between hosts, by messages.

A bucket goes this way as soon as all ranks of a host have written its columns. With overlap that
is while they still compute: `pushed` tells which columns are final. The first reduction learns
the order of the pushes, and from then on buckets follow it (`majelpy.comm.bucket`). Without
overlap, and where one bucket holds the vector, all columns are final when `reduce` is called. One
rank does not even copy.

Who may touch what: a rank that says of a bucket that its slots are written has read the last
result. So when all of a host's ranks have said so, slots may be read and the result be written.
At the end they wait for one another: the result is whole, and slots may be written again.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence

import numpy as np

from majelpy import tree
from majelpy.comm import bucket
from majelpy.comm.device_memory import DeviceMemory
from majelpy.comm.exchange import Exchange
from majelpy.comm.schedule import Scheduler
from majelpy.comm.world import Hosts, World
from majelpy.errors import WorldError
from majelpy.memory import CPU, Place
from majelpy.wording import counted

Ranges = Sequence[Sequence[tree.Node]]


def contiguous(leaves: int, hosts: Hosts) -> list[list[tree.Node]]:
    """Return the leaves of each rank, by rank, a range each.

    Leaves follow hosts, then ranks, so that a host has a contiguous range too.
    """
    order = [rank for ranks in hosts for rank in ranks]
    return [[tree.leaf_range(leaves, len(order), order.index(rank))] for rank in range(len(order))]


class TreeReducer:
    """Adds the leaf vectors of all ranks. All ranks make, use and close it together.

    Parameters
    ----------
    world
        The ranks: a whole world or a group.
    leaves
        Number of leaf vectors, K, at least the number of ranks.
    size
        Floats in a vector.
    bucket_bytes
        Bytes of a bucket, the unit of messages between hosts.
    shared_memory
        Whether ranks of a host read one another's slots; if not, each counts as a host.
    overlap
        Whether buckets leave when they were `pushed`, if there are several.
    ranges
        For each rank its leaves, in ascending ranges ``(first, last)``, so that each leaf has
        one rank; `contiguous` by default. A rank needs a slot for each range that does not
        merge with the one before.
    place
        Where slots and result lie and are added: the CPU, or this rank's GPU
        (majelpy.comm.direct). On GPUs each rank counts as a host.
    rounded
        So many columns, from the first, have values and sums that are rounded to bfloat16, in the
        slots too; they travel between hosts in 16 bits.

    Attributes
    ----------
    slots : numpy.ndarray, shape (depth, size), float32
        This rank's stack: its i-th leaf goes to the top, and then the top two slots are
        added ``merges[i]`` times. Written again only after the result was read.
    merges : numpy.ndarray, shape (number of its leaves,), int32
    nodes : int
        The slots that hold something in the end: this rank's maximal subtrees.
    touched : list of numpy.ndarray of bytes
        Memory that this rank reads and writes outside of `reduce`.
    ranks
        How many add together.
    ranges : list of (first, last)
        This rank's leaves.
    first, last
        This rank's leaves lie in ``first <= leaf < last``, with gaps where ranges have them.
    exposed_seconds, exchange_seconds : float
        Time of the last `reduce`, and time since its first bucket was written until it ended.

    Raises
    ------
    WorldError
        There are more ranks than leaves, or no shared memory is to be had, or `ranges` does not
        fit.
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
        overlap: bool = False,
        ranges: Ranges | None = None,
        place: Place = CPU,
        rounded: int = 0,
    ) -> None:
        if world.size > leaves:
            raise WorldError(
                f"train: {counted(world.size, 'rank')} for {counted(leaves, 'leaf', 'leaves')}; "
                f"start at most {leaves} or raise leaves in the recipe"
            )
        self._buckets = bucket.buckets(size, bucket_bytes)
        self._bucket_bytes = bucket_bytes
        self._world, self.place = world, place
        together = shared_memory and place == CPU
        hosts = world.hosts if together else tuple((r,) for r in range(world.size))
        if len(hosts) == 1:  # no messages, so nothing is gained by more than one
            self._buckets = [bucket.Bucket(0, size, 1)]
        ranges = contiguous(leaves, hosts) if ranges is None else ranges
        _check_ranges(ranges, leaves, world.size)
        stacks = [tree.stack(leaves, mine) for mine in ranges]

        self.ranges = list(ranges[world.rank])
        self.first, self.last = self.ranges[0][0], self.ranges[-1][1]
        self.merges = np.array(stacks[world.rank].merges, np.int32)
        self.nodes = len(stacks[world.rank].nodes)
        self.ranks = world.size
        self.exposed_seconds = self.exchange_seconds = 0.0
        rows = self._map_memory(hosts, stacks, size)
        nodes = [stack.nodes for stack in stacks]
        self._scheduler = Scheduler(
            *(world.rank, hosts, leaves, nodes, rows, self._target), place, rounded
        )
        steps = self._scheduler.steps(self._buckets) if world.size > 1 else []
        self._exchange = Exchange(world, self._memory, steps, place)
        # What fits in a bucket leaves as a whole: smaller ones would cost more than they hide.
        self._overlap = overlap and world.size > 1 and size * bucket.FLOAT_BYTES > bucket_bytes
        self._learned: list[tree.Node] = []
        self._told: list[tree.Node] = []
        self._began = 0.0

    @property
    def sent_bytes(self) -> int:
        """Bytes that this rank has sent in messages so far."""
        return self._exchange.sent_bytes

    def pushed(self, first: int, last: int) -> None:
        """Take note that the columns from `first` up to `last` of the slots are final.

        What can be done at once is done. All ranks push the same columns in the same order,
        and in each step as in the first, or, before some `reduce`, fewer.

        Raises
        ------
        WorldError
            The order is another than in the first step.
        """
        if not self._overlap:
            return
        self._told.append((first, last))
        if not self._learned:
            return
        count = len(self._told)
        if self._told != self._learned[:count]:
            raise WorldError(
                f"reduce: push {count} is of columns [{first}, {last}); needs those of the first "
                f"step, {self._learned[count - 1 : count]}"
            )
        written = sum(bucket.pushes <= count for bucket in self._buckets)
        self._begin(written)
        self.poll()

    def poll(self) -> None:
        """Go on with what has begun, as far as is possible without waiting."""
        self._exchange.poll()

    def reduce(self) -> np.ndarray:
        """Return the sum of all leaf vectors, shape (size,), float32; the same on all ranks.

        The array is read-only, for the ranks of a host share it, and is valid until the
        next `pushed` or `reduce`, or in a world of one rank until its slots are written. On a GPU
        it stands for memory there (majelpy/comm/device_memory.py), as `slots` does.

        Notes
        -----
        Order: the tree of `majelpy.tree` over all leaves, element by element; neither
        ranks, hosts, buckets nor time enter.
        """
        if self._world.size == 1:
            return self._result
        start = time.perf_counter()
        if not self._exchange.begun:
            self._began = start
        if self._learned:
            self._begin(len(self._buckets))
        else:
            self._memory.fence()
            for _ in self._buckets:
                self._exchange.begin([])
        self._exchange.finish()
        self._memory.fence()
        end = time.perf_counter()
        self.exposed_seconds, self.exchange_seconds = end - start, end - self._began
        if self._told and not self._learned:
            self._learn()
        self._told = []
        return self._result

    def close(self) -> None:
        """Give the memory back; neither slots nor a result may be used after."""
        del self._scheduler, self._exchange, self._target
        self.slots = self._result = np.empty((0, 0), np.float32)
        self.touched.clear()
        self._memory.close()

    def _begin(self, buckets: int) -> None:
        """Say that this rank's slots of the first so many buckets are written."""
        while self._exchange.begun < buckets:
            if not self._exchange.begun:
                self._began = time.perf_counter()
            self._exchange.begin(self._memory.arrive())

    def _learn(self) -> None:
        """Let buckets follow the pushes of the step that has ended."""
        orders = self._world.all_gather(self._told)
        if any(order != self._told for order in orders):
            raise WorldError("reduce: ranks push columns in different orders; needs one")
        self._learned = self._told
        self._buckets = bucket.buckets(len(self._target), self._bucket_bytes, self._learned)
        self._exchange.steps = self._scheduler.steps(self._buckets)

    def _map_memory(
        self, hosts: Hosts, stacks: Sequence[tree.Stack], size: int
    ) -> list[np.ndarray]:
        """Lay out each rank's segment: its slots; on a host's first rank then the result.

        Return the slots of the host's ranks that hold nodes, in ascending order of these.
        """
        ranks = next(ranks for ranks in hosts if self._world.rank in ranks)
        result_rows = 1 if self._world.size > 1 else 0
        local = ranks.index(self._world.rank)
        rows = stacks[self._world.rank].depth + (result_rows if local == 0 else 0)
        nbytes = rows * size * bucket.FLOAT_BYTES
        if self.place == CPU:
            self._memory = self._world.share(hosts, nbytes)
        else:
            self._memory = DeviceMemory(self.place, nbytes)

        def view(segment: int, first: int, last: int) -> np.ndarray:
            data = np.frombuffer(self._memory.segments[segment], np.float32, last * size)
            return data[first * size :].reshape(-1, size)

        slots = [view(i, 0, stacks[rank].depth) for i, rank in enumerate(ranks)]
        self.slots = slots[local]
        top = stacks[ranks[0]].depth
        self._target: np.ndarray = view(0, top, top + 1)[0] if result_rows else self.slots[0]
        self._result = self._target.view()
        self._result.flags.writeable = False
        self.touched: list[np.ndarray] = [np.frombuffer(self._memory.segments[local], np.uint8)]
        if local > 0:
            self.touched.append(self._result.view(np.uint8))
        places = sorted(
            (node, i, slot)
            for i, rank in enumerate(ranks)
            for slot, node in enumerate(stacks[rank].nodes)
        )
        return [slots[i][slot] for _, i, slot in places]


def _check_ranges(ranges: Ranges, leaves: int, ranks: int) -> None:
    """Check that each rank has leaves, ascending, and each leaf one rank."""
    whole = sorted(node for mine in ranges for node in mine)
    bounds = [0, *itertools.chain.from_iterable(whole), leaves]
    if (
        len(ranges) != ranks
        or any(not mine or list(mine) != sorted(mine) for mine in ranges)
        or bounds[::2] != bounds[1::2]
        or any(first >= last for first, last in whole)
    ):
        raise WorldError(
            f"reduce: ranges {[list(mine) for mine in ranges]} for {ranks} ranks and {leaves} "
            "leaves; needs ascending ranges for each rank, and each leaf once"
        )
