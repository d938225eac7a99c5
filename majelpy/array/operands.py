"""Arrays of what an operation is given.

Policy. An operand of a function of the standard may be an array, a NumPy array or, beside one of
these, a Python number; nothing is copied but to another type. Those of `majelpy.ops` are float32 of
a number of axes, and may be what `asarray` takes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from majelpy.array.array import Array, array_of, number
from majelpy.array.checks import needs_kind, one_place
from majelpy.array.foreign import asarray
from majelpy.array.kernels import library
from majelpy.errors import DTypeError, ShapeError
from majelpy.memory import dtypes
from majelpy.memory.place import Place


def of_kind(operation: str, x: Any, kinds: Sequence[np.dtype]) -> Array:
    """Return ``x`` as an array whose type is one of ``kinds``."""
    array = array_of(operation, x)
    needs_kind(operation, array.dtype, kinds)
    return array


def converted(x: Array, dtype: np.dtype) -> Array:
    """Return ``x`` in that type, itself if it has it."""
    return x if x.dtype == dtype else x._moved(x._view, dtype)


def operands(operation: str, kinds: Sequence[np.dtype] | None, x1: Any, x2: Any) -> list[Array]:
    """Return both as arrays of their common type, which must be one of ``kinds``."""
    both = type(x1) is type(x2) is Array
    if both and x1.dtype == x2.dtype and x1.place == x2.place:
        needs_kind(operation, x1.dtype, kinds or (x1.dtype,))
        return [x1, x2]
    values = x1, x2
    arrays = [None if type(v) in (bool, int, float) else array_of(operation, v) for v in values]
    found = [a.dtype for a in arrays if a is not None]
    if not found:
        raise DTypeError(f"{operation}: only Python numbers found; needs an array")
    joint = dtypes.promote(operation, *found)
    if kinds is not None:
        needs_kind(operation, joint, kinds)
    place = one_place(operation, *(a for a in arrays if a is not None))
    return [
        number(operation, value, joint, place) if array is None else converted(array, joint)
        for value, array in zip(values, arrays, strict=True)
    ]


def matrix(operation: str, name: str, x: Any) -> Array:
    """``x`` as a float32 matrix."""
    return of_rank(operation, name, x, 2)


def vector(operation: str, name: str, x: Any) -> Array:
    """``x`` as a float32 vector."""
    return of_rank(operation, name, x, 1)


def of_rank(operation: str, name: str, x: Any, rank: int) -> Array:
    """``x`` as a float32 array with ``rank`` axes."""
    array = floats(operation, name, x)
    if len(array.shape) != rank:
        raise ShapeError(f"{operation}: {name} has shape {array.shape}; needs {rank} axes")
    return array


def floats(operation: str, name: str, x: Any) -> Array:
    """``x`` as a float32 array of any shape."""
    array = asarray(x)
    if array.dtype != np.float32:
        raise DTypeError(f"{operation}: {name} is {array.dtype}; needs float32")
    return array


def kernels(operation: str, **operands: Array) -> tuple[Any, Place]:
    """The entry points of the place that all operands lie on, and that place."""
    place = one_place(operation, **operands)
    return library(place), place
