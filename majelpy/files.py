"""Files that are whole or not there, and files that are kept although they are not wanted.

Policy. What is written goes into a file beside its place, to the disk, and only then to its name:
whoever reads finds the old content or the new one, whenever the writer dies. The name aside begins
with a dot, ends in ``.tmp`` and is never used twice; a failed write removes it. What may still be
evidence (a damaged file, a checkpoint that nothing proves) is renamed with a number, never deleted.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from majelpy.errors import OutputError


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
        with path.open("rb") as file:
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
