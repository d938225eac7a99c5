"""Where a pool's memory comes from: the system allocators of the places.

Policy. A pool takes one region at its first use and, when it is full, single pieces of another
kind: a mapping in huge pages, then ordinary memory on a CPU; cudaMalloc, then pinned host memory
mapped for the GPU on a GPU. Work of a place has a home order, that of the GPU's null stream. CuPy
starts with the first pool of a GPU, not with this module.
"""

from __future__ import annotations

import mmap
from contextlib import suppress
from typing import Any, Protocol

import numpy as np

from majelpy.errors import PoolError
from majelpy.memory.place import CPU, Place
from majelpy.wording import byte_size, counted, install

ALIGNMENT = 256
"""Of every allocation, in bytes."""

HUGE_PAGE = 2 << 20


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
        """Let each byte be ``value``, in the home order."""

    def stream(self) -> Any:
        """Return the order that work goes to now; None is the home order."""

    def wait(self, later: Any, earlier: Any) -> None:
        """Let work to come on one stream wait for what another has by now; None is home."""

    def finish(self) -> None:
        """Return when all work of the place is done."""


class CpuSystem:
    """Memory in huge pages where the system grants them; untouched pages cost nothing.

    Work on a CPU is done when its call returns, so there is nothing to wait for.
    """

    place = CPU
    fallback_name = "ordinary memory"

    def region(self, nbytes: int) -> Piece:
        try:
            mapping = mmap.mmap(-1, nbytes + HUGE_PAGE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
            # Some 1% faster steps than with small pages, for up to 20 MiB more (docs/memory.md).
            with suppress(AttributeError, OSError):  # a system without them
                mapping.madvise(mmap.MADV_HUGEPAGE)
        except OSError as error:
            raise MemoryError(error.strerror) from None
        except OverflowError as error:  # beyond all bounds
            raise MemoryError(str(error)) from None
        return _aligned(np.frombuffer(mapping, np.uint8), nbytes, HUGE_PAGE)

    def fallback(self, nbytes: int) -> Piece:
        try:
            return _aligned(np.empty(nbytes + ALIGNMENT, np.uint8), nbytes, ALIGNMENT)
        except ValueError as error:  # NumPy's word for a size beyond all bounds
            raise MemoryError(str(error)) from None

    def fill(self, piece: Piece, nbytes: int, value: int) -> None:
        if piece.bytes is not None:
            piece.bytes[:nbytes] = value

    def stream(self) -> None:
        return None

    def wait(self, later: Any, earlier: Any) -> None:
        pass

    def finish(self) -> None:
        pass


def _aligned(memory: np.ndarray, nbytes: int, alignment: int) -> Piece:
    """The first ``nbytes`` bytes of some memory from an aligned address on."""
    address = int(memory.ctypes.data)
    start = -address % alignment
    return Piece(address + start, memory, memory[start : start + nbytes])


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
            raise PoolError(
                f"pool on {place}: cupy is not installed; needs {install('gpu')}"
            ) from None
        try:
            count = cupy.cuda.runtime.getDeviceCount()
        except cupy.cuda.runtime.CUDARuntimeError as error:
            raise PoolError(f"pool on {place}: {error}") from None
        if place.number >= count:
            raise PoolError(f"pool on {place}: this machine has {counted(count, 'GPU')}")
        self.place, self._cuda = place, cupy.cuda

    def region(self, nbytes: int) -> Piece:
        self._use()
        return self._taken(lambda: self._cuda.memory.Memory(nbytes))

    def fallback(self, nbytes: int) -> Piece:
        self._use()
        mapped = self._cuda.runtime.hostAllocMapped | self._cuda.runtime.hostAllocPortable
        # Addresses are unified: the GPU uses that of the host.
        return self._taken(lambda: self._cuda.PinnedMemory(max(nbytes, 1), mapped))

    def _use(self) -> None:
        """Make this GPU the thread's for good: what CuPy's ``with`` sets back may be GPU 0, where
        that would start a context.
        """
        self._cuda.Device(self.place.number).use()

    def _taken(self, take: Any) -> Piece:
        try:
            memory = take()
        except (self._cuda.memory.OutOfMemoryError, self._cuda.runtime.CUDARuntimeError) as error:
            raise MemoryError(str(error)) from None
        return Piece(int(memory.ptr), memory)

    def fill(self, piece: Piece, nbytes: int, value: int) -> None:
        self._use()
        self._cuda.runtime.memsetAsync(piece.pointer, value, nbytes, 0)

    def stream(self) -> Any:
        current = self._cuda.get_current_stream(self.place.number)
        return current if current.ptr else None

    def wait(self, later: Any, earlier: Any) -> None:
        home = self._cuda.Stream.null
        self._use()
        event = self._cuda.Event(disable_timing=True)
        event.record(earlier or home)
        (later or home).wait_event(event)

    def finish(self) -> None:
        self._use()
        self._cuda.runtime.deviceSynchronize()


def system_of(place: Place) -> System:
    """Return the system allocator of a place."""
    return CpuSystem() if place == CPU else GpuSystem(place)


def cupy_allocator(pool: Any) -> Any:
    """Return a function for `cupy.cuda.set_allocator` that takes memory from a GPU's pool.

    As with CuPy's own pool, memory is safe in the stream that was current when it was taken; an
    array that other streams use too must live until they are done.

    Raises
    ------
    PoolError
        From the function: if CuPy's current GPU is not the pool's.
    """
    import cupy

    def allocate(nbytes: int) -> Any:
        current = cupy.cuda.runtime.getDevice()
        if current != pool.place.number:
            raise PoolError(
                f"pool on {pool.place}: {byte_size(nbytes)} asked with gpu:{current} current; "
                "needs the pool's own GPU"
            )
        held = pool.allocate(nbytes)
        memory = cupy.cuda.UnownedMemory(held.pointer, nbytes, held, pool.place.number)
        return cupy.cuda.MemoryPointer(memory, 0)

    return allocate
