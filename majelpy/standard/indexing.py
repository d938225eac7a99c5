"""Elements taken by arrays of integers.

Policy. As in majelpy.array.indexing, which has what brackets do.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from majelpy.array import kernels
from majelpy.array.array import Array, array_of
from majelpy.array.checks import axis_of, numpy_errors, one_place
from majelpy.array.indexing import needs_range
from majelpy.errors import DTypeError, ShapeError
from majelpy.memory import dtypes
from majelpy.memory.place import CPU


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
    view = _indices("take", a, at, where)
    with numpy_errors("take", a, at):
        return a._moved(kernels.mover(a.place).take(a._view, view, axis=where))


def take_along_axis(x: Any, indices: Any, /, *, axis: int = -1) -> Array:
    """Return, for each line along the axis, its elements at that line's indices."""
    a, at = array_of("take_along_axis", x), array_of("take_along_axis", indices)
    where = axis_of("take_along_axis", axis, a.ndim)
    if at.ndim != a.ndim:
        raise ShapeError(f"take_along_axis: shapes {a.shape} and {at.shape} differ in their axes")
    view = _indices("take_along_axis", a, at, where)
    with numpy_errors("take_along_axis", a, at):
        return a._moved(kernels.mover(a.place).take_along_axis(a._view, view, axis=where))


def _indices(operation: str, x: Array, indices: Array, axis: int) -> Any:
    """Indices along an axis of x as NumPy or CuPy takes them."""
    if indices.dtype not in dtypes.INTEGERS:
        name = dtypes.name_of(indices.dtype)
        raise DTypeError(f"{operation}: indices of {name}; needs integers")
    one_place(operation, x, indices)
    if x.place != CPU:
        needs_range(operation, indices._view, x.shape[axis])
    return indices._view.astype(np.int64)
