"""The file that HDF5 writes into, which never tells HDF5 that a write failed.

Policy: HDF5 cannot give up a file that it cannot flush; it complains at every later call and
crashes at the end of the process. So after the first error (a full disk, an interruption)
this pretends to write, and keeps the error for the writer to raise.
"""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer


class Sink:
    """A new file with the methods that h5py wants of one.

    Attributes
    ----------
    error : BaseException or None
        What the first failed write raised.
    """

    def __init__(self, path: Path) -> None:
        self.error: BaseException | None = None
        self._given_up = False
        self._file = io.FileIO(path, "x+")

    def give_up(self) -> None:
        """Write no more."""
        self._given_up = True

    def write(self, data: ReadableBuffer) -> int:
        """Write all of the data, or pretend to; return its size."""
        rest = memoryview(data).cast("B")
        size = len(rest)
        while rest and not self._given_up:
            try:
                rest = rest[self._file.write(rest) :]
            except BaseException as error:  # an interruption must not pass through HDF5 either
                self.error, self._given_up = error, True
        return size

    def truncate(self, size: int) -> int:
        """Set the size of the file, or pretend to."""
        if not self._given_up:
            try:
                self._file.truncate(size)
            except BaseException as error:
                self.error, self._given_up = error, True
        return size

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to a place and return it."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """Return the place."""
        return self._file.tell()

    def read(self, size: int = -1) -> bytes:
        """Return what stands at the place."""
        return self._file.read(size)

    def readinto(self, buffer: WriteableBuffer) -> int:
        """Read into a buffer and return how much."""
        return self._file.readinto(buffer)

    def flush(self) -> None:
        """Nothing is buffered here."""

    def close(self) -> None:
        """Make sure that all of it is on the disk, and close; closing twice is harmless."""
        if self._file.closed:
            return
        with self._file:
            if not self._given_up:
                os.fsync(self._file.fileno())
