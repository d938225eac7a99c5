"""Searching, sorting and sets: comparisons only, so NumPy does them.

Policy. Sorting is always stable and puts NaN last (first when descending); each NaN is a value of
its own. Indices are int64.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from majelpy.array import dtypes
from majelpy.array.array import Array, empty, store
from majelpy.array.checks import array_of, axis_of, broadcast, numpy_errors, of_kind, operands
from majelpy.array.elementary import NUMERIC
from majelpy.errors import DTypeError, ShapeError

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
    return store(np.asarray(getattr(np, name)(a._view, axis=at, keepdims=keepdims)))


def nonzero(x: Any, /) -> tuple[Array, ...]:
    """Return the indices of the elements other than 0, one array for each axis."""
    a = of_kind("nonzero", x, PLAIN)
    if a.ndim == 0:
        raise ShapeError("nonzero: an array without axes has no indices")
    return tuple(store(found) for found in np.nonzero(a._view))


def where(condition: Any, x1: Any, x2: Any, /) -> Array:
    """Return the elements of x1 where the condition holds, else those of x2."""
    choice = of_kind("where", condition, (dtypes.bool,))
    a, b = operands("where", None, x1, x2)
    shape = broadcast("where", choice.shape, a.shape, b.shape)
    out = empty(shape, a.dtype)
    out._view[...] = b._view
    np.copyto(out._view, a._view, where=choice._view)
    return out


def searchsorted(x1: Any, x2: Any, /, *, side: str = "left", sorter: Any = None) -> Array:
    """Return where the elements of x2 belong in the sorted x1, before or behind equal ones."""
    a, b = operands("searchsorted", NUMERIC, x1, x2)
    if side not in ("left", "right"):
        raise ShapeError(f"searchsorted: side {side!r}; needs 'left' or 'right'")
    if a.ndim != 1:
        raise ShapeError(f"searchsorted: x1 has shape {a.shape}; needs one axis")
    order = None if sorter is None else array_of("searchsorted", sorter)._view
    with numpy_errors("searchsorted", a, b):
        return store(np.asarray(np.searchsorted(a._view, b._view, side, order)))  # type: ignore[call-overload]


def sort(x: Any, /, *, axis: int = -1, descending: bool = False, stable: bool = True) -> Array:
    """Return the elements sorted along an axis."""
    a = of_kind("sort", x, PLAIN)
    at = axis_of("sort", axis, a.ndim)
    found = np.sort(a._view, axis=at, kind="stable")
    return store(np.flip(found, at) if descending else found)


def argsort(x: Any, /, *, axis: int = -1, descending: bool = False, stable: bool = True) -> Array:
    """Return the indices that sort along an axis; equal elements keep their order."""
    a = of_kind("argsort", x, PLAIN)
    at = axis_of("argsort", axis, a.ndim)
    if not descending:
        return store(np.argsort(a._view, axis=at, kind="stable"))
    found = np.argsort(np.flip(a._view, at), axis=at, kind="stable")
    return store(np.flip(a.shape[at] - 1 - found, at))


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
    flat = a._view.reshape(-1)
    order = np.argsort(flat, kind="stable")
    ordered = flat[order]
    new = np.ones(len(flat), dtypes.bool)
    new[1:] = ordered[1:] != ordered[:-1]
    starts = np.flatnonzero(new)
    inverse = np.empty(len(flat), np.int64)
    inverse[order] = np.cumsum(new) - 1
    counts = np.diff(np.append(starts, len(flat)))
    found = ordered[starts], order[starts], inverse.reshape(a.shape), counts
    return Unique(*(store(part) for part in found))


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
    return store(np.asarray(np.isin(a._view, b._view, invert=invert)))
