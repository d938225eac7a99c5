"""Reading HDF5 files that anybody may have made: the only door to h5py for reading.

Policy. A plain file is opened, and never locked: nobody changes these files in place, and some
cluster file systems have no locks. Nothing but the file itself is read: a link to elsewhere, a
dataset that keeps its values in other files, and a filter, for which HDF5 may load a library, are
refused. What a header claims is held against the size of the file before memory is taken. An
`OSError` with a number is the system's and passes as it is, for it says nothing about the content;
all else that h5py raises, and that is almost anything, is `Damaged`.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from majelpy.errors import MajelError
from majelpy.files import open_plain
from majelpy.wording import byte_size

File = h5py.File

_DEEPEST = 8
"""Groups within one another."""


class Damaged(Exception):
    """The content of a file cannot be used; the reason, on one line."""


class NotHdf5(Damaged):
    """The file is of another kind, or so damaged that it looks like one."""


def open_file(path: str | os.PathLike[str]) -> h5py.File:
    """Open a file for reading.

    Raises
    ------
    OSError
        If the system does not let it be read, or it is no plain file.
    NotHdf5
        If it is no HDF5 file.
    """
    with reading(path), open_plain(path):
        return h5py.File(path, "r", locking=False)


@contextmanager
def reading(path: str | os.PathLike[str]) -> Iterator[None]:
    """Turn what h5py raises into the two errors of `open_file`; majelpy's own pass."""
    try:
        yield
    except (MajelError, Damaged):
        raise
    except MemoryError:
        raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM), os.fspath(path)) from None
    except Exception as error:
        if isinstance(error, OSError) and error.errno:
            reason = error.strerror if error.filename else os.strerror(error.errno)
            raise OSError(error.errno, reason, os.fspath(path)) from None
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        raise (NotHdf5 if "signature not found" in reason else Damaged)(reason) from None


def text(file: h5py.File, name: str) -> str:
    """Return an attribute that is a text."""
    value = _attribute(file, name, "S")
    assert isinstance(value, bytes)
    return value.decode()


def number(file: h5py.File, name: str, default: int | None = None) -> int:
    """Return an attribute that is a whole number of at least 0."""
    if default is not None and name not in file.attrs:
        return default
    value = int(_attribute(file, name, "iu"))
    if value < 0:
        raise Damaged(f"{name} is {value}; needs at least 0")
    return value


def _attribute(file: h5py.File, name: str, kinds: str) -> Any:
    # Looked at before it is read: a text of variable length can send HDF5 into an endless loop.
    found = file.attrs.get_id(name)
    if found.shape != () or found.dtype.kind not in kinds:
        raise Damaged(f"{name} is {found.dtype} {found.shape}")
    return file.attrs[name]


def dataset(file: h5py.File, name: str) -> h5py.Dataset:
    """Return a dataset of the file's root that has all its values in this file, unfiltered."""
    _require_hard(file, name)
    found = file[name]
    if not isinstance(found, h5py.Dataset):
        raise Damaged(f"/{name} is no dataset")
    _require_plain(found)
    return found


def datasets(file: h5py.File) -> dict[str, h5py.Dataset]:
    """Return all datasets of a file by their names, each such as `dataset` gives."""
    names: list[str] = []

    def look(name: str, link: object) -> str | None:
        names.append(name)
        # h5py cannot carry an error out of here; what is returned ends the visit.
        return name if name.count("/") >= _DEEPEST or not isinstance(link, h5py.HardLink) else None

    refused = file.visititems_links(look)
    if refused is not None:
        _require_hard(file, refused)
        raise Damaged("its groups are nested too deeply")
    items = {name: file[name] for name in names}
    found = {name: item for name, item in items.items() if isinstance(item, h5py.Dataset)}
    for item in found.values():
        _require_plain(item)
    _require_room(file, sum(item.nbytes for item in found.values()), "all of it")
    return found


def array(dataset: h5py.Dataset, dtype: type[np.generic], ndim: int | None = None) -> NDArray[Any]:
    """Return all values of a dataset, which must be of that type and so many axes."""
    if dataset.dtype != dtype:
        raise Damaged(f"{dataset.name} is {dataset.dtype}")
    if ndim is not None and dataset.ndim != ndim:
        raise Damaged(f"{dataset.name} has {dataset.ndim} axes")
    values: NDArray[Any] = np.asarray(dataset[()])
    return values


def _require_hard(file: h5py.File, name: str) -> None:
    link = file.get(name, getlink=True)  # asked before it is followed
    if link is None:
        raise Damaged(f"/{name} is missing")
    if not isinstance(link, h5py.HardLink):
        raise Damaged(f"/{name} is a link to somewhere else")


def _require_plain(dataset: h5py.Dataset) -> None:
    name, created = dataset.name, dataset.id.get_create_plist()
    if dataset.is_virtual or created.get_external_count():
        raise Damaged(f"{name} keeps its values in other files")
    if created.get_nfilters():
        raise Damaged(f"{name} is stored with filters")
    _require_room(dataset.file, dataset.nbytes, name)


def _require_room(file: h5py.File, claimed: int, what: str) -> None:
    # A damaged header can claim any size; without this check NumPy would try to take it.
    size = os.stat(file.filename).st_size
    if claimed > size:
        raise Damaged(f"{what} claims {byte_size(claimed)}, more than the file has")
