"""Searching, sorting and sets.

Policy. Sorting is always stable and puts NaN last (first when descending); each NaN is a value of
its own. Indices are int64. NumPy sorts and searches; on a GPU CuPy does, and never sees a float:
it gets integers in whose order floats are sorted (`_keys`).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from majelpy.array import kernels
from majelpy.array.array import Array, empty, store
from majelpy.array.checks import axis_of, broadcast, one_place
from majelpy.array.operands import converted, of_kind, operands
from majelpy.errors import DTypeError, ShapeError
from majelpy.memory import dtypes
from majelpy.memory.place import CPU
from majelpy.standard.elementary import NUMERIC
from majelpy.standard.indexing import take
from majelpy.standard.logic import logical_not
from majelpy.standard.manipulation import squeeze

PLAIN = (dtypes.bool, *NUMERIC)


def argmax(x: Any, /, *, axis: int | None = None, keepdims: bool = False) -> Array:
    """Return the index of the first largest element (or NaN), of the flattened array for None."""
    return _extreme("argmax", x, axis, keepdims)


def argmin(x: Any, /, *, axis: int | None = None, keepdims: bool = False) -> Array:
    """Return the index of the first smallest element (or NaN), of the flattened array for None."""
    return _extreme("argmin", x, axis, keepdims)


def _extreme(name: str, x: Any, axis: int | None, keepdims: bool) -> Array:
    a = of_kind(name, x, NUMERIC)
    at = None if axis is None else axis_of(name, axis, a.ndim)
    if (a.size if at is None else a.shape[at]) == 0:
        raise ShapeError(f"{name}: shape {a.shape} has nothing along axis {axis}; needs an element")
    line = a.reshape(a.size) if at is None else a
    view = _keys(line)
    if name == "argmin" and _keyed(a):
        view = view + 1  # the key of NaN, the largest, becomes the smallest
    axes = tuple(range(a.ndim)) if at is None else (at,)
    sizes = (1 if i in axes else size for i, size in enumerate(a.shape))
    out = empty(tuple(sizes), dtypes.int64, a.place)
    kept = out if keepdims else squeeze(out, axes)
    if out.size:  # CuPy does not reduce to nothing
        found = getattr(kernels.mover(a.place), name)(view, axis=at or 0)
        out._view[...] = found.reshape(out.shape)
    return kept


def _keyed(x: Array) -> bool:
    """Say whether keys stand for x: CuPy must not see a float."""
    return x.place != CPU and x.dtype in dtypes.FLOATS


def _keys(x: Array) -> Any:
    """Return what NumPy or CuPy sorts and compares in place of x."""
    if not _keyed(x):
        return x._view
    out = empty(x.shape, dtypes.word_of(x.dtype), x.place)
    kernels.order_key(x, out)
    return out._view


def _is_nan(x: Array, key: Any) -> Any:
    """Say which of x's keys are those of NaN: the largest."""
    word = dtypes.word_of(x.dtype)
    return key == word.type(np.iinfo(word).max)


def nonzero(x: Any, /) -> tuple[Array, ...]:
    """Return the indices of the elements other than 0, one array for each axis."""
    a = of_kind("nonzero", x, PLAIN)
    if a.ndim == 0:
        raise ShapeError("nonzero: an array without axes has no indices")
    held = converted(a, dtypes.bool)
    found = kernels.mover(a.place).nonzero(held._view)
    return tuple(store(part, place=a.place) for part in found)


def where(condition: Any, x1: Any, x2: Any, /) -> Array:
    """Return the elements of x1 where the condition holds, else those of x2."""
    choice = of_kind("where", condition, (dtypes.bool,))
    a, b = operands("where", None, x1, x2)
    one_place("where", choice, a)
    shape = broadcast("where", choice.shape, a.shape, b.shape)
    out = empty(shape, a.dtype, a.place)
    out._view[...] = b._view
    on = kernels.mover(a.place)
    on.copyto(out._view, a._view, where=on.broadcast_to(choice._view, shape))
    return out


def searchsorted(x1: Any, x2: Any, /, *, side: str = "left", sorter: Any = None) -> Array:
    """Return where the elements of x2 belong in the sorted x1, before or behind equal ones."""
    a, b = operands("searchsorted", NUMERIC, x1, x2)
    if side not in ("left", "right"):
        raise ShapeError(f"searchsorted: side {side!r}; needs 'left' or 'right'")
    if a.ndim != 1:
        raise ShapeError(f"searchsorted: x1 has shape {a.shape}; needs one axis")
    if sorter is not None:
        a = take(a, sorter)
    on = kernels.mover(a.place)
    return store(on.asarray(on.searchsorted(_keys(a), _keys(b), side)), place=a.place)


def sort(x: Any, /, *, axis: int = -1, descending: bool = False, stable: bool = True) -> Array:
    """Return the elements sorted along an axis."""
    a = of_kind("sort", x, PLAIN)
    at = axis_of("sort", axis, a.ndim)
    on = kernels.mover(a.place)
    if _keyed(a):
        found = on.take_along_axis(a._view, on.argsort(_keys(a), axis=at, kind="stable"), axis=at)
    else:
        found = on.sort(a._view, axis=at, kind="stable")
    return a._moved(on.flip(found, at) if descending else found)


def argsort(x: Any, /, *, axis: int = -1, descending: bool = False, stable: bool = True) -> Array:
    """Return the indices that sort along an axis; equal elements keep their order."""
    a = of_kind("argsort", x, PLAIN)
    at = axis_of("argsort", axis, a.ndim)
    on, view = kernels.mover(a.place), _keys(a)
    if not descending:
        return store(on.argsort(view, axis=at, kind="stable"), place=a.place)
    found = on.argsort(on.flip(view, at), axis=at, kind="stable")
    return store(on.flip(a.shape[at] - 1 - found, at), place=a.place)


class Unique(NamedTuple):
    """Values, index of each value's first place, inverse and counts; see `unique_all`."""

    values: Array
    indices: Array
    inverse_indices: Array
    counts: Array


class UniqueCounts(NamedTuple):
    """Values and how often each occurs."""

    values: Array
    counts: Array


class UniqueInverse(NamedTuple):
    """Values and, for each element of the array, the index of its value."""

    values: Array
    inverse_indices: Array


def unique_all(x: Any, /) -> Unique:
    """Return the distinct values in ascending order with indices, inverse and counts."""
    a = of_kind("unique_all", x, PLAIN)
    on, n = kernels.mover(a.place), a.size
    flat = _keys(a).reshape(-1)
    order = on.argsort(flat, kind="stable")
    ordered = flat[order]
    new = on.ones(n, dtypes.bool)
    new[1:] = ordered[1:] != ordered[:-1]
    if _keyed(a):
        new |= _is_nan(a, ordered)
    starts = on.flatnonzero(new)
    inverse = on.empty(n, dtypes.int64)
    inverse[order] = on.cumsum(new, dtype=dtypes.int64) - 1
    counts = on.empty(len(starts), dtypes.int64)
    counts[:-1] = starts[1:] - starts[:-1]
    counts[-1:] = n - starts[-1:]
    indices = order[starts]
    values = a._moved(a._view.reshape(-1)[indices])
    rest = indices, inverse.reshape(a.shape), counts
    return Unique(values, *(store(part, place=a.place) for part in rest))


def unique_counts(x: Any, /) -> UniqueCounts:
    """Return the distinct values in ascending order and how often each occurs."""
    found = unique_all(x)
    return UniqueCounts(found.values, found.counts)


def unique_inverse(x: Any, /) -> UniqueInverse:
    """Return the distinct values in ascending order and the index of each element's value."""
    found = unique_all(x)
    return UniqueInverse(found.values, found.inverse_indices)


def unique_values(x: Any, /) -> Array:
    """Return the distinct values in ascending order."""
    return unique_all(x).values


def isin(x1: Any, x2: Any, /, *, invert: bool = False) -> Array:
    """Return whether each element of x1 occurs in x2, or whether it does not."""
    if type(x1) in (bool, int, float) and type(x2) in (bool, int, float):
        raise DTypeError("isin: only Python numbers found; needs an array")
    a, b = operands("isin", PLAIN, x1, x2)
    out = empty(a.shape, dtypes.bool, a.place)
    key = _keys(a)
    out._view[...] = kernels.mover(a.place).isin(key, _keys(b))
    if _keyed(a):
        out._view[...] &= ~_is_nan(a, key)  # NaN equals nothing
    return logical_not(out) if invert else out
