"""Making of arrays, from data and from rules.

Policy. Python floats become float32 (the default floating type), Python integers int64; data that
has a type keeps it. Memory that fits is not copied unless asked. Values of `arange` and `linspace`
are calculated in float64 (start + i * step) and converted.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from majelpy.array import kernels
from majelpy.array.array import Array, empty, on_place, store, zeros
from majelpy.array.checks import Numbers, array_of, converted, number, one_place
from majelpy.array.conversion import astype
from majelpy.array.manipulation import broadcast_to
from majelpy.errors import CopyError, DTypeError, ExchangeError, RangeError, ShapeError
from majelpy.memory import dtypes
from majelpy.memory.place import CPU, Place

Device = Place | str | None
Shape = int | Sequence[int]

CUDA = 2
"""What DLPack calls memory of a GPU (kDLCUDA)."""


def asarray(
    obj: Any, /, dtype: Any = None, *, device: Device = None, copy: bool | None = None
) -> Array:
    """Return ``obj`` as an array, without copying where it is contiguous and of that type.

    Parameters
    ----------
    obj : Array, NumPy array, Python number, nested sequence, buffer, DLPack producer, or array
        with ``__cuda_array_interface__``
    dtype : optional
        Element type of the result.
    device : optional
        Place of the result; where nothing is said that of ``obj`` if it has one, else the CPU.
    copy : bool, optional
        Copy always (True) or never (False).

    Raises
    ------
    DTypeError
        If elements are no numbers.
    CopyError
        If ``copy`` is False and memory would have to be copied.
    """
    kind = None if dtype is None else dtypes.dtype_of("asarray", dtype)
    if isinstance(obj, Array):
        place = obj.place if device is None else on_place(device)
        if (kind is None or kind == obj.dtype) and place == obj.place and not copy:
            return obj
        _may_copy(copy)
        return astype(obj, obj.dtype if kind is None else kind, device=place)
    typed = isinstance(obj, np.ndarray | np.generic) or hasattr(obj, "__array_interface__")
    foreign = not typed and not isinstance(obj, Numbers | Sequence)
    if foreign and (hasattr(obj, "__dlpack__") or hasattr(obj, "__cuda_array_interface__")):
        there = from_dlpack(obj) if hasattr(obj, "__dlpack__") else _from_cuda(obj)
        return asarray(there, kind, device=device, copy=copy)
    if on_place(device) != CPU:
        _may_copy(copy)
        return asarray(obj, kind).to_device(on_place(device))
    host = np.asarray(obj) if typed or _is_buffer(obj) else _from_python(obj, kind)
    host = host.astype(host.dtype.newbyteorder("=")) if not host.dtype.isnative else host
    found = dtypes.dtype_of("asarray", host.dtype)
    if (typed or _is_buffer(obj)) and not copy and (kind is None or kind == found):
        whole = np.asarray(host, order="C")
        if whole is host and host.flags.writeable:
            return Array(host, host)
    _may_copy(copy)
    return store(host, kind)


def _may_copy(copy: bool | None) -> None:
    if copy is False:
        raise CopyError("asarray: this data must be copied, and copy=False forbids it")


def _is_buffer(data: Any) -> bool:
    return isinstance(data, memoryview | bytearray) or type(data).__module__ == "array"


def _from_python(data: Any, kind: np.dtype | None) -> np.ndarray:
    """Numbers and nested sequences, in their default type."""
    plain, leaves = _unwrapped(data)
    pure = leaves <= {bool, int, float}
    try:
        exact = kind in dtypes.INTEGERS and leaves == {int}
        host = np.asarray(plain, dtype=kind if exact else None)
    except ValueError as error:
        raise ShapeError(f"asarray: {error}") from None
    except OverflowError as error:
        raise RangeError(f"asarray: {error}") from None
    if pure and host.dtype in (dtypes.uint64, np.dtype(object)) and not exact:
        raise RangeError("asarray: an integer outside int64; name a type that holds it")
    if pure and kind is None and (host.dtype == dtypes.float64 or host.size == 0):
        return store(host, dtypes.float32).numpy()
    return host


def _unwrapped(data: Any) -> tuple[Any, set[type]]:
    """Nested sequences with arrays as NumPy's, and the types of what is in them."""
    if isinstance(data, Array):
        return data.numpy(), {Array}
    if isinstance(data, np.ndarray | np.generic | Numbers):
        return data, {type(data)}
    if isinstance(data, list | tuple | range):
        parts = [_unwrapped(part) for part in data]
        return [part for part, _ in parts], set().union(*(leaves for _, leaves in parts))
    raise DTypeError(f"asarray: {type(data).__name__} found; needs numbers, sequences or arrays")


def from_dlpack(x: Any, /, *, device: Device = None, copy: bool | None = None) -> Array:
    """Return an array over the memory of a DLPack producer (NumPy, PyTorch, ...).

    Raises
    ------
    CopyError
        If the memory is not contiguous or not writable and ``copy`` is False.
    ExchangeError
        If the object is no DLPack producer or refuses.
    DTypeError
        If the producer has elements of an unsupported type.
    """
    try:
        kind, which = x.__dlpack_device__()
        place = Place("gpu", int(which)) if int(kind) == CUDA else CPU
        found = kernels.mover(place).from_dlpack(x)
    except (BufferError, RuntimeError, TypeError, AttributeError) as error:
        raise ExchangeError(f"from_dlpack: {type(x).__name__}: {error}") from None
    there = _over(found, x, place, "from_dlpack", copy)
    if device is None or on_place(device) == place:
        return there
    if copy is False:
        raise CopyError(f"from_dlpack: memory on {place}; {on_place(device)} needs a copy")
    return there.to_device(device)


def _from_cuda(x: Any) -> Array:
    """An array over the memory of a producer with ``__cuda_array_interface__``."""
    found = kernels.mover(Place("gpu", 0)).asarray(x)
    return _over(found, x, Place("gpu", int(found.device.id)), "asarray", None)


def _over(found: Any, owner: Any, place: Place, operation: str, copy: bool | None) -> Array:
    """An array over what NumPy or CuPy made of another library's memory; a copy if need be."""
    kind = dtypes.dtype_of(operation, found.dtype)
    fits = found.flags.c_contiguous and (place != CPU or found.flags.writeable)
    view = found if place == CPU else found.view(dtypes.moved_as(kind))
    if not fits and copy is False:
        raise CopyError(f"{operation}: memory is not contiguous or not writable; needs a copy")
    if copy or not fits:
        return store(view, of=kind, place=place)
    return Array(view, (found, owner), place, kind)


def full(shape: Shape, fill_value: Numbers, *, dtype: Any = None, device: Device = None) -> Array:
    """Return an array of one value."""
    defaults = {bool: dtypes.bool, int: dtypes.int64, float: dtypes.float32}
    if type(fill_value) not in defaults:
        raise DTypeError(f"full: {fill_value!r} ({type(fill_value).__name__}); needs a number")
    new = empty(shape, defaults[type(fill_value)] if dtype is None else dtype, device)
    wide = dtypes.float64 if new.dtype in dtypes.STORAGE else new.dtype
    value = converted(number("full", fill_value, wide), new.dtype)
    new._view[...] = value.to_device(new.place)._view
    return new


def _one(array: Array) -> Any:
    """1, for assignment to views of that array."""
    return store(np.asarray(1, np.uint8), array.dtype).to_device(array.place)._view


def ones(shape: Shape, *, dtype: Any = None, device: Device = None) -> Array:
    """Return an array of ones."""
    new = empty(shape, dtype, device)
    new._view[...] = _one(new)
    return new


def empty_like(x: Any, /, *, dtype: Any = None, device: Device = None) -> Array:
    """Return an uninitialised array of the shape, type and place of x, where none is named."""
    a = array_of("empty_like", x)
    return empty(a.shape, a.dtype if dtype is None else dtype, device or a.place)


def zeros_like(x: Any, /, *, dtype: Any = None, device: Device = None) -> Array:
    """Return zeros of the shape, type and place of x."""
    a = array_of("zeros_like", x)
    return zeros(a.shape, a.dtype if dtype is None else dtype, device or a.place)


def ones_like(x: Any, /, *, dtype: Any = None, device: Device = None) -> Array:
    """Return ones of the shape, type and place of x."""
    a = array_of("ones_like", x)
    return ones(a.shape, dtype=a.dtype if dtype is None else dtype, device=device or a.place)


def full_like(x: Any, /, fill_value: Numbers, *, dtype: Any = None, device: Device = None) -> Array:
    """Return one value in the shape, type and place of x."""
    a = array_of("full_like", x)
    kind = a.dtype if dtype is None else dtype
    return full(a.shape, fill_value, dtype=kind, device=device or a.place)


def arange(
    start: int | float,
    /,
    stop: int | float | None = None,
    step: int | float = 1,
    *,
    dtype: Any = None,
    device: Device = None,
) -> Array:
    """Return start, start + step, ... before stop; int64 of integers, else float32."""
    place = on_place(device)
    first, last = (0, start) if stop is None else (start, stop)
    if step == 0:
        raise RangeError("arange: step is 0; needs another number")
    whole = isinstance(first, int) and isinstance(last, int) and isinstance(step, int)
    default = dtypes.int64 if whole else dtypes.float32
    kind = default if dtype is None else dtypes.dtype_of("arange", dtype)
    count = max(0, _ceil_div(last - first, step) if whole else math.ceil((last - first) / step))
    if whole and kind in dtypes.INTEGERS:
        for end in (first, first + (count - 1) * step) if count else ():
            dtypes.check_number("arange", end, kind)
        wrapped = np.uint64(first % (1 << 64)), np.uint64(step % (1 << 64))
        with np.errstate(over="ignore"):
            counted = kernels.mover(place).arange(count, dtype=np.uint64)
            return store(counted * wrapped[1] + wrapped[0], kind, place=place)
    return _line(first, step, count, kind, place)


def _ceil_div(a: Any, b: Any) -> int:
    return int(-(-a // b))


def linspace(
    start: int | float,
    stop: int | float,
    /,
    num: int,
    *,
    dtype: Any = None,
    device: Device = None,
    endpoint: bool = True,
) -> Array:
    """Return ``num`` evenly spaced numbers from start to stop, float32 if not said otherwise."""
    place = on_place(device)
    if num < 0:
        raise ShapeError(f"linspace: num is {num}; needs 0 or more")
    kind = dtypes.float32 if dtype is None else dtypes.dtype_of("linspace", dtype)
    parts = num - 1 if endpoint else num
    new = _line(start, (stop - start) / parts if parts > 0 else 0.0, num, kind, place)
    if endpoint and num > 1:
        last = number("linspace", float(stop), dtypes.float64)
        new._view[-1:] = converted(last, kind).to_device(place)._view
    return new


def _line(start: float, step: float, count: int, kind: np.dtype, place: Place) -> Array:
    """start + i * step for i below count: one product, one sum, one conversion, each rounded."""
    counted = kernels.mover(place).arange(count, dtype=np.uint64)
    values = store(counted, dtypes.float64, place=place)
    for name, operand in (("multiply", step), ("add", start)):
        kernels.binary(name, values, number(name, float(operand), dtypes.float64, place), values)
    return converted(values, kind)


def eye(
    n_rows: int,
    n_cols: int | None = None,
    /,
    *,
    k: int = 0,
    dtype: Any = None,
    device: Device = None,
) -> Array:
    """Return a matrix with ones on the k-th diagonal."""
    new = zeros((n_rows, n_rows if n_cols is None else n_cols), dtype, device)
    rows, columns = new.shape
    count = max(0, min(rows, columns - k) - max(0, -k))
    first = k if k >= 0 else -k * columns
    new._view.reshape(-1)[first : first + count * (columns + 1) : columns + 1] = _one(new)
    return new


def tril(x: Any, /, *, k: int = 0) -> Array:
    """Return the matrices with 0 above the k-th diagonal."""
    return _triangle("tril", x, k)


def triu(x: Any, /, *, k: int = 0) -> Array:
    """Return the matrices with 0 below the k-th diagonal."""
    return _triangle("triu", x, k)


def _triangle(name: str, x: Any, k: int) -> Array:
    a = array_of(name, x)
    if a.ndim < 2:
        raise ShapeError(f"{name}: shape {a.shape}; needs 2 axes or more")
    on = kernels.mover(a.place)
    apart = on.arange(a.shape[-1]) - on.arange(a.shape[-2])[:, None]
    new = zeros(a.shape, a.dtype, a.place)
    kept = on.broadcast_to(apart <= k if name == "tril" else apart >= k, a.shape)
    on.copyto(new._view, a._view, where=kept)
    return new


def meshgrid(*arrays: Any, indexing: str = "xy") -> tuple[Array, ...]:
    """Return coordinate matrices of vectors; 'ij' keeps their order of axes, 'xy' swaps two."""
    vectors = [array_of("meshgrid", a) for a in arrays]
    if indexing not in ("xy", "ij"):
        raise ShapeError(f"meshgrid: indexing {indexing!r}; needs 'xy' or 'ij'")
    if len({v.dtype for v in vectors}) > 1:
        raise DTypeError(f"meshgrid: types {', '.join(str(v.dtype) for v in vectors)} differ")
    if vectors:
        one_place("meshgrid", *vectors)
    order = list(range(len(vectors)))
    if indexing == "xy":
        order[:2] = order[:2][::-1]
    sizes = tuple(vectors[i].size for i in order)
    return tuple(
        broadcast_to(v.reshape(*(v.size if j == i else 1 for j in order)), sizes)
        for i, v in enumerate(vectors)
    )
