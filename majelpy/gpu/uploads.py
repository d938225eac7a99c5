"""The way of host memory up to a GPU: through sections of pinned pages, used in turn.

Policy. CUDA may still read from the host after an asynchronous copy has returned, and whoever calls
us may free or change his memory at once. So bytes go into pinned memory first. A section is used
again only when the copies from it are done; there is room for many launches, so the host seldom
waits. The mark behind a section is one of the home stream; for copies on others the host waits.
"""

from __future__ import annotations

import ctypes
import threading
from typing import Any, Protocol

ALIGNMENT = 64


class Copier(Protocol):
    """What copies from pinned memory, in the order of launches."""

    @property
    def stream(self) -> int:
        """Where launches and copies go now."""

    def begin_copy(self, source: int, pointer: int, nbytes: int) -> None:
        """Begin a copy from pinned memory to the GPU."""

    def point(self, stream: int | None = None) -> Any:
        """Return a mark behind all so far on a stream, by default on the present one."""

    def wait(self, mark: Any) -> None:
        """Return when all before a mark is done."""


class Uploads:
    """Sections of pinned memory.

    Parameters
    ----------
    address, nbytes : int
        Of the pinned memory, which outlives this.
    sections : int
    copier : Copier
    """

    def __init__(self, address: int, nbytes: int, sections: int, copier: Copier):
        self._address, self._copier = address, copier
        self._size = nbytes // sections // ALIGNMENT * ALIGNMENT
        self._marks: list[Any] = [None] * sections
        self._section, self._used, self._home = 0, 0, copier.stream
        self._lock = threading.Lock()  # readers upload too

    def copy(self, source: int, pointer: int, nbytes: int) -> None:
        """Copy host memory to the GPU; it may be changed or freed after the call."""
        with self._lock:
            for start in range(0, nbytes, self._size):
                size = min(self._size, nbytes - start)
                at = self._address + self._room(size)
                ctypes.memmove(at, source + start, size)
                self._copier.begin_copy(at, pointer + start, size)
                if self._copier.stream != self._home:  # no mark of the home stream stands behind it
                    self._copier.wait(self._copier.point())

    def _room(self, nbytes: int) -> int:
        """Return where so many bytes are free; a new section only when its copies are done."""
        if self._used + nbytes > self._size:
            self._marks[self._section] = self._copier.point(self._home)
            self._section = (self._section + 1) % len(self._marks)
            mark, self._used = self._marks[self._section], 0
            if mark is not None:
                self._copier.wait(mark)
        at = self._section * self._size + self._used
        self._used += -(-nbytes // ALIGNMENT) * ALIGNMENT
        return at
