"""`Array`: shape and type over an allocation on a place.

Policy. Always contiguous, row-major. An array describes data; it owns neither an allocation
policy nor a library handle, and it does not calculate: operators call the functions of the
Python Array API standard (majelpy.array.operators). An index that selects contiguous memory
gives a view that keeps the memory alive; any other gives a copy.
`_view` is what moves the elements: a NumPy array on the CPU. On a GPU it is a CuPy array, of
unsigned integers where the elements are floats (`dtypes.moved_as`), because CuPy's kernels
flush denormals: CuPy moves floats and never sees one.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from majelpy import native
from majelpy.array import indexing, kernels
from majelpy.array.checks import one_place
from majelpy.array.operators import Operators
from majelpy.array.protocols import Protocols
from majelpy.array.single import Single
from majelpy.errors import DTypeError, RangeError, ShapeError
from majelpy.memory import dtypes
from majelpy.memory.place import CPU, Place, parse_place
from majelpy.memory.pool import pool

Numbers = bool | int | float


class Array(Operators, Protocols, Single):
    """n-dimensional contiguous array; make one with `empty`, `zeros` or `asarray`.

    Attributes
    ----------
    shape : tuple of int
    dtype : numpy.dtype
    place : Place
    """

    __slots__ = ("_owner", "_view", "dtype", "place")
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, view: Any, owner: Any, place: Place = CPU, dtype: np.dtype | None = None):
        self._view = view
        self._owner = owner
        self.place = place
        self.dtype: np.dtype = view.dtype if dtype is None else dtype

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self._view.shape)

    @property
    def device(self) -> Place:
        """The place, by the standard's name."""
        return self.place

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return int(self._view.ndim)

    @property
    def size(self) -> int:
        """Number of elements."""
        return int(self._view.size)

    @property
    def T(self) -> Array:
        """Transposed copy of a matrix."""
        if self.ndim != 2:
            raise ShapeError(f"T: shape {self.shape}; needs 2 axes (permute_dims takes any)")
        return self._moved(self._view.T)

    @property
    def mT(self) -> Array:
        """Copy with the last two axes exchanged."""
        if self.ndim < 2:
            raise ShapeError(f"mT: shape {self.shape}; needs 2 axes or more")
        return self._moved(self._view.swapaxes(-1, -2))

    @property
    def pointer(self) -> int:
        """Address of the first element, on its place."""
        if self.place != CPU:
            return int(self._view.data.ptr)
        return native.address_of(self._view)

    def to_device(self, device: Place | str, /, *, stream: Any = None) -> Array:
        """Return the array on that place: itself if it is there."""
        place = on_place(device)
        if place == self.place:
            return self
        if place != CPU and self.place != CPU:
            return self.to_device(CPU).to_device(place)
        new = empty(self.shape, self.dtype, place)
        if place == CPU:
            kernels.device(self.place).download(self.pointer, new._view)
        else:
            kernels.device(place).copy_in(self._view, new.pointer)
        return new

    def __len__(self) -> int:
        if not self.shape:
            raise DTypeError("len: an array without axes has no length")
        return self.shape[0]

    def __iter__(self) -> Iterator[Array]:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, key: Any, /) -> Array:
        """Elements by integers, slices, None, Ellipsis, integer arrays or a boolean mask.

        A view where they are contiguous and no array selects them; else a copy.
        """
        found, beside = indexing.select(self, key)
        return self._part(found) if beside and found.flags.c_contiguous else self._moved(found)

    def __setitem__(self, key: Any, value: Any, /) -> None:
        """Let the elements that ``key`` selects become ``value``, broadcast and in this type.

        Raises
        ------
        DTypeError
            If the value's type does not promote to this one.
        """
        if type(value) in (bool, int, float):
            source = number("setitem", value, self.dtype, self.place)._view
        else:
            array = array_of("setitem", value)
            one_place("setitem", self, array)
            if array.dtype != self.dtype and not dtypes.can_cast(array.dtype, self.dtype):
                names = dtypes.name_of(array.dtype), dtypes.name_of(self.dtype)
                raise DTypeError(f"setitem: {names[0]} into {names[1]}; convert it with astype")
            source = array._moved(array._view, self.dtype)._view
        indexing.put(self, key, source)

    def reshape(self, *shape: int | Sequence[int]) -> Array:
        """View with another shape, given as sizes or as one sequence; -1 is what is left."""
        given: Sequence[Any] = shape
        if len(shape) == 1 and isinstance(shape[0], Sequence):
            given = shape[0]
        try:
            sizes = tuple(operator.index(size) for size in given)
        except TypeError:
            raise DTypeError(f"reshape: sizes {tuple(given)}; needs integers") from None
        known = math.prod(size for size in sizes if size != -1)
        if sizes.count(-1) == 1 and known > 0:
            sizes = tuple(self.size // known if size == -1 else size for size in sizes)
        if math.prod(sizes) != self.size or min(sizes, default=0) < 0:
            raise ShapeError(
                f"reshape: {self.shape} has {self.size} elements; shape {tuple(given)} does not fit"
            )
        return self._part(self._view.reshape(sizes))

    def numpy(self) -> np.ndarray:
        """View as a NumPy array, without copying; valid as long as somebody holds it.

        Raises
        ------
        CopyError
            If the array does not lie on the CPU.
        """
        return np.asarray(self)

    def copy(self) -> Array:
        """New array with the same content."""
        return self._moved(self._view)

    def _part(self, view: Any) -> Array:
        """Array over a contiguous view of this memory."""
        return Array(view, self._owner, self.place, self.dtype)

    def _moved(self, view: Any, dtype: np.dtype | None = None) -> Array:
        """New array with the content of a view of such elements, in another type if asked."""
        return store(view, dtype, of=self.dtype, place=self.place)

    def __reduce__(self) -> tuple[Any, ...]:
        # What is made of the bytes again lies on the CPU.
        here = self.to_device(CPU)
        return of_bytes, (here._view.tobytes(), dtypes.name_of(self.dtype), self.shape)

    def __copy__(self) -> Array:
        return self.copy()

    def __deepcopy__(self, memo: Any) -> Array:
        return self.copy()

    def __repr__(self) -> str:
        here = self.to_device(CPU)
        shown = here if self.dtype != dtypes.bfloat16 else store(here._view, dtypes.float32)
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
    sizes = (int(shape),) if hasattr(shape, "__index__") else tuple(map(int, shape))
    if min(sizes, default=0) < 0:
        raise ShapeError(f"empty: shape {sizes}; sizes must not be negative")
    kind = dtypes.float32 if dtype is None else dtypes.dtype_of("empty", dtype)
    place = on_place(device)
    count = math.prod(sizes)
    nbytes = (count or math.prod(size for size in sizes if size)) * kind.itemsize
    if nbytes >= 1 << 63 or len(sizes) > 64:
        raise ShapeError(f"empty: shape {sizes} of {kind} has {nbytes} bytes; needs below 2^63")
    allocation = pool(place).allocate(count * kind.itemsize)
    if place == CPU:
        return Array(np.ndarray(sizes, kind, allocation.bytes), allocation)
    view = kernels.device(place).view(allocation, sizes, dtypes.moved_as(kind))
    return Array(view, allocation, place, kind)


def zeros(
    shape: int | Sequence[int], dtype: DTypeLike | None = None, device: Place | str | None = None
) -> Array:
    """Return an array of zeros; raises as `empty` does."""
    new = empty(shape, dtype, device)
    new._view[...] = 0
    return new


def of_bytes(content: bytes, dtype: str, shape: tuple[int, ...]) -> Array:
    """Return a new array with these bytes, on the CPU."""
    new = empty(shape, dtype)
    new._view[...] = np.frombuffer(content, new.dtype).reshape(shape)
    return new


def on_place(device: Place | str | None) -> Place:
    """Return the place that a ``device`` argument means; the CPU where nothing is said."""
    if device is None:
        return CPU
    return parse_place(device) if isinstance(device, str) else device


def store(
    view: Any, dtype: np.dtype | None = None, *, of: np.dtype | None = None, place: Place = CPU
) -> Array:
    """Return a new array of the pool with the content of a view.

    Parameters
    ----------
    view : of any strides, on that place
    dtype : optional
        Of the new array; that of the elements if None.
    of : optional
        Of the view's elements; None where the view has them as they are.

    Notes
    -----
    Conversions between types that can round go through the bodies (kernels/standard.h): one
    rounding to nearest even; integers to 16 bits by way of float64; floats to integers cut
    towards 0, held at the ends of the range, NaN becomes 0. What is not 0 becomes True.
    """
    source = view.dtype if of is None else of
    new = empty(view.shape, source if dtype is None else dtype, place)
    convert_into(view, new, of=source)
    return new


def convert_into(view: Any, out: Array, *, of: np.dtype | None = None) -> None:
    """Copy a view into an array of the same shape and place, in that array's type."""
    source = view.dtype if of is None else of
    exact = (*dtypes.INTEGERS, dtypes.bool)
    if source == out.dtype:
        out._view[...] = view
    elif source in exact and out.dtype in exact:
        out._view[...] = view.astype(out.dtype)
    elif out.dtype == dtypes.bool:
        word = dtypes.word_of(source)
        out._view[...] = (view.view(word) << word.type(1)) != 0  # all but the sign
    else:
        plain = view.astype(np.uint8) if source == dtypes.bool else view
        kind = plain.dtype if source == dtypes.bool else source
        whole = kernels.mover(out.place).ascontiguousarray(plain).reshape(view.shape)
        kernels.cast(Array(whole, whole, out.place, kind), out)


def array_of(operation: str, x: Any) -> Array:
    """Return ``x`` as an array, without copying; Python numbers are refused."""
    if isinstance(x, Array):
        return x
    if isinstance(x, np.ndarray | np.generic):
        host = np.asarray(x, order="C")
        dtypes.dtype_of(operation, host.dtype)
        return Array(host, host)
    raise DTypeError(f"{operation}: {type(x).__name__} found; needs an array")


def number(operation: str, value: Numbers, dtype: np.dtype, place: Place = CPU) -> Array:
    """Return a Python number as an array without axes."""
    dtypes.check_number(operation, value, dtype)
    new = empty((), dtype)
    if dtype in dtypes.FLOATS:
        try:
            wide = np.asarray(float(value))
        except OverflowError:
            raise RangeError(f"{operation}: {value} is too large for {dtype}") from None
        convert_into(wide, new)
    else:
        new._view[...] = value
    return new.to_device(place)
