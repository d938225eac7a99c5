"""Arrays of what others made: Python's numbers and sequences, buffers, DLPack, CUDA's interface.

Policy. Python floats become float32 (the default floating type), Python integers int64; data that
has a type keeps it. Memory that fits is not copied unless asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from majelpy.array import dlpack, kernels
from majelpy.array.array import Array, Numbers, on_place, store
from majelpy.errors import CopyError, DTypeError, ExchangeError, RangeError, ShapeError
from majelpy.memory import dtypes
from majelpy.memory.place import CPU, Place

Device = Place | str | None

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
        there = obj.to_device(place)
        if there is not obj and (kind is None or kind == there.dtype):
            return there
        return there._moved(there._view, kind)
    typed = isinstance(obj, np.ndarray | np.generic) or hasattr(obj, "__array_interface__")
    foreign = not typed and not isinstance(obj, Numbers | Sequence)
    if foreign and (hasattr(obj, "__dlpack__") or hasattr(obj, "__cuda_array_interface__")):
        taken = from_dlpack(obj) if hasattr(obj, "__dlpack__") else _from_cuda(obj)
        return asarray(taken, kind, device=device, copy=copy)
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
    words = dlpack.Words(x)
    try:
        kind, which = words.__dlpack_device__()
        place = Place("gpu", which) if kind == CUDA else CPU
        found = kernels.mover(place).from_dlpack(words)
    except (BufferError, RuntimeError, TypeError, AttributeError) as error:
        raise ExchangeError(f"from_dlpack: {type(x).__name__}: {error}") from None
    there = _over(found, x, place, "from_dlpack", copy, dtypes.bfloat16 if words.found else None)
    if device is None or on_place(device) == place:
        return there
    if copy is False:
        raise CopyError(f"from_dlpack: memory on {place}; {on_place(device)} needs a copy")
    return there.to_device(device)


def _from_cuda(x: Any) -> Array:
    """An array over the memory of a producer with ``__cuda_array_interface__``."""
    found = kernels.mover(Place("gpu", 0)).asarray(x)
    return _over(found, x, Place("gpu", int(found.device.id)), "asarray", None)


def _over(
    found: Any,
    owner: Any,
    place: Place,
    operation: str,
    copy: bool | None,
    of: np.dtype | None = None,
) -> Array:
    """An array over what NumPy or CuPy made of another library's memory; a copy if need be.

    The elements are of type ``of``, where that is not what NumPy or CuPy says.
    """
    kind = dtypes.dtype_of(operation, found.dtype) if of is None else of
    fits = found.flags.c_contiguous and (place != CPU or found.flags.writeable)
    if not fits and copy is False:
        raise CopyError(f"{operation}: memory is not contiguous or not writable; needs a copy")
    view = found.view(kind if place == CPU else dtypes.moved_as(kind))
    if copy or not fits:
        return store(view, of=kind, place=place)
    return Array(view, (found, owner), place, kind)
