"""Files: opened only if they are plain ones, written whole or not at all, kept where not wanted.

Policy. Anybody may have made what is read, and a folder may be shared. A FIFO or a device would let
the program wait for ever or do something of its own, so it is refused before it is opened; a file
that is written in place is never reached through a link, which could lead to a file that is
another's. What the caller gets is an `OSError` with the reason in its ``strerror``, whatever it is.

What is written goes into a file beside its place, to the disk, and only then to its name: whoever
reads finds the old content or the new one, whenever the writer dies. The name aside begins with a
dot, ends in ``.tmp`` and is never used twice; a failed write removes it. What may still be evidence
(a damaged file, a checkpoint that nothing proves) is renamed with a number, never deleted.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from majelpy.errors import OutputError

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


def aside_of(path: Path) -> Path:
    """Return a new name for the file that is to become ``path``."""
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")


def put_in_place(aside: Path, path: Path) -> None:
    """Give a file that was written and synced its name; raises the system's OSError."""
    os.replace(aside, path)
    sync_folder(path.parent)


def write_whole(path: Path, content: bytes | Iterable[bytes]) -> None:
    """Write a file, in one piece or several; what was there is replaced.

    Raises
    ------
    OutputError
        If it cannot be written; what was there stays.
    """
    aside = aside_of(path)
    try:
        with aside.open("xb") as file:
            file.writelines([content] if isinstance(content, bytes) else content)
            file.flush()
            os.fsync(file.fileno())
        put_in_place(aside, path)
    except OSError as error:
        raise OutputError(f"cannot write {path} ({error.strerror})") from None
    finally:
        with suppress(OSError):
            aside.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Make sure that the names in a folder are on the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def require_replaceable(path: Path) -> None:
    """Raise OutputError if a path is something other than a file: a device would be lost."""
    if path.exists() and not path.is_file():
        raise OutputError(f"{path}: not a file; give the output another name")


def set_aside(path: Path, why: str) -> Path:
    """Rename a file to the first free one of ``NAME.WHY-1``, ``NAME.WHY-2``, ...

    Raises
    ------
    OutputError
        If it cannot be renamed.
    """
    kept = _free_name(path, why)
    try:
        path.rename(kept)
    except OSError as error:
        raise OutputError(f"cannot rename {path} to {kept.name} ({error.strerror})") from None
    return kept


def keep_copy(path: Path, why: str) -> Path:
    """Copy a file to such a name, for the file itself is to be written anew; raises as above."""
    kept = _free_name(path, why)
    try:
        with open_plain(path) as file:
            write_whole(kept, iter(lambda: file.read(1 << 20), b""))
    except OutputError:
        raise
    except OSError as error:
        raise OutputError(f"cannot copy {path} to {kept.name} ({error.strerror})") from None
    return kept


def _free_name(path: Path, why: str) -> Path:
    number = 1
    while os.path.lexists(kept := path.with_name(f"{path.name}.{why}-{number}")):
        number += 1
    return kept
