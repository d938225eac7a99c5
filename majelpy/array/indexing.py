"""Reading and writing of elements: integers, slices, None, Ellipsis, arrays of integers, masks.

Policy. An index moves bytes, so NumPy does it. A mask stands alone or last in its key, as NumPy
allows; integer arrays may be mixed with the rest.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from majelpy.array import dtypes
from majelpy.array.array import Array, store
from majelpy.array.checks import array_of, axis_of, number, numpy_errors
from majelpy.errors import DTypeError, ShapeError


def _plain(part: Any) -> Any:
    """A part of a key as NumPy takes it."""
    if isinstance(part, Array | np.ndarray | np.generic):
        host = array_of("index", part)._view
        if host.dtype not in (*dtypes.INTEGERS, dtypes.bool):
            raise DTypeError(
                f"index: array of {dtypes.name_of(host.dtype)}; needs integers or bool"
            )
        return host if host.ndim or host.dtype == dtypes.bool else int(host)
    if isinstance(part, slice):
        return slice(
            *(None if v is None else _integer(v) for v in (part.start, part.stop, part.step))
        )
    if isinstance(part, list):
        raise DTypeError("index: list found; needs an array (asarray makes one)")
    return part if part is None or part is Ellipsis or isinstance(part, bool) else _integer(part)


def _integer(value: Any) -> int:
    try:
        return int(value.__index__())
    except AttributeError:
        raise DTypeError(f"index: {value!r} ({type(value).__name__}); needs an integer") from None


def _key(key: Any) -> tuple[tuple[Any, ...], bool]:
    """The key for NumPy, and whether it selects without arrays."""
    parts = tuple(_plain(part) for part in (key if isinstance(key, tuple) else (key,)))
    return parts, not any(isinstance(part, np.ndarray | bool) for part in parts)


def get(x: Array, key: Any) -> Array:
    """Return the elements that ``key`` selects: a view where they are contiguous and unmasked.

    Raises
    ------
    RangeError
        If an index is out of range or if there are more of them than axes.
    DTypeError
        If a part of the key is none of the above.
    """
    parts, basic = _key(key)
    if basic and Ellipsis not in parts:
        parts = (*parts, Ellipsis)  # so that NumPy gives a view even of a single element
    with numpy_errors("index", x):
        found = x._view[parts]
    if basic and found.flags.c_contiguous:
        return x._part(found)
    return x._moved(found)


def put(x: Array, key: Any, value: Any) -> None:
    """Let the elements that ``key`` selects become ``value``, broadcast and in the array's type.

    Raises
    ------
    DTypeError
        If the value's type does not promote to the array's.
    """
    parts, _ = _key(key)
    if type(value) in (bool, int, float):
        source = number("setitem", value, x.dtype)._view
    else:
        array = array_of("setitem", value)
        if array.dtype != x.dtype and not dtypes.can_cast(array.dtype, x.dtype):
            names = dtypes.name_of(array.dtype), dtypes.name_of(x.dtype)
            raise DTypeError(f"setitem: {names[0]} into {names[1]}; convert it with astype")
        source = store(array._view, x.dtype)._view
    with numpy_errors("setitem", x):
        x._view[parts] = source


def take(x: Any, indices: Any, /, *, axis: int | None = None) -> Array:
    """Return the elements of ``x`` at integer ``indices`` along an axis.

    Raises
    ------
    RangeError
        If an index is out of range.
    """
    a, at = array_of("take", x), array_of("take", indices)
    if axis is None and a.ndim != 1:
        raise ShapeError(f"take: shape {a.shape}; needs an axis unless there is exactly one")
    where = axis_of("take", 0 if axis is None else axis, a.ndim)
    _needs_integers("take", at)
    with numpy_errors("take", a, at):
        return store(np.take(a._view, at._view, axis=where))


def take_along_axis(x: Any, indices: Any, /, *, axis: int = -1) -> Array:
    """Return, for each line along the axis, its elements at that line's indices."""
    a, at = array_of("take_along_axis", x), array_of("take_along_axis", indices)
    where = axis_of("take_along_axis", axis, a.ndim)
    _needs_integers("take_along_axis", at)
    if at.ndim != a.ndim:
        raise ShapeError(f"take_along_axis: shapes {a.shape} and {at.shape} differ in their axes")
    with numpy_errors("take_along_axis", a, at):
        return store(np.take_along_axis(a._view, at._view.astype(np.int64), axis=where))


def _needs_integers(operation: str, indices: Array) -> None:
    if indices.dtype not in dtypes.INTEGERS:
        name = dtypes.name_of(indices.dtype)
        raise DTypeError(f"{operation}: indices of {name}; needs integers")
