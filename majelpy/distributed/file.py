"""`save` and `load`: one HDF5 file that knows no ranks.

Policy. The bytes of the file depend on the array alone. It is cut into tiles of a few MiB, each
with a SHA-256; rank 0 gathers and writes tile by tile, aside, and renames at the end, so a file
under its final name is whole. Each rank reads the tiles that its box touches, and holds them
against their digests. As in a checkpoint there is no pickle, no string of variable length, and no
failed write that reaches the library.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from majelpy import hdf5
from majelpy.array import Array, empty
from majelpy.distributed.array import DistArray
from majelpy.distributed.creation import place_of, whole
from majelpy.distributed.mesh import WorldMesh
from majelpy.distributed.placement import Box, Placements, common, layout, sizes_of, within
from majelpy.errors import ArrayFileError, MajelError, OutputError
from majelpy.files import aside_of, put_in_place
from majelpy.memory import Place
from majelpy.memory.dtypes import bool as boolean
from majelpy.memory.dtypes import dtype_of, name_of, word_of
from majelpy.sink import Sink

FORMAT = "majelpy array 1"
TILE_BYTES = 4 << 20


def save(path: str | Path, x: DistArray) -> None:
    """Write an array to one file; all ranks call it, and rank 0 writes.

    A file of that name is replaced. Takes memory for one tile.

    Raises
    ------
    OutputError
        If rank 0 cannot write; an earlier file stays. Other ranks raise `RankFailed`.
    """
    world, target = x.mesh.world, Path(path)
    x.mesh.agreed("save", f"{name_of(x.dtype)} {x.layout}")
    writer, error = None, None
    try:
        writer = _Writer(target, x.shape, x.dtype) if world.rank == 0 else None
    except OSError as failed:
        error = _cannot_write(target, failed)
    world.agree(error)
    try:
        for box in tiles(x.shape, x.dtype.itemsize, TILE_BYTES):
            tile = x.collect(box, 0)
            if writer is not None and tile is not None:
                writer.put(box, tile)
        if writer is not None:
            writer.finish()
    except OSError as failed:
        error = _cannot_write(target, failed)
    finally:
        if writer is not None:
            writer.close()
    world.agree(error)


def load(
    path: str | Path,
    mesh: WorldMesh,
    placements: Placements,
    *,
    device: Place | str | None = None,
) -> DistArray:
    """Return the array of a file; each rank reads what it will hold. All ranks call it.

    Raises
    ------
    ArrayFileError
        If the file is missing, truncated, damaged or of another kind. All other ranks than the
        lowest that finds it raise `RankFailed`.
    PlacementError
        If the placements do not fit the array.
    """
    found, error = None, None
    try:
        found = _read(Path(path), mesh, placements)
    except MajelError as failed:
        error = failed
    mesh.world.agree(error)
    assert found is not None
    mesh.agreed("load", f"{found[1]} as {found[0].layout}")
    return found[0].to_device(place_of(device))


def tiles(shape: tuple[int, ...], itemsize: int, most: int) -> Iterator[Box]:
    """Yield the boxes of tiles of at most so many bytes, in row-major order; none if empty."""
    sizes = list(shape)
    if 0 in sizes:
        return
    while math.prod(sizes) * itemsize > most and max(sizes) > 1:
        longest = sizes.index(max(sizes))
        sizes[longest] = -(-sizes[longest] // 2)
    cuts = [
        [(first, min(first + step, size)) for first in range(0, size, step)]
        for step, size in zip(sizes, shape, strict=True)
    ]
    yield from itertools.product(*cuts)


class _Writer:
    """Rank 0's file in the making."""

    def __init__(self, path: Path, shape: tuple[int, ...], dtype: np.dtype) -> None:
        self._path = path
        self._aside = aside_of(path)
        if path.is_dir():
            raise IsADirectoryError(21, "Is a directory")
        self._sink = Sink(self._aside)
        self._file = h5py.File(self._sink, "w", libver=("v110", "v110"))
        self._data = self._file.create_dataset("array", shape, _stored(dtype))
        self._digests: list[bytes] = []
        self._head = (shape, dtype)

    def put(self, box: Box, tile: Array) -> None:
        """Write a tile."""
        words = tile.numpy().view(_stored(tile.dtype))
        self._digests.append(_digest(words))
        self._data[_index(box)] = words

    def finish(self) -> None:
        """Write the rest, bring it to the disk and give the file its name."""
        digests = np.frombuffer(b"".join(self._digests), np.uint8).reshape(-1, 32)
        self._file.create_dataset("digests", data=digests)
        self._file.attrs["format"] = np.bytes_(FORMAT)
        self._file.attrs["dtype"] = np.bytes_(name_of(self._head[1]))
        self._file.attrs["digest"] = np.bytes_(_head_digest(*self._head, digests))
        self._file.close()
        if self._sink.error is not None:
            raise self._sink.error
        self._sink.close()
        put_in_place(self._aside, self._path)

    def close(self) -> None:
        """Leave nothing behind but a finished file."""
        self._sink.give_up()
        self._file.close()
        self._sink.close()
        with suppress(OSError):
            self._aside.unlink(missing_ok=True)


def _read(path: Path, mesh: WorldMesh, placements: Placements) -> tuple[DistArray, str]:
    """Return this rank's part, and the digest of the whole."""
    try:
        with hdf5.reading(path), hdf5.open_file(path) as file:
            if "format" not in file.attrs or hdf5.text(file, "format") != FORMAT:
                raise ArrayFileError(f"{path}: not an array ({FORMAT})")
            data = hdf5.dataset(file, "array")
            digests = hdf5.array(hdf5.dataset(file, "digests"), np.uint8, 2)
            dtype = dtype_of("load", hdf5.text(file, "dtype"))
            digest = _head_digest(data.shape, dtype, digests)
            if data.dtype != _stored(dtype):
                raise ValueError(f"{data.dtype} stored for {name_of(dtype)}")
            if hdf5.text(file, "digest") != digest:
                raise ValueError("its head does not have the digest inside")
            target = whole("load", layout("load", data.shape, mesh, placements))
            box = target.box(mesh.world.rank)
            local = empty(target.local_shape(mesh.world.rank), dtype)
            words = local.numpy().view(_stored(dtype))
            for number, tile in enumerate(tiles(data.shape, dtype.itemsize, TILE_BYTES)):
                overlap = common(tile, box)
                if overlap is None:
                    continue
                read = np.asarray(data[_index(tile)]).reshape(sizes_of(tile))
                if _digest(read) != digests[number].tobytes():
                    raise ValueError(f"the tile at {tile} does not have its digest")
                words[within(overlap, box)] = read[within(overlap, tile)]
            return DistArray(target, local), digest
    except (FileNotFoundError, IsADirectoryError):
        raise ArrayFileError(f"{path}: there is no such file") from None
    except OSError as error:
        raise ArrayFileError(f"{path}: cannot be read ({error.strerror})") from None
    except hdf5.Damaged as error:
        raise ArrayFileError(f"{path}: damaged or truncated ({error})") from None


def _stored(dtype: np.dtype) -> np.dtype:
    """The type in the file: words where HDF5 has no such type, low bytes first."""
    plain = dtype.kind in "iuf" and dtype != boolean
    return (dtype if plain else word_of(dtype)).newbyteorder("<")


def _digest(words: np.ndarray) -> bytes:
    return hashlib.sha256(np.ascontiguousarray(words).data).digest()


def _head_digest(shape: tuple[int, ...], dtype: np.dtype, digests: np.ndarray) -> str:
    head = json.dumps([FORMAT, list(shape), name_of(dtype), TILE_BYTES]).encode()
    return hashlib.sha256(head + digests.tobytes()).hexdigest()


def _index(box: Box) -> tuple[Any, ...]:
    return tuple(slice(first, last) for first, last in box)


def _cannot_write(path: Path, error: OSError) -> OutputError:
    return OutputError(f"save: cannot write {path} ({error.strerror})")
