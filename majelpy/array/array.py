"""`Array`: shape and type over an allocation on a place.

Policy. Always contiguous, row-major. An array describes data; it owns neither an allocation
policy nor a library handle, and it does not calculate: operations are functions in majelpy.ops.
A slice along the first axis is a view that keeps the memory alive.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from majelpy.array.memory import Allocation, pool
from majelpy.array.place import CPU, Place
from majelpy.errors import ShapeError


class Array:
    """n-dimensional contiguous array; make one with `empty`, `zeros` or `asarray`.

    Attributes
    ----------
    shape : tuple of int
    dtype : numpy.dtype
    place : Place
    """

    __slots__ = ("_host", "_owner", "place")

    def __init__(self, host: np.ndarray, owner: Any, place: Place = CPU):
        self._host = host
        self._owner = owner
        self.place = place

    @property
    def shape(self) -> tuple[int, ...]:
        return self._host.shape

    @property
    def dtype(self) -> np.dtype:
        return self._host.dtype

    @property
    def size(self) -> int:
        """Number of elements."""
        return self._host.size

    @property
    def pointer(self) -> int:
        """Address of the first element."""
        return int(self._host.ctypes.data)

    @property
    def __array_interface__(self) -> dict[str, Any]:
        return self._host.__array_interface__

    def __len__(self) -> int:
        return len(self._host)

    def __getitem__(self, rows: slice) -> Array:
        """View of some rows (first axis, step 1)."""
        if not isinstance(rows, slice) or rows.step not in (None, 1):
            raise ShapeError(f"array: index {rows!r}; needs a slice of rows with step 1")
        return Array(self._host[rows], self._owner, self.place)

    def reshape(self, *shape: int) -> Array:
        """View with another shape of the same number of elements."""
        if math.prod(shape) != self.size:
            raise ShapeError(
                f"reshape: {self.shape} has {self.size} elements and {shape} has {math.prod(shape)}"
            )
        return Array(self._host.reshape(shape), self._owner, self.place)

    def numpy(self) -> np.ndarray:
        """View as a NumPy array, without copying; valid as long as somebody holds it."""
        return np.asarray(self)

    def copy(self) -> Array:
        """New array with the same content."""
        new = empty(self.shape, self.dtype)
        new._host[...] = self._host
        return new

    def __repr__(self) -> str:
        return f"Array(shape={self.shape}, dtype={self.dtype}, place={self.place})"


def empty(shape: int | Sequence[int], dtype: DTypeLike = np.float32) -> Array:
    """Return an uninitialised array from the pool.

    Raises
    ------
    ShapeError
        If a size is negative.
    PoolError
        If there is no memory.
    """
    sizes = (shape,) if isinstance(shape, int) else tuple(shape)
    if any(size < 0 for size in sizes):
        raise ShapeError(f"empty: shape {sizes}; sizes must not be negative")
    kind = np.dtype(dtype)
    nbytes = math.prod(sizes) * kind.itemsize
    allocation: Allocation = pool().allocate(nbytes)
    return Array(allocation.bytes.view(kind).reshape(sizes), allocation)


def zeros(shape: int | Sequence[int], dtype: DTypeLike = np.float32) -> Array:
    """Return an array of zeros; raises as `empty` does."""
    new = empty(shape, dtype)
    new._host[...] = 0
    return new


def asarray(data: Any, dtype: DTypeLike | None = None) -> Array:
    """Return ``data`` as an array, without copying where it is contiguous and of that type."""
    if isinstance(data, Array) and (dtype is None or data.dtype == np.dtype(dtype)):
        return data
    host = np.ascontiguousarray(np.asarray(data), dtype=dtype)
    return Array(host, host)
