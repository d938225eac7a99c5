"""Memory of arrays: a buddy pool over one region, with a fallback allocator.

Policy. The region is taken once, at the first allocation. A request is rounded up to a power of
two and cut from the smallest free block that holds it, the one at the lowest address
(majelpy.memory.buddy), so that a training step finds the same blocks as the step before and
touches no new memory. When no block is large enough, the fallback (see majelpy.memory.system)
serves, counted in the statistics and reported once.

Streams. A free block is free in the place's home order (the null stream of a GPU). One that is
taken on another stream first waits for the home order; when it comes back, the home order waits
for the streams that used it. These waits are the GPU's own; the host goes on.
"""

from __future__ import annotations

import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from majelpy import arguments
from majelpy.errors import PoolError
from majelpy.memory.buddy import Buddies
from majelpy.memory.place import CPU, Place
from majelpy.memory.system import ALIGNMENT, Piece, System, system_of
from majelpy.wording import byte_size, byte_sizes, counted

SMALLEST = ALIGNMENT
"""Smallest block in bytes."""

DEFAULT_POOL_BYTES = 1 << 30

POISON = 0xFF
"""Byte that poisoned memory is filled with: NaN as a float of any size, -1 as an integer."""


@dataclass
class Statistics:
    """Counters of a pool.

    Attributes
    ----------
    in_use, peak : int
        Bytes of the region in blocks given out, now and at most.
    fallback_in_use, fallback_peak : int
        Bytes of the fallback given out, now and at most.
    asked, asked_peak : int
        Bytes asked for, of both, now and at most; blocks are larger.
    allocations, fallbacks : int
        How many, and how many of these the fallback served.
    regions : int
        Regions taken: 0 or 1.
    """

    in_use: int = 0
    peak: int = 0
    fallback_in_use: int = 0
    fallback_peak: int = 0
    asked: int = 0
    asked_peak: int = 0
    allocations: int = 0
    fallbacks: int = 0
    regions: int = 0

    @property
    def system_allocations(self) -> int:
        """Pieces of memory that the system was asked for."""
        return self.regions + self.fallbacks


class Allocation:
    """A piece of memory that returns to its pool when the last reference goes.

    Attributes
    ----------
    nbytes : int
        As asked for.
    pointer : int
    bytes : ndarray of uint8
        The memory, exactly as long as asked for; only where the host sees it.
    """

    __slots__ = ("_block", "_piece", "_pool", "_streams", "bytes", "nbytes", "pointer")

    def __init__(
        self, pool: Pool, block: Block | None, piece: Piece, nbytes: int, streams: tuple[Any, ...]
    ):
        self._pool, self._block, self._piece, self._streams = pool, block, piece, streams
        self.bytes: np.ndarray = piece.bytes  # type: ignore[assignment]
        self.nbytes, self.pointer = nbytes, piece.pointer

    def record_use(self) -> None:
        """Note that work given to the current stream uses this memory.

        Needed if that is neither the stream it was taken on nor made to wait for by that one.
        """
        self._streams += self._pool.streams_now()

    def __del__(self) -> None:
        if hasattr(self, "pointer"):
            self._pool._release((self._block, self._piece, self.nbytes, self._streams))


Block = tuple[int, int]
"""Size and offset."""

Returned = tuple[Block | None, Piece, int, tuple[Any, ...]]
"""Block, piece, bytes asked for, streams other than home that used it."""


class Pool:
    """Buddy allocator over ``nbytes`` bytes (rounded down to a multiple of 256).

    Parameters
    ----------
    nbytes : int
        Size of the region; 0 sends every request to the fallback.
    place : Place
    limit : int, optional
        Most bytes in use, those of the fallback included.
    poison : bool
        Fill memory with `POISON` when it is given out and when it comes back.
    report : callable, optional
        Called with a line of text at the first fallback; by default it goes to standard error.
        A pool of 0 bytes says nothing. It must not use the pool.
    system : System, optional
        By default that of the place.
    """

    def __init__(
        self,
        nbytes: int = DEFAULT_POOL_BYTES,
        place: Place = CPU,
        *,
        limit: int | None = None,
        poison: bool = False,
        report: Callable[[str], object] | None = None,
        system: System | None = None,
    ):
        nbytes = arguments.whole(nbytes, "pool: bytes")
        if nbytes < 0:
            raise PoolError(f"pool: {nbytes} bytes asked; needs 0 or more")
        self.capacity = nbytes // SMALLEST * SMALLEST
        self.place, self.limit, self.poison = place, limit, poison
        self.statistics = Statistics()
        self._system = system or system_of(place)
        self._report = report or _say
        self._lock = threading.Lock()
        self._returned: deque[Returned] = deque()
        self._region: Piece | None = None
        self._blocks = Buddies(self.capacity, SMALLEST)
        self._live = 0

    @property
    def free(self) -> int:
        """Bytes of the region that are not in use."""
        return self.capacity - self.statistics.in_use

    @property
    def largest_free(self) -> int:
        """Bytes of the largest block that is free."""
        return self._blocks.largest_free

    @property
    def fragmentation(self) -> float:
        """Share of the free bytes that are not in the largest free block."""
        free, largest = self.free, self.largest_free
        return (
            1 - largest / max(free, largest) if free else 0.0
        )  # another thread may give some back

    def leaks(self) -> str:
        """Return a line on the allocations that somebody still holds; empty if nobody does."""
        stats = self.statistics
        if self._live == 0:
            return ""
        return (
            f"pool on {self.place}: {counted(self._live, 'allocation')} still held, "
            f"{byte_size(stats.in_use)} of the pool and {byte_size(stats.fallback_in_use)} of "
            f"{self._system.fallback_name}"
        )

    def fallback_cost(self) -> str:
        """Return a line on what the fallback served; empty if nothing, or if there is no pool."""
        stats = self.statistics
        if stats.fallbacks == 0 or self.capacity == 0:
            return ""
        return (
            f"pool on {self.place}: {stats.fallbacks} of "
            f"{counted(stats.allocations, 'allocation')} came from {self._system.fallback_name}, "
            f"{byte_size(stats.fallback_peak)} at a time at most; raise --pool-bytes above "
            f"{byte_size(self.capacity)}"
        )

    def allocate(self, nbytes: int) -> Allocation:
        """Return at least ``nbytes`` bytes, uninitialised.

        Raises
        ------
        PoolError
            If neither the pool nor the fallback has the memory, or the limit is passed.
        """
        if nbytes < 0:
            raise PoolError(f"pool on {self.place}: {nbytes} bytes asked; needs 0 or more")
        streams = self.streams_now()
        try:
            with self._lock:
                block, piece = self._give(nbytes)
                self._live += 1
                stats = self.statistics
                stats.allocations += 1
                stats.asked += nbytes
                stats.asked_peak = max(stats.asked_peak, stats.asked)
                held = Allocation(self, block, piece, nbytes, streams)
                if self.poison:
                    self._system.fill(piece, nbytes, POISON)
                for stream in streams:
                    self._system.wait(stream, None)
                return held
        finally:
            self._merge_returned()

    def streams_now(self) -> tuple[Any, ...]:
        """The place's current stream, or nothing if that is the home order."""
        stream = self._system.stream()
        return () if stream is None else (stream,)

    def _give(self, nbytes: int) -> tuple[Block | None, Piece]:
        size = self._blocks.size_of(nbytes)
        offset = self._blocks.take(size)
        try:
            if offset is None:
                return None, self._fallback(nbytes)
            return (size, offset), self._cut(size, offset, nbytes)
        except MemoryError as reason:
            if offset is not None:
                self._blocks.put_back(size, offset)
            asked, free, capacity, largest = byte_sizes(
                nbytes, self.free, self.capacity, self.largest_free
            )
            limit = "no limit" if self.limit is None else f"limit {byte_size(self.limit)}"
            raise PoolError(
                f"pool on {self.place}: {asked} asked, {free} free of {capacity} "
                f"(largest block {largest}), {limit}; {reason}"
            ) from None

    def _cut(self, size: int, offset: int, nbytes: int) -> Piece:
        stats = self.statistics
        self._check_limit(size)
        if self._region is None:
            try:
                self._region = self._system.region(self.capacity)
            except MemoryError as error:
                raise MemoryError(
                    f"the region of {byte_size(self.capacity)} cannot be had ({error}); lower "
                    "--pool-bytes"
                ) from None
            stats.regions += 1
        stats.in_use += size
        stats.peak = max(stats.peak, stats.in_use)
        return self._region.part(offset, nbytes)

    def _check_limit(self, more: int) -> None:
        used = self.statistics.in_use + self.statistics.fallback_in_use
        if self.limit is not None and used + more > self.limit:
            raise MemoryError(
                f"{byte_size(used)} in use and {byte_size(more)} more would pass the limit"
            )

    def _release(self, returned: Returned) -> None:
        """Note a block that comes back, and merge it unless the pool is at work.

        The garbage collector calls this anywhere, within the pool's own functions too.
        """
        self._returned.append(returned)
        self._merge_returned()

    def _merge_returned(self) -> None:
        # Whoever finds the lock taken leaves its block to the holder, who looks again at the end.
        while self._returned and self._lock.acquire(False):
            try:
                while self._returned:
                    self._take_back(*self._returned.popleft())
            finally:
                self._lock.release()

    def _take_back(
        self, block: Block | None, piece: Piece, nbytes: int, streams: tuple[Any, ...]
    ) -> None:
        self._live -= 1
        self.statistics.asked -= nbytes
        if block is None:
            self.statistics.fallback_in_use -= nbytes
            self._system.finish()  # the piece goes back to the system now
            return
        for stream in streams:
            self._system.wait(None, stream)
        if self.poison:
            self._system.fill(piece, nbytes, POISON)
        self.statistics.in_use -= block[0]
        self._blocks.put_back(*block)

    def _fallback(self, nbytes: int) -> Piece:
        stats = self.statistics
        self._check_limit(nbytes)
        try:
            piece = self._system.fallback(nbytes)
        except MemoryError:
            raise MemoryError("the system has none left") from None
        stats.fallbacks += 1
        stats.fallback_in_use += nbytes
        stats.fallback_peak = max(stats.fallback_peak, stats.fallback_in_use)
        if stats.fallbacks == 1 and self.capacity:
            asked, free, capacity = byte_sizes(nbytes, self.free, self.capacity)
            self._report(
                f"pool on {self.place}: {asked} asked, {free} free of {capacity}; using "
                f"{self._system.fallback_name}, which is slower (raise --pool-bytes)"
            )
        return piece


def _say(line: str) -> None:
    print(line, file=sys.stderr)


_pools = {CPU: Pool()}


class _Thread(threading.local):
    own: Pool | None = None


_thread = _Thread()


def pool(place: Place = CPU) -> Pool:
    """The pool that new arrays on that place take their memory from; made at the first call."""
    own = _thread.own
    return own if own is not None and own.place == place else _shared(place)


def _shared(place: Place) -> Pool:
    if place not in _pools:
        _pools[place] = Pool(place=place)
    return _pools[place]


def set_pool(new: Pool) -> Pool:
    """Let new arrays on the pool's place use ``new``; returns the pool used before."""
    old = _shared(new.place)
    _pools[new.place] = new
    return old


@contextmanager
def apart(own: Pool) -> Iterator[None]:
    """Let new arrays of the calling thread on the pool's place use ``own``, and no other's do."""
    before, _thread.own = _thread.own, own
    try:
        yield
    finally:
        _thread.own = before
