"""Memory that the ranks of a host share: a segment of each, which all of them read and write."""

from __future__ import annotations

import mmap
from typing import TYPE_CHECKING

from majelpy.comm.mpi import load_mpi
from majelpy.errors import PoolError
from majelpy.wording import byte_size

if TYPE_CHECKING:
    from mpi4py import MPI


PAGE = 4096


class SharedMemory:
    """One segment of memory per rank of a host, which all of them read and write.

    Attributes
    ----------
    segments
        A writable view of bytes per rank of the host, in rank order, zeros at the start.
    """

    def __init__(self, comm: MPI.Intracomm | None, nbytes: int) -> None:
        self._comm = comm
        if comm is None:
            try:
                region = mmap.mmap(-1, nbytes, flags=mmap.MAP_PRIVATE)
            except (OSError, OverflowError):
                raise PoolError(
                    f"gradients: {byte_size(nbytes)} asked, and the system has not as much; "
                    "make the model smaller"
                ) from None
            self.segments = [memoryview(region)]
            return
        mpi = load_mpi()
        info = mpi.Info.Create()
        info.Set("alloc_shared_noncontig", "true")  # each segment on its own pages
        self._window: MPI.Win = mpi.Win.Allocate_shared(whole_pages(nbytes), 1, info, comm)
        info.Free()
        self._window.Lock_all(mpi.MODE_NOCHECK)
        self.segments = [memoryview(self._window.Shared_query(r)[0]) for r in range(comm.size)]
        # MPI does not promise zeros (over one rank it gives plain memory). Writing them also puts
        # the pages near the core that will use them, and the next to look for room sees them taken.
        mine, zeros = self.segments[comm.rank], bytes(PAGE)
        for at in range(0, len(mine), PAGE):
            mine[at : at + PAGE] = zeros

    def fence(self) -> None:
        """Wait for the host's ranks; what they wrote before, all of them read after."""
        if self._comm:
            self._window.Sync()
            self._comm.Barrier()
            self._window.Sync()

    def arrive(self) -> list[MPI.Request]:
        """Begin a fence, and return what is done when all of the host's ranks have begun it.

        Only then call `arrived`. All ranks begin their fences in the same order.
        """
        if not self._comm:
            return []
        self._window.Sync()
        return [self._comm.Ibarrier()]

    def arrived(self) -> None:
        """End a fence that was begun: read what the others wrote before they began it."""
        if self._comm:
            self._window.Sync()

    def close(self) -> None:
        """Give the memory back, all ranks together; no view of it may be used after."""
        self.segments = []
        if self._comm:
            self._window.Unlock_all()
            self._window.Free()
            self._comm.Free()
            self._comm = None


def whole_pages(nbytes: int) -> int:
    return -(-nbytes // PAGE) * PAGE
