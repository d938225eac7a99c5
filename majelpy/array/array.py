"""`Array`: shape and type over an allocation on a place.

Policy. Always contiguous, row-major. An array describes data; it owns neither an allocation
policy nor a library handle, and it does not calculate: operators call the functions of the
Python Array API standard (majelpy.array.operators). An index that selects contiguous memory
gives a view that keeps the memory alive; any other gives a copy.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from majelpy.array import dtypes
from majelpy.array.memory import Allocation, pool
from majelpy.array.operators import Operators
from majelpy.array.place import CPU, Place, parse_place
from majelpy.errors import CopyError, DTypeError, ShapeError


class Array(Operators):
    """n-dimensional contiguous array; make one with `empty`, `zeros` or `asarray`.

    Attributes
    ----------
    shape : tuple of int
    dtype : numpy.dtype
    place : Place
    """

    __slots__ = ("_owner", "_view", "place")
    __hash__ = None  # type: ignore[assignment]
    __array_ufunc__ = None  # NumPy must not calculate with these arrays unasked

    def __init__(self, host: np.ndarray, owner: Any, place: Place = CPU):
        self._view = host
        self._owner = owner
        self.place = place

    @property
    def shape(self) -> tuple[int, ...]:
        return self._view.shape

    @property
    def dtype(self) -> np.dtype:
        return self._view.dtype

    @property
    def device(self) -> Place:
        """The place, by the standard's name."""
        return self.place

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return self._view.ndim

    @property
    def size(self) -> int:
        """Number of elements."""
        return self._view.size

    @property
    def T(self) -> Array:
        """Transposed copy of a matrix."""
        if self.ndim != 2:
            raise ShapeError(f"T: shape {self.shape}; needs 2 axes (permute_dims takes any)")
        return store(self._view.T)

    @property
    def mT(self) -> Array:
        """Copy with the last two axes exchanged."""
        if self.ndim < 2:
            raise ShapeError(f"mT: shape {self.shape}; needs 2 axes or more")
        return store(np.swapaxes(self._view, -1, -2))

    @property
    def pointer(self) -> int:
        """Address of the first element."""
        return int(self._view.ctypes.data)

    @property
    def __array_interface__(self) -> dict[str, Any]:
        return self._view.__array_interface__

    def __array_namespace__(self, *, api_version: str | None = None) -> ModuleType:
        """Return the module with the functions of the standard."""
        import majelpy

        if api_version not in (None, "2021.12", "2022.12", "2023.12", "2024.12", "2025.12"):
            raise ShapeError(f"array: version {api_version!r} of the standard is not known")
        return majelpy

    def __dlpack__(
        self,
        *,
        stream: Any = None,
        max_version: tuple[int, int] | None = None,
        dl_device: tuple[int, int] | None = None,
        copy: bool | None = None,
    ) -> Any:
        """Return a DLPack capsule over this memory, or over a copy if asked."""
        asked: dict[str, Any] = {"max_version": max_version, "dl_device": dl_device, "copy": copy}
        return self.numpy().__dlpack__(**{k: v for k, v in asked.items() if v is not None})

    def __dlpack_device__(self) -> tuple[int, int]:
        kind, number = self._view.__dlpack_device__()
        return int(kind), int(number)

    def to_device(self, device: Place | str, /, *, stream: Any = None) -> Array:
        """Return the array on that place: itself if it is there."""
        place = parse_place(device) if isinstance(device, str) else device
        if place != self.place:
            raise CopyError(f"to_device: no way from {self.place} to {place}")
        return self

    def __len__(self) -> int:
        if not self.shape:
            raise DTypeError("len: an array without axes has no length")
        return self.shape[0]

    def __iter__(self) -> Iterator[Array]:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, key: Any, /) -> Array:
        """Elements by integers, slices, None, Ellipsis, integer arrays or a boolean mask."""
        from majelpy.array.indexing import get

        return get(self, key)

    def __setitem__(self, key: Any, value: Any, /) -> None:
        from majelpy.array.indexing import put

        put(self, key, value)

    def _single(self, operation: str) -> Any:
        """The only element, as a Python number."""
        if self.shape:
            raise ShapeError(f"{operation}: shape {self.shape}; needs an array without axes")
        return (
            store(self._view, dtypes.float64) if self.dtype in dtypes.STORAGE else self
        )._view.item()

    def __bool__(self) -> bool:
        return bool(self._single("bool"))

    def __int__(self) -> int:
        return int(self._single("int"))

    def __float__(self) -> float:
        return float(self._single("float"))

    def __complex__(self) -> complex:
        return complex(self._single("complex"))

    def __index__(self) -> int:
        if self.dtype not in dtypes.INTEGERS:
            raise DTypeError(f"index: {dtypes.name_of(self.dtype)}; needs an integer type")
        if self.shape:  # a TypeError, as Python's sequences expect
            raise DTypeError(f"index: shape {self.shape}; needs an array without axes")
        return int(self._single("index"))

    def reshape(self, *shape: int) -> Array:
        """View with another shape of the same number of elements."""
        if math.prod(shape) != self.size or min(shape, default=0) < 0:
            raise ShapeError(
                f"reshape: {self.shape} has {self.size} elements and {shape} has {math.prod(shape)}"
            )
        return Array(self._view.reshape(shape), self._owner, self.place)

    def numpy(self) -> np.ndarray:
        """View as a NumPy array, without copying; valid as long as somebody holds it."""
        return np.asarray(self)

    def copy(self) -> Array:
        """New array with the same content."""
        return store(self._view)

    def __copy__(self) -> Array:
        return self.copy()

    def __deepcopy__(self, memo: Any) -> Array:
        return self.copy()

    def __repr__(self) -> str:
        shown = self if self.dtype != dtypes.bfloat16 else store(self._view, dtypes.float32)
        with np.printoptions(threshold=100, edgeitems=3):
            text = np.array2string(shown._view, separator=", ", prefix="Array(")
        sizes = f", shape={self.shape}" if self.size > 100 or self.size == 0 else ""
        return f"Array({text}{sizes}, dtype={dtypes.name_of(self.dtype)}, place={self.place})"


def empty(
    shape: int | Sequence[int], dtype: DTypeLike | None = None, device: Place | str | None = None
) -> Array:
    """Return an uninitialised array from the pool; float32 if not said otherwise.

    Raises
    ------
    ShapeError
        If a size is negative, or if there are too many elements to count.
    PoolError
        If there is no memory.
    """
    sizes = (int(shape),) if hasattr(shape, "__index__") else tuple(int(size) for size in shape)
    if any(size < 0 for size in sizes):
        raise ShapeError(f"empty: shape {sizes}; sizes must not be negative")
    kind = dtypes.float32 if dtype is None else dtypes.dtype_of("empty", dtype)
    on_place(device)
    nbytes = math.prod(size for size in sizes if size) * kind.itemsize
    if nbytes >= 1 << 63 or len(sizes) > 64:
        raise ShapeError(f"empty: shape {sizes} of {kind} has {nbytes} bytes; needs below 2^63")
    nbytes = math.prod(sizes) * kind.itemsize
    allocation: Allocation = pool().allocate(nbytes)
    return Array(allocation.bytes.view(kind).reshape(sizes), allocation)


def zeros(
    shape: int | Sequence[int], dtype: DTypeLike | None = None, device: Place | str | None = None
) -> Array:
    """Return an array of zeros; raises as `empty` does."""
    new = empty(shape, dtype, device)
    new._view[...] = 0
    return new


def on_place(device: Place | str | None) -> Place:
    """Return the place that a ``device`` argument means; the CPU where nothing is said."""
    if device is None:
        return CPU
    place = parse_place(device) if isinstance(device, str) else device
    if place != CPU:
        raise CopyError(f"device: {place!r} is not a place of this build; it has 'cpu'")
    return place


def store(view: np.ndarray, dtype: np.dtype | None = None) -> Array:
    """Return a new array of the pool with the content of a NumPy view.

    Notes
    -----
    Conversions between types that can round go through the bodies (kernels/standard.h): one
    rounding to nearest even; integers to 16 bits by way of float64; floats to integers cut
    towards 0, held at the ends of the range, NaN becomes 0. What is not 0 becomes True.
    """
    new = empty(view.shape, view.dtype if dtype is None else dtype)
    convert_into(view, new._view)
    return new


def convert_into(view: np.ndarray, out: np.ndarray) -> None:
    """Copy a NumPy view into contiguous memory of the same shape, in that memory's type."""
    from majelpy.array import launch

    exact = (*dtypes.INTEGERS, dtypes.bool)
    if view.dtype == out.dtype:
        out[...] = view
    elif view.dtype in exact and out.dtype in exact:
        out[...] = view.astype(out.dtype)
    elif out.dtype == dtypes.bool:
        wide = np.empty(view.shape, dtypes.float64)
        convert_into(view, wide)
        np.not_equal(wide, 0, out=out)
    else:
        source = view.astype(np.uint8) if view.dtype == dtypes.bool else view
        launch.cast(np.asarray(source, order="C"), out)
