"""Arrays of what an operation is given.

Policy. An operand may be an array, a NumPy array or, beside one of these, a Python number. Nothing
is copied but to another type.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from majelpy.array.array import Array, array_of, number
from majelpy.array.checks import needs_kind, one_place
from majelpy.errors import DTypeError
from majelpy.memory import dtypes


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
