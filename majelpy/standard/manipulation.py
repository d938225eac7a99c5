"""Shapes and places of elements: nothing here calculates.

Policy. NumPy, on a GPU CuPy, moves the bytes. `reshape`, `expand_dims` and `squeeze` give views;
whatever would not be contiguous is a copy in the pool.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from majelpy.array import kernels
from majelpy.array.array import Array, array_of, empty, store
from majelpy.array.checks import axes_of, axis_of, broadcast, numpy_errors, one_place
from majelpy.array.operands import converted
from majelpy.errors import DTypeError, RangeError, ShapeError
from majelpy.memory import dtypes
from majelpy.memory.place import CPU


def broadcast_shapes(*shapes: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape that these broadcast to."""
    if any(size < 0 for shape in shapes for size in shape):
        raise ShapeError(f"broadcast_shapes: {shapes}; sizes must not be negative")
    return broadcast("broadcast_shapes", *shapes)


def broadcast_to(x: Any, /, shape: tuple[int, ...]) -> Array:
    """Return a copy of x broadcast to that shape."""
    a = array_of("broadcast_to", x)
    if broadcast("broadcast_to", a.shape, tuple(shape)) != tuple(shape):
        raise ShapeError(f"broadcast_to: shape {a.shape} does not broadcast to {shape}")
    return a._moved(kernels.mover(a.place).broadcast_to(a._view, tuple(shape)))


def broadcast_arrays(*arrays: Any) -> tuple[Array, ...]:
    """Return copies of the arrays broadcast against each other."""
    found = [array_of("broadcast_arrays", a) for a in arrays]
    shape = broadcast("broadcast_arrays", *(a.shape for a in found))
    return tuple(broadcast_to(a, shape) for a in found)


def concat(arrays: Sequence[Any], /, *, axis: int | None = 0) -> Array:
    """Return the arrays joined along an axis, or flattened and joined for None."""
    parts = _together("concat", arrays)
    if axis is None:
        parts = [a.reshape(a.size) for a in parts]
    at = axis_of("concat", 0 if axis is None else axis, parts[0].ndim)
    frames = {(*a.shape[:at], *a.shape[at + 1 :]) for a in parts}
    if len(frames) > 1 or len({a.ndim for a in parts}) > 1:
        shapes = ", ".join(str(a.shape) for a in parts)
        raise ShapeError(f"concat: shapes {shapes} differ beside axis {at}")
    shape = list(parts[0].shape)
    shape[at] = sum(a.shape[at] for a in parts)
    out = empty(tuple(shape), parts[0].dtype, parts[0].place)
    kernels.mover(out.place).concatenate([a._view for a in parts], axis=at, out=out._view)
    return out


def stack(arrays: Sequence[Any], /, *, axis: int = 0) -> Array:
    """Return the arrays side by side along a new axis."""
    parts = _together("stack", arrays)
    if len({a.shape for a in parts}) > 1:
        shapes = ", ".join(str(a.shape) for a in parts)
        raise ShapeError(f"stack: shapes {shapes} differ")
    at = axis_of("stack", axis, parts[0].ndim + 1)
    return concat([expand_dims(a, axis=at) for a in parts], axis=at)


def _together(operation: str, arrays: Sequence[Any]) -> list[Array]:
    found = [array_of(operation, a) for a in arrays]
    if not found:
        raise ShapeError(f"{operation}: no arrays; needs at least one")
    one_place(operation, *found)
    joint = dtypes.promote(operation, *(a.dtype for a in found))
    return [converted(a, joint) for a in found]


def unstack(x: Any, /, *, axis: int = 0) -> tuple[Array, ...]:
    """Return the arrays that lie along an axis."""
    a = array_of("unstack", x)
    rows = kernels.mover(a.place).moveaxis(a._view, axis_of("unstack", axis, a.ndim), 0)
    return tuple(a._moved(rows[i, ...]) for i in range(len(rows)))


def expand_dims(x: Any, /, axis: int | tuple[int, ...] = 0) -> Array:
    """Return a view with axes of size 1 at the places that ``axis`` has in the result."""
    a = array_of("expand_dims", x)
    ndim = a.ndim + (len(axis) if isinstance(axis, tuple) else 1)
    at = axes_of("expand_dims", axis, ndim)
    sizes = iter(a.shape)
    return a.reshape(*(1 if i in at else next(sizes) for i in range(ndim)))


def squeeze(x: Any, /, axis: int | tuple[int, ...]) -> Array:
    """Return a view without those axes, which must have size 1."""
    a = array_of("squeeze", x)
    at = axes_of("squeeze", axis, a.ndim)
    for i in at:
        if a.shape[i] != 1:
            raise ShapeError(f"squeeze: axis {i} of shape {a.shape} has size {a.shape[i]}; needs 1")
    return a.reshape(*(size for i, size in enumerate(a.shape) if i not in at))


def reshape(x: Any, /, shape: tuple[int, ...], *, copy: bool | None = None) -> Array:
    """Return a view (a copy if asked) of another shape; a size of -1 is what is left."""
    view = array_of("reshape", x).reshape(shape)
    return view.copy() if copy else view


def permute_dims(x: Any, /, axes: tuple[int, ...]) -> Array:
    """Return a copy with the axes in that order."""
    a = array_of("permute_dims", x)
    order = [axis_of("permute_dims", axis, a.ndim) for axis in axes]
    if sorted(order) != list(range(a.ndim)):
        raise ShapeError(f"permute_dims: axes {axes}; needs each of {a.ndim} axes once")
    return a._moved(kernels.mover(a.place).transpose(a._view, order))


def matrix_transpose(x: Any, /) -> Array:
    """Return a copy with the last two axes exchanged."""
    return array_of("matrix_transpose", x).mT


def moveaxis(x: Any, source: int | tuple[int, ...], destination: int | tuple[int, ...], /) -> Array:
    """Return a copy with the source axes at their destinations, the others in order."""
    a = array_of("moveaxis", x)
    pairs = [axis if isinstance(axis, tuple) else (axis,) for axis in (source, destination)]
    for axes in pairs:
        axes_of("moveaxis", axes, a.ndim)
    if len(pairs[0]) != len(pairs[1]):
        raise ShapeError(f"moveaxis: {len(pairs[0])} axes to {len(pairs[1])} places")
    return a._moved(kernels.mover(a.place).moveaxis(a._view, pairs[0], pairs[1]))


def flip(x: Any, /, *, axis: int | tuple[int, ...] | None = None) -> Array:
    """Return the elements in reverse order along axes."""
    a = array_of("flip", x)
    return a._moved(kernels.mover(a.place).flip(a._view, axes_of("flip", axis, a.ndim)))


def roll(
    x: Any, /, shift: int | tuple[int, ...], *, axis: int | tuple[int, ...] | None = None
) -> Array:
    """Return the elements shifted along axes, those over the end put in at the start."""
    a = array_of("roll", x)
    for one in axis if isinstance(axis, tuple) else () if axis is None else (axis,):
        axis_of("roll", one, a.ndim)
    with numpy_errors("roll", a):
        return a._moved(kernels.mover(a.place).roll(a._view, shift, axis))


def repeat(x: Any, repeats: Any, /, *, axis: int | None = None) -> Array:
    """Return each element ``repeats`` times, along an axis or of the flattened array."""
    a = array_of("repeat", x)
    at = None if axis is None else axis_of("repeat", axis, a.ndim)
    times: Any = repeats
    if not isinstance(repeats, int):
        given = array_of("repeat", repeats)
        one_place("repeat", a, given)
        if given.dtype not in dtypes.INTEGERS:
            raise DTypeError(f"repeat: repeats of {dtypes.name_of(given.dtype)}; needs integers")
        times = given.to_device(CPU)._view  # the result's shape depends on them
    if np.any(np.less(times, 0)):
        raise RangeError("repeat: repeats below 0; needs 0 or more")
    with numpy_errors("repeat", a):
        if a.place == CPU or isinstance(times, int):
            return a._moved(kernels.mover(a.place).repeat(a._view, times, at))
        rows = np.repeat(np.arange(a.size if at is None else a.shape[at]), times)
        places = store(rows).to_device(a.place)
        return a._moved(kernels.mover(a.place).take(a._view, places._view, axis=at))


def tile(x: Any, repetitions: tuple[int, ...], /) -> Array:
    """Return the array laid side by side, so often along each axis."""
    a = array_of("tile", x)
    with numpy_errors("tile", a):
        return a._moved(kernels.mover(a.place).tile(a._view, repetitions))
