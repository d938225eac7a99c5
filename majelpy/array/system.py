"""Where a pool's memory comes from: the system allocators of the places.

Policy. A pool takes one region at its start and, when it is full, single pieces of another kind:
ordinary memory on a CPU; on a GPU cudaMalloc'ed memory, then pinned host memory that the GPU can
read and write. CuPy starts with the first piece of GPU memory, not with this module.
"""

from __future__ import annotations

import os
from typing import Any, Protocol

import numpy as np

from majelpy.array.place import CPU, Place
from majelpy.errors import PoolError


class Piece:
    """Memory at an address, freed when the last reference goes.

    Attributes
    ----------
    pointer : int
    bytes : ndarray of uint8, or None
        The memory as the host sees it, where it does.
    """

    __slots__ = ("_owner", "bytes", "pointer")

    def __init__(self, pointer: int, owner: Any, host: np.ndarray | None = None):
        self.pointer, self._owner, self.bytes = pointer, owner, host

    def part(self, offset: int, nbytes: int) -> Piece:
        """A part that keeps the whole alive."""
        host = None if self.bytes is None else self.bytes[offset : offset + nbytes]
        return Piece(self.pointer + offset, self._owner, host)


class System(Protocol):
    """System allocator of a place; raises MemoryError when there is no memory."""

    place: Place
    fallback_name: str

    def region(self, nbytes: int) -> Piece:
        """Return memory of the place itself, aligned to 256 bytes at least."""

    def fallback(self, nbytes: int) -> Piece:
        """Return memory that the place can use, perhaps slower."""

    def fill(self, piece: Piece, nbytes: int, value: int) -> None:
        """Let each byte be ``value``, in the order of the place's work."""


class CpuSystem:
    """Ordinary memory from a page's start; untouched pages cost nothing."""

    place = CPU
    fallback_name = "ordinary memory"

    def region(self, nbytes: int) -> Piece:
        page = os.sysconf("SC_PAGE_SIZE")
        memory = np.empty(nbytes + page, dtype=np.uint8)
        start = -memory.ctypes.data % page
        host = memory[start : start + nbytes]
        return Piece(memory.ctypes.data + start, memory, host)

    fallback = region

    def fill(self, piece: Piece, nbytes: int, value: int) -> None:
        if piece.bytes is not None:
            piece.bytes[:nbytes] = value


class GpuSystem:
    """Memory of one GPU, through CuPy's thin layer over the CUDA runtime.

    Raises
    ------
    PoolError
        If CuPy is not installed or there is no such GPU.
    """

    fallback_name = "pinned host memory"

    def __init__(self, place: Place):
        try:
            import cupy
        except ImportError:
            raise PoolError(f"pool on {place}: cupy is not installed") from None
        try:
            count = cupy.cuda.runtime.getDeviceCount()
        except cupy.cuda.runtime.CUDARuntimeError as error:
            raise PoolError(f"pool on {place}: {error}") from None
        if place.number >= count:
            raise PoolError(f"pool on {place}: this machine has {count} GPUs")
        self.place, self._cuda = place, cupy.cuda

    def region(self, nbytes: int) -> Piece:
        with self._cuda.Device(self.place.number):
            return self._taken(lambda: self._cuda.memory.Memory(nbytes))

    def fallback(self, nbytes: int) -> Piece:
        with self._cuda.Device(self.place.number):
            mapped = self._cuda.runtime.hostAllocMapped | self._cuda.runtime.hostAllocPortable
            # Addresses are unified: the GPU uses that of the host.
            return self._taken(lambda: self._cuda.PinnedMemory(max(nbytes, 1), mapped))

    def _taken(self, take: Any) -> Piece:
        try:
            memory = take()
        except (self._cuda.memory.OutOfMemoryError, self._cuda.runtime.CUDARuntimeError) as error:
            raise MemoryError(str(error)) from None
        return Piece(int(memory.ptr), memory)

    def fill(self, piece: Piece, nbytes: int, value: int) -> None:
        with self._cuda.Device(self.place.number):
            stream = self._cuda.get_current_stream().ptr
            self._cuda.runtime.memsetAsync(piece.pointer, value, nbytes, stream)


def system_of(place: Place) -> System:
    """Return the system allocator of a place."""
    return CpuSystem() if place == CPU else GpuSystem(place)


def cupy_allocator(pool: Any) -> Any:
    """Return a function for `cupy.cuda.set_allocator` that takes memory from a GPU's pool."""
    import cupy

    def allocate(nbytes: int) -> Any:
        held = pool.allocate(nbytes)
        memory = cupy.cuda.UnownedMemory(held.pointer, nbytes, held, pool.place.number)
        return cupy.cuda.MemoryPointer(memory, 0)

    return allocate
