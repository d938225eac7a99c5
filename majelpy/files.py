"""Files that are opened only if they are plain files.

Policy. Anybody may have made what is read, and a folder may be shared. A FIFO or a device would let
the program wait for ever or do something of its own, so it is refused before it is opened; a file
that is written in place is never reached through a link, which could lead to a file that is
another's. What the caller gets is an `OSError` with the reason in its ``strerror``, whatever it is.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

_KINDS: tuple[tuple[Callable[[int], bool], str], ...] = (
    (stat.S_ISLNK, "a link"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def open_plain(path: str | os.PathLike[str]) -> BinaryIO:
    """Open a plain file, or what a link to one leads to, for reading.

    Raises
    ------
    OSError
        If it is something else, or cannot be opened.
    """
    _require_plain(os.stat(path).st_mode, path)
    return open(path, "rb", opener=_opener)


def read_plain(path: str | os.PathLike[str]) -> bytes:
    """Return the content of such a file."""
    with open_plain(path) as file:
        return file.read()


def open_in_place(path: Path) -> BinaryIO:
    """Open a plain file, or make one, for writing after what it holds; never through a link.

    Raises
    ------
    OSError
        If there is something else, or it cannot be opened.
    """
    if os.path.lexists(path):
        _require_plain(os.lstat(path).st_mode, path)
    return open(path, "ab", buffering=0, opener=_unlinked)


def _opener(path: str, flags: int) -> int:
    descriptor = os.open(path, flags | os.O_NONBLOCK, 0o666)
    try:
        _require_plain(os.fstat(descriptor).st_mode, path)  # it may have changed since
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _unlinked(path: str, flags: int) -> int:
    return _opener(path, flags | os.O_NOFOLLOW)


def _require_plain(mode: int, path: str | os.PathLike[str]) -> None:
    if stat.S_ISREG(mode):
        return
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))
    kind = next((words for found, words in _KINDS if found(mode)), "something else")
    raise OSError(errno.EINVAL, f"{kind}, not a plain file", os.fspath(path))
