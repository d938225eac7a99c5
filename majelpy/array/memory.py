"""Memory of arrays: a buddy pool over one region, with a fallback allocator.

Policy. The region is taken once, at the first allocation. A request is rounded up to a power of
two and cut from the smallest free block that holds it (Knuth, TAOCP 1, 2.5); of equal blocks the
one at the lowest address, so that a training step finds the same blocks as the step before and
touches no new memory. When no block is large enough, the fallback (see majelpy.array.system)
serves, counted in the statistics and said once on standard error. On a GPU, a block that comes
back may be given out at once: work on a place has one order, that of its stream.
"""

from __future__ import annotations

import heapq
import sys
import threading
from collections import deque
from dataclasses import dataclass

import numpy as np

from majelpy.array.place import CPU, Place
from majelpy.array.system import Piece, System, system_of
from majelpy.errors import PoolError

SMALLEST = 256
"""Smallest block in bytes; also the alignment of every allocation."""

DEFAULT_POOL_BYTES = 1 << 30

POISON = 0xFF
"""Byte that poisoned memory is filled with: NaN as a float of any size, -1 as an integer."""


@dataclass
class Statistics:
    """Counters of a pool, in bytes where not said otherwise."""

    in_use: int = 0
    peak: int = 0
    fallback_in_use: int = 0
    fallback_peak: int = 0
    allocations: int = 0
    fallbacks: int = 0


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

    __slots__ = ("_block", "_piece", "_pool", "bytes", "nbytes", "pointer")

    def __init__(self, pool: Pool, block: tuple[int, int] | None, piece: Piece, nbytes: int):
        self._pool, self._block, self._piece = pool, block, piece
        self.nbytes, self.pointer = nbytes, piece.pointer
        self.bytes: np.ndarray = piece.bytes  # type: ignore[assignment]

    def __del__(self) -> None:
        if hasattr(self, "pointer"):
            self._pool._release(self._block, self._piece, self.nbytes)


class Pool:
    """Buddy allocator over ``nbytes`` bytes (rounded down to a power of two).

    Parameters
    ----------
    nbytes : int
        Size of the region; 0 sends every request to the fallback.
    place : Place
    limit : int, optional
        Most bytes in use, those of the fallback included.
    poison : bool
        Fill memory with `POISON` when it is given out and when it comes back.
    """

    def __init__(
        self,
        nbytes: int = DEFAULT_POOL_BYTES,
        place: Place = CPU,
        *,
        limit: int | None = None,
        poison: bool = False,
        system: System | None = None,
    ):
        if nbytes < 0:
            raise PoolError(f"pool: {nbytes} bytes asked; needs 0 or more")
        self.capacity = 1 << (nbytes.bit_length() - 1) if nbytes >= SMALLEST else 0
        self.place, self.limit, self.poison = place, limit, poison
        self.statistics = Statistics()
        self._system = system or system_of(place)
        self._lock = threading.Lock()
        self._returned: deque[tuple[tuple[int, int] | None, Piece, int]] = deque()
        self._region: Piece | None = None
        self._free: dict[int, list[int]] = {self.capacity: [0]} if self.capacity else {}
        self._free_set = {(self.capacity, 0)} if self.capacity else set[tuple[int, int]]()
        self._live = 0
        self._warned = False

    @property
    def free(self) -> int:
        """Bytes of the region that are not in use."""
        return self.capacity - self.statistics.in_use

    @property
    def largest_free(self) -> int:
        """Bytes of the largest block that is free."""
        return max((size for size, offsets in self._free.items() if offsets), default=0)

    @property
    def fragmentation(self) -> float:
        """Share of the free bytes that are not in the largest free block."""
        return 1 - self.largest_free / self.free if self.free else 0.0

    def leaks(self) -> str:
        """Return a line on the allocations that somebody still holds; empty if nobody does."""
        stats = self.statistics
        if self._live == 0:
            return ""
        return (
            f"pool on {self.place}: {self._live} allocations are still held, {stats.in_use} bytes "
            f"of the pool and {stats.fallback_in_use} of {self._system.fallback_name}"
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
        try:
            with self._lock:
                block = self._take(max(SMALLEST, 1 << (max(nbytes, 1) - 1).bit_length()))
                piece = self._fallback(nbytes) if block is None else self._cut(block, nbytes)
                self.statistics.allocations += 1
                self._live += 1
                if self.poison:
                    self._system.fill(piece, nbytes, POISON)
                return Allocation(self, block, piece, nbytes)
        finally:
            self._merge_returned()

    def _cut(self, block: tuple[int, int], nbytes: int) -> Piece:
        size, offset = block
        stats = self.statistics
        try:
            self._within_limit(size, nbytes)
            if self._region is None:
                self._region = self._system.region(self.capacity)
        except MemoryError as error:
            self._join(size, offset)
            if isinstance(error, PoolError):
                raise
            raise PoolError(
                f"pool on {self.place}: the region of {self.capacity} bytes cannot be had "
                f"({error}); lower --pool-bytes"
            ) from None
        stats.in_use += size
        stats.peak = max(stats.peak, stats.in_use)
        return self._region.part(offset, nbytes)

    def _within_limit(self, more: int, asked: int) -> None:
        used = self.statistics.in_use + self.statistics.fallback_in_use
        if self.limit is not None and used + more > self.limit:
            raise PoolError(
                f"pool on {self.place}: {asked} bytes asked, {self.free} free of {self.capacity} "
                f"(largest block {self.largest_free}), {used} in use with a limit of {self.limit}"
            )

    def _take(self, size: int) -> tuple[int, int] | None:
        """A free block of that size, made by halving a larger one if need be."""
        larger = size
        while larger <= self.capacity and not self._free.get(larger):
            larger *= 2
        if larger > self.capacity:
            return None
        offset = heapq.heappop(self._free[larger])
        self._free_set.remove((larger, offset))
        while larger > size:
            larger //= 2
            self._put(larger, offset + larger)
        return size, offset

    def _put(self, size: int, offset: int) -> None:
        heapq.heappush(self._free.setdefault(size, []), offset)
        self._free_set.add((size, offset))

    def _release(self, block: tuple[int, int] | None, piece: Piece, nbytes: int) -> None:
        """Note a block that comes back, and merge it unless the pool is at work.

        The garbage collector calls this anywhere, within the pool's own functions too.
        """
        self._returned.append((block, piece, nbytes))
        self._merge_returned()

    def _merge_returned(self) -> None:
        # Whoever finds the lock taken leaves its block to the holder, who looks again at the end.
        while self._returned and self._lock.acquire(blocking=False):
            try:
                while self._returned:
                    self._take_back(*self._returned.popleft())
            finally:
                self._lock.release()

    def _take_back(self, block: tuple[int, int] | None, piece: Piece, nbytes: int) -> None:
        self._live -= 1
        if block is None:
            self.statistics.fallback_in_use -= nbytes
            return
        if self.poison:
            self._system.fill(piece, nbytes, POISON)
        self.statistics.in_use -= block[0]
        self._join(*block)

    def _join(self, size: int, offset: int) -> None:
        """Put a block among the free ones, together with its buddy where that is free too."""
        while size < self.capacity and (size, offset ^ size) in self._free_set:
            buddy = offset ^ size
            self._free_set.remove((size, buddy))
            self._free[size].remove(buddy)
            heapq.heapify(self._free[size])
            offset, size = min(offset, buddy), size * 2
        self._put(size, offset)

    def _fallback(self, nbytes: int) -> Piece:
        stats = self.statistics
        self._within_limit(nbytes, nbytes)
        try:
            piece = self._system.fallback(nbytes)
        except (MemoryError, ValueError):  # NumPy says the second of a size beyond all bounds
            raise PoolError(
                f"pool on {self.place}: {nbytes} bytes asked, {self.free} free of "
                f"{self.capacity} (largest block {self.largest_free}), and the system has none left"
            ) from None
        stats.fallbacks += 1
        stats.fallback_in_use += nbytes
        stats.fallback_peak = max(stats.fallback_peak, stats.fallback_in_use)
        if not self._warned and self.capacity:
            self._warned = True
            print(
                f"pool on {self.place}: {nbytes} bytes asked, {self.free} free of "
                f"{self.capacity}; using {self._system.fallback_name}, which is slower "
                "(raise --pool-bytes)",
                file=sys.stderr,
            )
        return piece


_pools = {CPU: Pool()}


def pool(place: Place = CPU) -> Pool:
    """The pool that new arrays on that place take their memory from; made at the first call."""
    if place not in _pools:
        _pools[place] = Pool(place=place)
    return _pools[place]


def set_pool(new: Pool) -> Pool:
    """Let new arrays on the pool's place use ``new``; returns the pool used before."""
    old = pool(new.place)
    _pools[new.place] = new
    return old
