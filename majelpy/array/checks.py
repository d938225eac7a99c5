"""What the functions of the standard share: operands, axes, broadcasting, NumPy's errors.

Policy. Every message names the operation, the values found and what is needed. An operand may be
an array, a NumPy array or, beside one of these, a Python number; arrays of one operation lie on one
place. NumPy (on a GPU CuPy) moves and does integers; what it refuses becomes an error of majelpy.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from majelpy.array.array import Array, convert_into, empty
from majelpy.errors import DTypeError, RangeError, ShapeError
from majelpy.memory import dtypes
from majelpy.memory.place import CPU, Place

Numbers = bool | int | float

ERRORS = {IndexError: RangeError, ValueError: ShapeError, TypeError: DTypeError}
"""What NumPy raises, and what it becomes."""


def array_of(operation: str, x: Any) -> Array:
    """Return ``x`` as an array, without copying; Python numbers are refused."""
    if isinstance(x, Array):
        return x
    if isinstance(x, np.ndarray | np.generic):
        host = np.asarray(x, order="C")
        dtypes.dtype_of(operation, host.dtype)
        return Array(host, host)
    raise DTypeError(f"{operation}: {type(x).__name__} found; needs an array")


def of_kind(operation: str, x: Any, kinds: Sequence[np.dtype]) -> Array:
    """Return ``x`` as an array whose type is one of ``kinds``."""
    array = array_of(operation, x)
    needs_kind(operation, array.dtype, kinds)
    return array


def needs_kind(operation: str, dtype: np.dtype, kinds: Sequence[np.dtype]) -> None:
    """Refuse a type that is none of ``kinds``."""
    if dtype not in kinds:
        names = ", ".join(dtypes.name_of(kind) for kind in kinds)
        raise DTypeError(f"{operation}: {dtypes.name_of(dtype)} found; needs one of {names}")


def converted(x: Array, dtype: np.dtype) -> Array:
    """Return ``x`` in that type, itself if it has it."""
    return x if x.dtype == dtype else x._moved(x._view, dtype)


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


def one_place(operation: str, *arrays: Array) -> Place:
    """Return the place on which all the arrays lie."""
    places = {str(array.place): array.place for array in arrays}
    if len(places) > 1:
        raise DTypeError(
            f"{operation}: arrays on {' and '.join(sorted(places))}; needs one place "
            "(to_device copies)"
        )
    return arrays[0].place


def broadcast(operation: str, *shapes: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape that these broadcast to."""
    found = [shape for shape in shapes if shape]  # one without axes changes nothing
    if found and found.count(found[0]) == len(found):
        return tuple(found[0])
    try:
        return np.broadcast_shapes(*shapes)
    except ValueError:
        names = " and ".join(map(str, shapes))
        raise ShapeError(f"{operation}: shapes {names} do not broadcast") from None


def axis_of(operation: str, axis: Any, ndim: int) -> int:
    """Return one axis, counted from the front."""
    try:
        found = operator.index(axis)
    except TypeError:
        raise DTypeError(f"{operation}: axis {axis!r}; needs an integer") from None
    if not -ndim <= found < ndim:
        allowed = f"-{ndim}..{ndim - 1} of {ndim} axes" if ndim else "an array with axes"
        raise RangeError(f"{operation}: axis {found}; needs {allowed}")
    return found % ndim


def axes_of(operation: str, axis: Any, ndim: int) -> tuple[int, ...]:
    """Return ascending axes; None means all."""
    if axis is None:
        return tuple(range(ndim))
    found = [axis_of(operation, a, ndim) for a in (axis if isinstance(axis, tuple) else (axis,))]
    if len(set(found)) < len(found):
        raise ShapeError(f"{operation}: axes {axis} name one twice")
    return tuple(sorted(found))


class numpy_errors(np.errstate):
    """Context that turns NumPy's complaints about arguments into majelpy's, and has no warnings."""

    def __init__(self, operation: str, *arrays: Array):
        super().__init__(all="ignore")
        self._operation, self._arrays = operation, arrays

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        super().__exit__(kind, error, trace)
        for theirs, ours in ERRORS.items() if error is not None else ():
            if isinstance(error, theirs):
                shapes = ", ".join(str(a.shape) for a in self._arrays)
                raise ours(f"{self._operation}: {error} (shapes {shapes})") from None
