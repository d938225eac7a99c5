"""Memory of arrays: a buddy pool over one region, with a fallback allocator.

Policy. The region is taken once, at the first allocation. A request is rounded up to a power of
two and cut from the smallest free block that holds it (Knuth, TAOCP 1, 2.5); of equal blocks the
one at the lowest address, so that a training step finds the same blocks as the step before and
touches no new memory. When no block is large enough, the fallback (ordinary memory) serves,
counted in the statistics and said once on standard error.
"""

from __future__ import annotations

import heapq
import os
import sys
import threading
from collections import deque
from dataclasses import dataclass

import numpy as np

from majelpy.errors import PoolError

SMALLEST = 256
"""Smallest block in bytes; also the alignment of every allocation."""

DEFAULT_POOL_BYTES = 1 << 30


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
    bytes : ndarray of uint8
        The memory, exactly as long as asked for.
    """

    __slots__ = ("_block", "_pool", "bytes")

    def __init__(self, pool: Pool | None, block: tuple[int, int] | None, memory: np.ndarray):
        self._pool = pool
        self._block = block
        self.bytes = memory

    def __del__(self) -> None:
        if self._pool is not None:
            self._pool._release(self._block, self.bytes.nbytes)


class Pool:
    """Buddy allocator over ``nbytes`` bytes (rounded down to a power of two).

    Parameters
    ----------
    nbytes : int
        Size of the region; 0 sends every request to the fallback.
    """

    def __init__(self, nbytes: int = DEFAULT_POOL_BYTES):
        if nbytes < 0:
            raise PoolError(f"pool: {nbytes} bytes asked; needs 0 or more")
        self.capacity = 1 << (nbytes.bit_length() - 1) if nbytes >= SMALLEST else 0
        self.statistics = Statistics()
        self._lock = threading.Lock()
        self._returned: deque[tuple[tuple[int, int] | None, int]] = deque()
        self._region: np.ndarray | None = None
        self._free: dict[int, list[int]] = {self.capacity: [0]} if self.capacity else {}
        self._free_set = {(self.capacity, 0)} if self.capacity else set[tuple[int, int]]()
        self._warned = False

    def allocate(self, nbytes: int) -> Allocation:
        """Return at least ``nbytes`` bytes, uninitialised.

        Raises
        ------
        PoolError
            If neither the pool nor the fallback has the memory.
        """
        try:
            with self._lock:
                if self._region is None:
                    self._region = self._take_region()
                block = self._take(max(SMALLEST, 1 << (max(nbytes, 1) - 1).bit_length()))
                stats = self.statistics
                stats.allocations += 1
                if block is None:
                    return self._fallback(nbytes)
                size, offset = block
                stats.in_use += size
                stats.peak = max(stats.peak, stats.in_use)
                return Allocation(self, block, self._region[offset : offset + nbytes])
        finally:
            self._merge_returned()

    def _take_region(self) -> np.ndarray:
        try:
            return _aligned(self.capacity)
        except (MemoryError, ValueError):  # NumPy says the second of a size beyond all bounds
            raise PoolError(
                f"pool on cpu: a region of {self.capacity} bytes asked, and the system has not as "
                "much; lower --pool-bytes"
            ) from None

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

    def _release(self, block: tuple[int, int] | None, nbytes: int) -> None:
        """Note a block that comes back, and merge it unless the pool is at work.

        The garbage collector calls this anywhere, within the pool's own functions too.
        """
        self._returned.append((block, nbytes))
        self._merge_returned()

    def _merge_returned(self) -> None:
        # Whoever finds the lock taken leaves its block to the holder, who looks again at the end.
        while self._returned and self._lock.acquire(blocking=False):
            try:
                while self._returned:
                    self._merge(*self._returned.popleft())
            finally:
                self._lock.release()

    def _merge(self, block: tuple[int, int] | None, nbytes: int) -> None:
        if block is None:
            self.statistics.fallback_in_use -= nbytes
            return
        size, offset = block
        self.statistics.in_use -= size
        while size < self.capacity and (size, offset ^ size) in self._free_set:
            buddy = offset ^ size
            self._free_set.remove((size, buddy))
            self._free[size].remove(buddy)
            heapq.heapify(self._free[size])
            offset, size = min(offset, buddy), size * 2
        self._put(size, offset)

    def _fallback(self, nbytes: int) -> Allocation:
        stats = self.statistics
        try:
            memory = _aligned(nbytes)
        except (MemoryError, ValueError):  # NumPy says the second of a size beyond all bounds
            largest = max((s for s, offsets in self._free.items() if offsets), default=0)
            raise PoolError(
                f"pool on cpu: {nbytes} bytes asked, {self.capacity - stats.in_use} free of "
                f"{self.capacity} (largest block {largest}), and the system has none left"
            ) from None
        stats.fallbacks += 1
        stats.fallback_in_use += nbytes
        stats.fallback_peak = max(stats.fallback_peak, stats.fallback_in_use)
        if not self._warned and self.capacity:
            self._warned = True
            print(
                f"pool on cpu: {nbytes} bytes asked, {self.capacity - stats.in_use} free of "
                f"{self.capacity}; using ordinary memory, which is slower (raise --pool-bytes)",
                file=sys.stderr,
            )
        return Allocation(self, None, memory)


def _aligned(nbytes: int) -> np.ndarray:
    """Fresh memory that starts at a page; untouched pages cost nothing."""
    page = os.sysconf("SC_PAGE_SIZE")
    memory = np.empty(nbytes + page, dtype=np.uint8)
    start = -memory.ctypes.data % page
    return memory[start : start + nbytes]


_pool = Pool()


def pool() -> Pool:
    """The pool that new arrays take their memory from."""
    return _pool


def set_pool(new: Pool) -> Pool:
    """Let new arrays use ``new``; returns the pool used before."""
    global _pool
    old, _pool = _pool, new
    return old
