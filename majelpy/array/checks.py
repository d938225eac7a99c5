"""Checks that operations share: types, places, axes, broadcasting, NumPy's errors.

Policy. Every message names the operation, the values found and what is needed. Arrays of one
operation lie on one place. NumPy (on a GPU CuPy) moves and does integers; what it refuses becomes
an error of majelpy.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from majelpy.errors import CopyError, DTypeError, RangeError, ShapeError
from majelpy.memory import dtypes
from majelpy.memory.place import CPU, Place

if TYPE_CHECKING:
    from majelpy.array.array import Array

ERRORS = {IndexError: RangeError, ValueError: ShapeError, TypeError: DTypeError}
"""What NumPy raises, and what it becomes."""


def needs_kind(operation: str, dtype: np.dtype, kinds: Sequence[np.dtype]) -> None:
    """Refuse a type that is none of ``kinds``."""
    if dtype not in kinds:
        names = ", ".join(dtypes.name_of(kind) for kind in kinds)
        raise DTypeError(f"{operation}: {dtypes.name_of(dtype)} found; needs one of {names}")


def one_place(operation: str, *arrays: Array, **named: Array) -> Place:
    """Return the place on which all the arrays lie; the message has the names of named ones."""
    names = ["an array", *["another"] * (len(arrays) - 1)][: len(arrays)]
    (first, found), *others = [*zip(names, arrays, strict=True), *named.items()]
    for name, other in others:
        if other.place != found.place:
            raise CopyError(
                f"{operation}: {first} lies on {found.place} and {name} on {other.place}; "
                "needs one place (to_device moves an array)"
            )
    return found.place


def on_cpu(operation: str, **named: Array) -> None:
    """Refuse arrays that lie elsewhere."""
    for name, array in named.items():
        if array.place != CPU:
            raise CopyError(
                f"{operation}: {name} lies on {array.place}; needs {CPU} (to_device moves an array)"
            )


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


def same_shape(operation: str, a: Array, b: Array) -> None:
    """The two arrays have one shape."""
    if a.shape != b.shape:
        raise ShapeError(f"{operation}: shapes {a.shape} and {b.shape} differ")


def columns(operation: str, name: str, x: Array, count: int) -> None:
    """The last axis of ``x`` has ``count`` entries."""
    if x.shape[-1] != count:
        raise ShapeError(f"{operation}: {name} has {x.shape[-1]} columns; needs {count}")


def offsets(operation: str, values: Any, rows: int) -> np.ndarray:
    """``values`` as int64 row offsets 0 <= o_0 <= ... <= o_n = rows."""
    result = np.ascontiguousarray(values, dtype=np.int64)
    if (
        result.ndim != 1
        or len(result) < 1
        or result[0] != 0
        or result[-1] != rows
        or (np.diff(result) < 0).any()
    ):
        raise ShapeError(
            f"{operation}: offsets {result.tolist()[:8]} must rise from 0 to {rows}, the rows"
        )
    return result


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
