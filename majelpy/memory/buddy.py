"""The free blocks of a buddy allocator: offsets and sizes, no memory.

Policy. Knuth, TAOCP 1, 2.5: sizes are powers of two, a larger block is halved where none of the
size is free, and a block that comes back joins its buddy where that is free too. Of the free
blocks of a size the one at the lowest offset is taken. A region of another size is cut in powers
of two, the largest first; the last of each size has no buddy and joins nothing.
"""

from __future__ import annotations

import heapq


class _FreeBlocks:
    """Offsets of the free blocks of one size."""

    __slots__ = ("_heap", "_in_heap", "offsets")

    def __init__(self) -> None:
        self.offsets: set[int] = set()
        # An offset that is taken as a buddy stays in the heap, and is passed over at its top.
        self._heap: list[int] = []
        self._in_heap: set[int] = set()

    def add(self, offset: int) -> None:
        self.offsets.add(offset)
        if offset not in self._in_heap:
            self._in_heap.add(offset)
            heapq.heappush(self._heap, offset)

    def take_lowest(self) -> int:
        while True:
            offset = heapq.heappop(self._heap)
            self._in_heap.remove(offset)
            if offset in self.offsets:
                self.offsets.remove(offset)
                return offset


class Buddies:
    """Free blocks of a region.

    Parameters
    ----------
    capacity, smallest : int
        Bytes of the region and of the smallest block, a power of two; the first is a multiple of
        the second.
    """

    def __init__(self, capacity: int, smallest: int):
        self.capacity, self.smallest = capacity, smallest
        levels = range((capacity // smallest).bit_length())
        self._free = {smallest << level: _FreeBlocks() for level in levels}
        self._largest = max(self._free, default=0)
        offset = 0
        for size in sorted(self._free, reverse=True):
            if capacity & size:
                self._free[size].add(offset)
                offset += size

    @property
    def largest_free(self) -> int:
        """Bytes of the largest free block."""
        return max((size for size, blocks in self._free.items() if blocks.offsets), default=0)

    def size_of(self, nbytes: int) -> int:
        """Size of the block for that many bytes."""
        return 1 << (nbytes - 1).bit_length() if nbytes > self.smallest else self.smallest

    def take(self, size: int) -> int | None:
        """Return the offset of a block of that size, which is then not free, or None."""
        free, larger = self._free, size
        while larger <= self._largest and not free[larger].offsets:
            larger <<= 1
        if larger > self._largest:
            return None
        offset = free[larger].take_lowest()
        while larger > size:
            larger >>= 1
            free[larger].add(offset + larger)
        return offset

    def put_back(self, size: int, offset: int) -> None:
        """Let a block be free."""
        free = self._free
        while size < self._largest:
            others, buddy = free[size].offsets, offset ^ size
            if buddy not in others:
                break
            others.remove(buddy)
            offset &= buddy  # the lower one of the two
            size <<= 1
        free[size].add(offset)
