"""Making of arrays from rules; of data that exist already, see majelpy.array.foreign.

Policy. Float32 is the default floating type, int64 the default integer. Values of `arange` and
`linspace` are calculated in float64 (start + i * step) and converted.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from majelpy.array import kernels
from majelpy.array.array import Array, Numbers, array_of, empty, number, on_place, store, zeros
from majelpy.array.checks import one_place
from majelpy.array.operands import converted
from majelpy.errors import DTypeError, RangeError, ShapeError
from majelpy.memory import dtypes
from majelpy.memory.place import Place
from majelpy.standard.manipulation import broadcast_to

Device = Place | str | None
Shape = int | Sequence[int]


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
