"""Checks that operations share; each names the operation, the values found and what is needed."""

from __future__ import annotations

from typing import Any

import numpy as np

from majelpy.array import Array, asarray
from majelpy.array.kernels import library
from majelpy.errors import CopyError, DTypeError, ShapeError
from majelpy.memory.place import Place


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
    (first, found), *others = operands.items()
    for name, other in others:
        if other.place != found.place:
            raise CopyError(
                f"{operation}: {first} lies on {found.place} and {name} on {other.place}; "
                "needs one place (to_device moves an array)"
            )
    return library(found.place), found.place


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
